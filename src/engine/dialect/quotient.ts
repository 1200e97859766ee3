/**
 * PostgreSQL's numeric quotient in DuckDB SQL, exactly, by 128-bit integers (numeric.c, select_div_scale):
 * q = w1 - w2 - (f1 <= f2 ? 1 : 0), rscale = max(16 - 4q, dscale1, dscale2, 0), result = round_half_away(a / b, rscale),
 * where w is the base-10000 weight of an operand and f its first base-10000 digit. What does not fit 128 bits raises.
 * DuckDB has no LET: `list_transform([x], lambda v: …)[1]` names a value once instead of writing it down again and again.
 */

import { Oid } from '../../model/storage.js';
import { duckdbError } from './engine-errors.js';
import { type Expr, made, plain } from './expr.js';

/** Digits after the point of the quotient's value form; smaller quotients, which need more, raise. */
const QUOTIENT_SCALE = 20;

function letIn(variable: string, value: string, body: string): string {
  return `list_transform([${value}], lambda ${variable}: ${body})[1]`;
}

function struct(fields: Record<string, string>): string {
  return `struct_pack(${Object.entries(fields)
    .map(([name, sql]) => `${name} := ${sql}`)
    .join(', ')})`;
}

/** 10^n as HUGEINT. */
function power10(n: string): string {
  return `CAST(rpad('1', CAST((${n}) + 1 AS INTEGER), '0') AS HUGEINT)`;
}

function unscaled(operand: Expr): string {
  const scale = operand.scale ?? 0;
  if (scale === 0) return `CAST(${operand.sql} AS HUGEINT)`;
  return `CAST(CAST(${operand.sql} AS DECIMAL(38,${scale})) * CAST('1${'0'.repeat(scale)}' AS DECIMAL(${scale + 1},0)) AS HUGEINT)`;
}

function weight(value: string, scale: number): string {
  return `CASE WHEN ${value} = 0 THEN 0 ELSE CAST(floor((length(CAST(abs(${value}) AS VARCHAR)) - ${1 + scale}) / 4.0) AS INTEGER) END`;
}

function firstDigit(value: string, weightSql: string, scale: number): string {
  const shift = `(4 * ${weightSql} + ${scale})`;
  return `CASE WHEN ${value} = 0 THEN 0 WHEN ${shift} >= 0 THEN abs(${value}) // ${power10(`greatest(${shift}, 0)`)} ELSE abs(${value}) * ${power10(`greatest(-${shift}, 0)`)} END`;
}

/**
 * `a / b` of two decimals.
 * @returns `value`: DECIMAL(38,20) for comparing, rounding and computing on; `text`: as PostgreSQL prints it.
 */
function numericQuotient(a: Expr, b: Expr): { value: string; text: string } {
  const s1 = a.scale ?? 0;
  const s2 = b.scale ?? 0;
  const display = Math.max(s1, s2, 0);
  const natural = '(16 - 4 * z.q)';
  // A loose operand's display scale is not known, only its bound: it must not matter.
  const rscale =
    a.loose === true || b.loose === true
      ? `CASE WHEN ${natural} < ${display} THEN ${duckdbError('0A000')} ELSE ${natural} END`
      : `greatest(${natural}, ${display})`;
  const build = (last: string): string => {
    const rounded = letIn(
      'u',
      struct({ r: 'y.r', neg: 'y.neg', q: '(2 * y.n + y.d) // (2 * y.d)' }),
      `CASE WHEN u.q IS NULL THEN NULL ELSE ${last} END`,
    );
    const scaled = letIn(
      'y',
      struct({
        r: 'x.r',
        neg: '((x.a < 0) <> (x.b < 0))',
        n: `abs(x.a) * ${power10(`greatest(x.r + ${s2 - s1}, 0)`)}`,
        d: `abs(x.b) * ${power10(`greatest(${s1 - s2} - x.r, 0)`)}`,
      }),
      rounded,
    );
    const withScale = letIn('x', struct({ a: 'z.a', b: 'z.b', r: `CAST(${rscale} AS INTEGER)` }), scaled);
    const quotientWeight = `w.wa - w.wb - CASE WHEN ${firstDigit('w.a', 'w.wa', s1)} <= ${firstDigit('w.b', 'w.wb', s2)} THEN 1 ELSE 0 END`;
    const withQuotient = letIn('z', struct({ a: 'w.a', b: 'w.b', q: quotientWeight }), withScale);
    const guarded = `CASE WHEN v.b = 0 AND v.a IS NOT NULL THEN ${duckdbError('22012')} ELSE v.b END`;
    const withWeights = letIn('w', struct({ a: 'v.a', b: guarded, wa: weight('v.a', s1), wb: weight('v.b', s2) }), withQuotient);
    return `(${letIn('v', struct({ a: unscaled(a), b: unscaled(b) }), withWeights)})`;
  };
  const signed = 'CASE WHEN u.neg THEN -u.q ELSE u.q END';
  const value = `CASE WHEN u.r > ${QUOTIENT_SCALE} THEN ${duckdbError('0A000')} ELSE CAST(${signed} AS HUGEINT) * ${power10(`greatest(${QUOTIENT_SCALE} - u.r, 0)`)} END`;
  const digits = `lpad(CAST(u.q AS VARCHAR), greatest(CAST(length(CAST(u.q AS VARCHAR)) AS INTEGER), u.r + 1), '0')`;
  const printed = `CASE WHEN u.r = 0 THEN ${digits} ELSE left(${digits}, length(${digits}) - u.r) || '.' || right(${digits}, u.r) END`;
  const text = `CASE WHEN u.neg AND u.q <> 0 THEN '-' ELSE '' END || ${printed}`;
  const unit = `CAST('0.${'0'.repeat(QUOTIENT_SCALE - 1)}1' AS DECIMAL(${QUOTIENT_SCALE},${QUOTIENT_SCALE}))`;
  return { value: `(CAST(${build(value)} AS DECIMAL(38,0)) * ${unit})`, text: build(text) };
}

/** A numeric quotient: its display scale depends on the values, so the value is loose and the text comes beside it. */
export function quotient(operands: readonly Expr[], a: Expr, b: Expr): Expr {
  const { value, text } = numericQuotient(plain(a), plain(b));
  return made(operands, { sql: value, text, type: Oid.numeric, typmod: -1, scale: QUOTIENT_SCALE, precision: 38, loose: true });
}
