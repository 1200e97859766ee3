/** A statement's parameters, PostgreSQL text, as values of the engine that runs the fragment. */
import { type HeapValue, storageOf } from '../../model/storage.js';
import type { ParamSpec } from '../../model/task.js';
import { CANONICAL_OUTPUT, heapFromText, textFromHeap } from '../codec/heap.js';
import { declined } from './errors.js';
import { quoteLiteral } from './sql-text.js';

type Texts = readonly (string | null)[];

function heapParam(spec: ParamSpec, texts: Texts): HeapValue {
  const text = texts[spec.n - 1];
  return text === null || text === undefined ? null : heapFromText(spec.typeOid, spec.typmod, text);
}

/**
 * For SQLite, by number. Integers go as BigInt, because the binding sends JavaScript numbers as REAL,
 * which in a STRICT table is another type.
 */
export function sqliteParams(specs: readonly ParamSpec[], texts: Texts): Map<number, HeapValue> {
  const values = new Map<number, HeapValue>();
  for (const spec of specs) {
    const value = heapParam(spec, texts);
    const real = storageOf(spec.typeOid, spec.typmod).class === 'float';
    values.set(spec.n, typeof value === 'number' && !real ? BigInt(value) : value);
  }
  return values;
}

/** The same as literals of SQLite's dialect. */
export function sqliteLiterals(specs: readonly ParamSpec[], texts: Texts): (n: number) => string {
  const values = sqliteParams(specs, texts);
  return (n) => {
    const value = values.get(n);
    if (value === undefined) throw declined(`?${n} is not described`);
    if (value === null) return 'NULL';
    if (Buffer.isBuffer(value)) return `X'${value.toString('hex')}'`;
    if (typeof value === 'string') return quoteLiteral(value);
    if (typeof value === 'bigint') return value === INT64_MIN ? '(-9223372036854775807 - 1)' : String(value);
    if (!Number.isFinite(value)) return value > 0 ? '9e999' : '-9e999';
    const text = Object.is(value, -0) ? '-0.0' : String(value);
    return /[.e]/.test(text) ? text : `${text}.0`;
  };
}

const INT64_MIN = -(2n ** 63n);

/** Text that DuckDB's own cast reads as exactly this value; a Buffer for bytea. The dialect wraps each `$n` in the cast. */
export function duckParam(spec: ParamSpec, texts: Texts): string | Buffer | null {
  const value = heapParam(spec, texts);
  if (value === null || Buffer.isBuffer(value)) return value;
  switch (storageOf(spec.typeOid, spec.typmod).class) {
    case 'text':
    case 'bpchar':
    case 'opaque':
    case 'numeric':
    case 'uuid':
      return String(value);
    default: {
      const text = textFromHeap(spec.typeOid, spec.typmod, value, CANONICAL_OUTPUT);
      if (text.endsWith(' BC')) throw declined('a date before year 1 as a parameter');
      return text;
    }
  }
}

/** The same as a literal, for statements that DuckDB cannot prepare. */
export function duckLiteral(spec: ParamSpec, texts: Texts): string {
  const value = duckParam(spec, texts);
  if (value === null) return 'NULL';
  if (typeof value === 'string') return quoteLiteral(value);
  return `from_hex('${value.toString('hex')}')`;
}

export function duckLiterals(specs: readonly ParamSpec[], texts: Texts): (n: number) => string {
  const byNumber = new Map(specs.map((spec) => [spec.n, spec]));
  return (n) => {
    const spec = byNumber.get(n);
    if (spec === undefined) throw declined(`$${n} is not described`);
    return duckLiteral(spec, texts);
  };
}
