/** What the deparsers know of an expression besides its text. */
import { numericTypmod, Oid, storageOf } from '../../model/storage.js';
import type { OutputColumn } from '../../model/task.js';
import type { ConstValue } from './constants.js';
import { decline } from './decline.js';
import { ORDERED_TYPES, typeName } from './signatures.js';

export interface Expr {
  sql: string;
  type: number;
  typmod: number;
  /**
   * `plain`: the engine's own value of the type. `opaque`: PostgreSQL's text of a type that the engine does not know; it can be
   * carried and tested for NULL, nothing else. `interval`: an interval of DuckDB, only as an operand.
   */
  rep: 'plain' | 'opaque' | 'interval';
  /** Numeric only: digits after the point of the engine's value (DECIMAL's scale, or the power of ten of a scaled integer). */
  scale?: number;
  /** Numeric only: most digits that a value can have; 38 where nothing better is known. */
  precision?: number;
  /** Numeric only: `scale` is not PostgreSQL's display scale on every row. The value is right; only `text` may be shown. */
  loose?: boolean;
  /** Loose numerics whose text is known: SQL of PostgreSQL's text. */
  text?: string;
  /** Nesting of operators, as the engines' parsers see it. */
  depth: number;
  /** Set where it is a constant. */
  constant?: ConstValue;
  /** No column is read: the engine may evaluate it before any row. */
  fixed?: boolean;
}

/** Neither engine is asked to parse deeper expressions (DuckDB's cost is cubic in depth). */
export const MAX_DEPTH = 100;
/** Longest SQL of one expression: guards repeat their operands. */
export const MAX_SQL = 200_000;

/** A new expression over operands: depth and limits are kept here. */
export function made(operands: readonly Expr[], of: Omit<Expr, 'depth' | 'rep'> & { rep?: Expr['rep'] }): Expr {
  let depth = 0;
  let fixed = true;
  for (const operand of operands) {
    if (operand.depth > depth) depth = operand.depth;
    if (operand.fixed !== true) fixed = false;
  }
  if (depth + 1 > MAX_DEPTH) decline(`an expression deeper than ${MAX_DEPTH}`);
  if (of.sql.length > MAX_SQL) decline('an expression that is too long');
  return { rep: 'plain', fixed, ...of, depth: depth + 1 };
}

/** A column as a store or a subquery gives it. */
export function columnExpr(sql: string, type: number, typmod: number, engine: 'sqlite' | 'duckdb'): Expr {
  const storage = storageOf(type, typmod);
  const expr: Expr = { sql, type, typmod, rep: 'plain', depth: 1 };
  if (storage.class === 'opaque') return { ...expr, rep: 'opaque' };
  if (type !== Oid.numeric) return expr;
  const declared = numericTypmod(typmod);
  const exact = engine === 'sqlite' ? storage.class === 'decimal' : storage.duckdb.startsWith('DECIMAL');
  if (!exact || declared === undefined) return { ...expr, rep: 'opaque' };
  return { ...expr, scale: declared.scale, precision: declared.precision };
}

/** Refuses what is only carried. */
export function plain(expr: Expr): Expr {
  if (expr.rep !== 'plain') decline(`an operation on ${typeName(expr.type)} that only PostgreSQL can do`);
  return expr;
}

/** Refuses what has no equality and order of its own in the engines. */
export function ordered(expr: Expr): Expr {
  plain(expr);
  if (!ORDERED_TYPES.has(typeName(expr.type))) decline(`comparison of ${typeName(expr.type)}`);
  return expr;
}

/** A value that becomes visible, or is grouped by: its display scale must be known. */
export function exactScale(expr: Expr): Expr {
  if (expr.loose === true) decline('a numeric whose display scale differs by row');
  return expr;
}

/** `numeric(precision, scale)` as typmod. */
export function numericTypmodOf(precision: number, scale: number): number {
  return ((precision << 16) | (scale & 0x7ff)) + 4;
}

/** How a result column is to be read by the encoder: for numerics the scale stands in the typmod. */
export function outputOf(expr: Expr, name: string, engine: 'sqlite' | 'duckdb'): { sql: string; output: OutputColumn } {
  if (expr.type === Oid.bpchar && expr.typmod < 4) decline('char without a length in the result');
  if (expr.rep === 'interval') decline('an interval in the result');
  if (expr.type !== Oid.numeric || expr.rep === 'opaque') {
    return { sql: expr.sql, output: { name, typeOid: expr.type, typmod: expr.typmod } };
  }
  if (expr.loose === true) {
    if (expr.text === undefined) decline('a numeric whose display scale differs by row');
    return { sql: expr.text, output: { name, typeOid: Oid.numeric, typmod: -1 } };
  }
  const digits = engine === 'sqlite' ? 18 : 38;
  const scale = expr.scale ?? 0;
  if (scale > digits) decline(`a numeric of scale ${scale}`);
  return { sql: expr.sql, output: { name, typeOid: Oid.numeric, typmod: numericTypmodOf(digits, scale) } };
}
