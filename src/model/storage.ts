/**
 * How each PostgreSQL type lies in the two stores, exactly or not at all.
 *
 * The *heap value* of a column is the form in which rows travel in log records and lie in SQLite:
 *
 * | class | heap value (JavaScript) | SQLite STRICT type | DuckDB type |
 * | --- | --- | --- | --- |
 * | int (int2, int4, int8, oid) | number or bigint | INTEGER | SMALLINT, INTEGER, BIGINT, UINTEGER |
 * | bool | 0 or 1 | INTEGER | BOOLEAN |
 * | float (float4, float8) | number; NaN as the string `NaN` | ANY | FLOAT, DOUBLE |
 * | decimal (numeric(p,s), p ≤ 18, 0 ≤ s ≤ p) | integer scaled by 10^s | INTEGER | DECIMAL(p,s) |
 * | numeric (any other numeric) | PostgreSQL's text | TEXT | DECIMAL(p,s) where p ≤ 38 and 0 ≤ s ≤ p, else VARCHAR |
 * | text (text, varchar, name) | string | TEXT | VARCHAR |
 * | bpchar (char(n)) | string, trailing blanks trimmed | TEXT | VARCHAR |
 * | bytea | Buffer | BLOB | BLOB |
 * | date | days since 2000-01-01; ±infinity = int32 max/min | INTEGER | DATE |
 * | time | µs since midnight | INTEGER | TIME |
 * | timestamp, timestamptz | µs since 2000-01-01 (UTC); ±infinity = int64 max/min | INTEGER | TIMESTAMP, TIMESTAMPTZ |
 * | uuid | canonical lower-case text | TEXT | UUID |
 * | opaque (interval, json, jsonb, arrays, enums, …) | PostgreSQL's canonical output text | TEXT | VARCHAR |
 *
 * NULL is null everywhere. NaN of numeric(p,s) does not fit DECIMAL: the store refuses it (22003).
 */

export const Oid = {
  bool: 16,
  bytea: 17,
  char: 18,
  name: 19,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  unknown: 705,
  bpchar: 1042,
  varchar: 1043,
  date: 1082,
  time: 1083,
  timestamp: 1114,
  timestamptz: 1184,
  interval: 1186,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
  regclass: 2205,
  void: 2278,
} as const;

export type StorageClass =
  | 'int'
  | 'bool'
  | 'float'
  | 'decimal'
  | 'numeric'
  | 'text'
  | 'bpchar'
  | 'bytea'
  | 'date'
  | 'time'
  | 'timestamp'
  | 'timestamptz'
  | 'uuid'
  | 'opaque';

export interface Storage {
  class: StorageClass;
  sqlite: 'INTEGER' | 'TEXT' | 'BLOB' | 'ANY';
  duckdb: string;
  /** decimal and numeric with a typmod: declared precision and scale. */
  precision?: number;
  scale?: number;
}

/** Precision and scale of a numeric typmod; scale may be negative since PostgreSQL 15. undefined: no typmod. */
export function numericTypmod(typmod: number): { precision: number; scale: number } | undefined {
  if (typmod < 4) return undefined;
  const packed = typmod - 4;
  const precision = (packed >> 16) & 0xffff;
  const scale = ((packed & 0x7ff) ^ 1024) - 1024;
  return { precision, scale };
}

export function storageOf(typeOid: number, typmod: number): Storage {
  switch (typeOid) {
    case Oid.bool:
      return { class: 'bool', sqlite: 'INTEGER', duckdb: 'BOOLEAN' };
    case Oid.int2:
      return { class: 'int', sqlite: 'INTEGER', duckdb: 'SMALLINT' };
    case Oid.int4:
      return { class: 'int', sqlite: 'INTEGER', duckdb: 'INTEGER' };
    case Oid.int8:
      return { class: 'int', sqlite: 'INTEGER', duckdb: 'BIGINT' };
    case Oid.oid:
      return { class: 'int', sqlite: 'INTEGER', duckdb: 'UINTEGER' };
    case Oid.float4:
      return { class: 'float', sqlite: 'ANY', duckdb: 'FLOAT' };
    case Oid.float8:
      return { class: 'float', sqlite: 'ANY', duckdb: 'DOUBLE' };
    case Oid.numeric:
      return numericStorage(typmod);
    case Oid.text:
    case Oid.varchar:
    case Oid.name:
      return { class: 'text', sqlite: 'TEXT', duckdb: 'VARCHAR' };
    case Oid.bpchar:
      return { class: 'bpchar', sqlite: 'TEXT', duckdb: 'VARCHAR' };
    case Oid.bytea:
      return { class: 'bytea', sqlite: 'BLOB', duckdb: 'BLOB' };
    case Oid.date:
      return { class: 'date', sqlite: 'INTEGER', duckdb: 'DATE' };
    case Oid.time:
      return { class: 'time', sqlite: 'INTEGER', duckdb: 'TIME' };
    case Oid.timestamp:
      return { class: 'timestamp', sqlite: 'INTEGER', duckdb: 'TIMESTAMP' };
    case Oid.timestamptz:
      return { class: 'timestamptz', sqlite: 'INTEGER', duckdb: 'TIMESTAMPTZ' };
    case Oid.uuid:
      return { class: 'uuid', sqlite: 'TEXT', duckdb: 'UUID' };
    default:
      return { class: 'opaque', sqlite: 'TEXT', duckdb: 'VARCHAR' };
  }
}

function numericStorage(typmod: number): Storage {
  const declared = numericTypmod(typmod);
  if (declared === undefined) return { class: 'numeric', sqlite: 'TEXT', duckdb: 'VARCHAR' };
  const { precision, scale } = declared;
  const plain = scale >= 0 && scale <= precision;
  const duckdb = plain && precision <= 38 ? `DECIMAL(${precision},${scale})` : 'VARCHAR';
  if (plain && precision <= 18) return { class: 'decimal', sqlite: 'INTEGER', duckdb, precision, scale };
  return { class: 'numeric', sqlite: 'TEXT', duckdb, precision, scale };
}

/** A heap value. */
export type HeapValue = null | number | bigint | string | Buffer;
