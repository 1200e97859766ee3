/** Operators, functions and types by OID. What is not here is unknown to the dialects, and declines. */
import { FUNCTION_LINES, OPERATOR_LINES, REFUSED_LINES } from './builtin-oids.js';

export interface Signature {
  name: string;
  types: string[];
  /** `name(type,type)` */
  text: string;
}

function parseLines(lines: string): Map<number, Signature> {
  const map = new Map<number, Signature>();
  for (const line of lines.trim().split('\n')) {
    const space = line.indexOf(' ');
    const text = line.slice(space + 1);
    const open = text.indexOf('(');
    const types = text.slice(open + 1, -1);
    map.set(Number(line.slice(0, space)), { name: text.slice(0, open), types: types === '' ? [] : types.split(','), text });
  }
  return map;
}

const operators = parseLines(OPERATOR_LINES);
const functions = parseLines(FUNCTION_LINES);
const refused = new Map(
  REFUSED_LINES.trim()
    .split('\n')
    .map((line) => [Number(line.split(' ')[0]), line.split(' ')[1] as string]),
);

export function operatorOf(oid: number): Signature | undefined {
  return operators.get(oid);
}

export function functionOf(oid: number): Signature | undefined {
  return functions.get(oid);
}

/** Name of a function that only the whole cluster could answer (sequences, transaction ids, sizes, advisory locks). */
export function refusedFunction(oid: number): string | undefined {
  return refused.get(oid);
}

/** First OID that is not PostgreSQL's own. */
export const FIRST_NORMAL_OID = 16384;

export const TYPE_NAMES: Readonly<Record<number, string>> = {
  16: 'bool',
  17: 'bytea',
  19: 'name',
  20: 'int8',
  21: 'int2',
  23: 'int4',
  25: 'text',
  26: 'oid',
  700: 'float4',
  701: 'float8',
  1042: 'bpchar',
  1043: 'varchar',
  1082: 'date',
  1083: 'time',
  1114: 'timestamp',
  1184: 'timestamptz',
  1186: 'interval',
  1700: 'numeric',
  2950: 'uuid',
};

export function typeName(oid: number): string {
  return TYPE_NAMES[oid] ?? `type ${oid}`;
}

/** Element types of arrays whose constants are decoded. */
export const ARRAY_ELEMENTS: Readonly<Record<number, number>> = {
  1000: 16,
  1005: 21,
  1007: 23,
  1016: 20,
  1009: 25,
  1015: 1043,
  1014: 1042,
  1231: 1700,
  1022: 701,
  1182: 1082,
  1115: 1114,
  1185: 1184,
  2951: 2950,
};

export const INT_TYPES: ReadonlySet<string> = new Set(['int2', 'int4', 'int8']);
export const FLOAT_TYPES: ReadonlySet<string> = new Set(['float4', 'float8']);
/** Types that have one total order and equality, the same in PostgreSQL and in the stores' plain values. */
export const ORDERED_TYPES: ReadonlySet<string> = new Set([
  'bool',
  'bytea',
  'name',
  'int8',
  'int2',
  'int4',
  'text',
  'oid',
  'float4',
  'float8',
  'bpchar',
  'varchar',
  'date',
  'time',
  'timestamp',
  'timestamptz',
  'numeric',
  'uuid',
]);

/** 0 none, 100 default, 950 C: all of them byte order here. */
export function isPlainCollation(oid: number): boolean {
  return oid === 0 || oid === 100 || oid === 950;
}
