/** What differs between the two engines; everything else of deparsing is common. */
import type { ConstValue } from './constants.js';
import type { Expr } from './expr.js';
import type { Signature } from './signatures.js';

export interface AggregateCall {
  signature: Signature;
  args: Expr[];
  star: boolean;
  distinct: boolean;
  /** FILTER condition. */
  filter: Expr | null;
  resultType: number;
}

export interface WindowCall {
  signature: Signature;
  args: Expr[];
  star: boolean;
  filter: Expr | null;
  resultType: number;
  /** `PARTITION BY … ORDER BY … frame` */
  over: string;
}

export interface Dialect {
  readonly engine: 'sqlite' | 'duckdb';
  constant(value: ConstValue, type: number, typmod: number): Expr;
  param(n: number, type: number): Expr;
  operator(signature: Signature, args: Expr[], resultType: number): Expr;
  func(signature: Signature, args: Expr[], resultType: number): Expr;
  aggregate(call: AggregateCall): Expr;
  window(call: WindowCall): Expr;
  /** Cast through text (COERCEVIAIO). */
  viaText(arg: Expr, resultType: number): Expr;
  /** Numerics brought to one scale, so that they can be branches of one expression or compared. */
  alignNumerics(args: Expr[]): Expr[];
  /** `x = ANY (array parameter or constant)` where the array is no list of expressions. */
  inArray(left: Expr, array: Expr, negated: boolean): Expr;
  /** `x op ANY|ALL (subquery)`. */
  quantified(left: Expr, operator: string, quantifier: 'ANY' | 'ALL', subquery: string): string;
  /** Refuses what the engine cannot group by, sort by or make distinct as PostgreSQL does. */
  comparable(expr: Expr): Expr;
  /** GREATEST and LEAST, which leave NULLs out. */
  extremum(args: Expr[], greatest: boolean): string;
  /** A LIMIT or OFFSET that is not constant. */
  limit(expr: Expr): string;
  /** Is a scalar subquery of more than one row an error, as it must be? */
  readonly checksScalarSubqueries: boolean;
}
