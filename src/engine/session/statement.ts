import { SqlError } from '../../core/errors.js';
import type { Field } from '../front/types.js';
import { classify, type Kind } from './classify.js';
import type { QuickStatement } from './quick-read.js';
import { type RawStatement, splitStatements } from './split.js';

/** A statement as Parse or PREPARE leaves it. */
export interface Statement {
  /** null: an empty statement. */
  raw: RawStatement | null;
  kind: Kind | null;
  /** Types of `$1`, …, as analysis found them. */
  paramTypes: number[];
  /** null: no rows. */
  fields: Field[] | null;
  /** RowDescription of `fields` in text format, once it was asked for. */
  described?: Buffer;
  /** What its last quick execution found. */
  quick?: QuickStatement;
}

/** Values for one execution. */
export interface Bound {
  params: (string | null)[];
  paramTypes: number[];
  /** The columns that the client was told when it prepared the statement; absent: it was told nothing. */
  fields?: Field[] | null;
  /** As in Bind: none (all text), one for all, or one for each column. */
  formats: number[];
}

export const UNBOUND: Bound = { params: [], paramTypes: [], formats: [] };

const MAX_CACHED = 1000;
const MAX_CACHED_LENGTH = 16 * 1024;
const parsed = new Map<string, { raw: RawStatement; kind: Kind } | null>();

/** Parses the text of one statement, for the extended protocol. Null for an empty one. Cached by text. */
export function parseOne(sql: string): { raw: RawStatement; kind: Kind } | null {
  const known = parsed.get(sql);
  if (known !== undefined) return known;
  const parts = splitStatements(sql);
  if (parts.length > 1) throw new SqlError('42601', 'cannot insert multiple commands into a prepared statement');
  const raw = parts[0];
  const result = raw === undefined ? null : { raw, kind: classify(raw) };
  if (sql.length <= MAX_CACHED_LENGTH) {
    if (parsed.size >= MAX_CACHED) {
      const oldest = parsed.keys().next();
      if (!oldest.done) parsed.delete(oldest.value);
    }
    parsed.set(sql, result);
  }
  return result;
}

/** One format code for each column. */
export function expandFormats(formats: readonly number[], columns: number): number[] {
  if (formats.length === columns && columns !== 1) return formats as number[];
  if (formats.length === 0) return new Array<number>(columns).fill(0);
  if (formats.length === 1) return new Array<number>(columns).fill(formats[0]!);
  if (formats.length !== columns) {
    throw new SqlError('08P01', `bind message has ${formats.length} result formats but query has ${columns} columns`);
  }
  return formats as number[];
}

/** A text column of our own making (SHOW, EXPLAIN). */
export function textField(name: string, typeOid = 25): Field {
  return { name, relationOid: 0, attnum: 0, typeOid, typeSize: -1, typmod: -1 };
}

/** A client decodes rows by what it was told once: a definition that has changed since cannot be followed. */
export function checkSameColumns(told: Field[] | null | undefined, now: Field[] | null): void {
  if (told === undefined || told === now) return;
  const same =
    told?.length === now?.length &&
    (told ?? []).every((field, i) => field.typeOid === now![i]!.typeOid && field.name === now![i]!.name);
  if (!same) throw new SqlError('0A000', 'cached plan must not change result type', { hint: 'Prepare the statement again.' });
}
