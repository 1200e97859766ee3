/** Operators for DuckDB, by signature. */
import { Oid } from '../../model/storage.js';
import { decline } from './decline.js';
import { duckdbError } from './engine-errors.js';
import { type Expr, made, ordered, plain } from './expr.js';
import { quotient } from './quotient.js';
import { FLOAT_TYPES, INT_TYPES, type Signature } from './signatures.js';

const COMPARISONS = new Set(['=', '<>', '<', '<=', '>', '>=']);
const ZONED = new Set(['timestamptz']);
export const INT_SQL: Readonly<Record<number, string>> = { [Oid.int2]: 'SMALLINT', [Oid.int4]: 'INTEGER', [Oid.int8]: 'BIGINT' };

export function duckdbOperator(signature: Signature, args: Expr[], resultType: number): Expr {
  const { name, types } = signature;
  const [left, right] = args as [Expr, Expr | undefined];
  if (right === undefined) return prefix(signature, left, resultType);
  const [l, r] = types as [string, string];
  const result = (sql: string, of: Partial<Expr> = {}): Expr => made([left, right], { sql, type: resultType, typmod: -1, ...of });
  if (COMPARISONS.has(name)) {
    if (l !== r && (ZONED.has(l) || ZONED.has(r))) decline('a comparison that depends on the time zone');
    ordered(left);
    ordered(right);
    return result(`(${left.sql} ${name} ${right.sql})`);
  }
  if (l === 'numeric' && r === 'numeric') return numeric(name, plain(left), plain(right), resultType);
  if (INT_TYPES.has(l) && INT_TYPES.has(r)) return integers(signature, left, right, result);
  if (FLOAT_TYPES.has(l) && FLOAT_TYPES.has(r)) return floats(signature, left, right, result);
  if (l === 'date' || l.startsWith('timestamp')) return dates(signature, left, right, result);
  if (name === '||' && l === r && (l === 'text' || l === 'bytea')) return result(`(${plain(left).sql} || ${plain(right).sql})`);
  if (name === '~~' || name === '!~~') return like(signature, left, right, result);
  return decline(`operator ${signature.text}`);
}

type Result = (sql: string, of?: Partial<Expr>) => Expr;

function prefix(signature: Signature, arg: Expr, resultType: number): Expr {
  const type = signature.types[0] as string;
  const keep = signature.name === '-' && (INT_TYPES.has(type) || type === 'numeric' || type === 'float8' || type === 'float4');
  const { constant: _, text: __, ...shape } = plain(arg);
  if (keep) return made([arg], { ...shape, typmod: -1, sql: `(-${arg.sql})` });
  if (signature.name === '+' && (INT_TYPES.has(type) || type === 'numeric')) return arg;
  if (signature.name === '~' && INT_TYPES.has(type)) return made([arg], { sql: `(~${arg.sql})`, type: resultType, typmod: -1 });
  return decline(`operator ${signature.text}`);
}

/** The divisor, which must not be zero. */
function divisor(right: Expr): string {
  const value = right.constant;
  if (value !== undefined && ((value.kind === 'int' && value.value !== 0n) || (value.kind === 'numeric' && value.digits !== 0n)))
    return right.sql;
  return `CASE WHEN ${right.sql} = 0 THEN ${duckdbError('22012')} ELSE ${right.sql} END`;
}

function integers({ name, text, types }: Signature, left: Expr, right: Expr, result: Result): Expr {
  // DuckDB's result type of mixed widths is the wider one, as PostgreSQL's.
  switch (name) {
    case '+':
    case '-':
    case '*':
    case '&':
    case '|':
      return result(`(${left.sql} ${name} ${right.sql})`);
    case '/':
      return result(`(${left.sql} // ${divisor(right)})`);
    case '%':
      return result(`(${left.sql} % ${divisor(right)})`);
    case '#':
      return result(`xor(${left.sql}, ${right.sql})`);
    case '>>': {
      const shift = right.constant;
      const limit = types[0] === 'int8' ? 63n : 31n;
      if (types[0] === 'int2' || shift?.kind !== 'int' || shift.value < 0n || shift.value > limit)
        return decline('>> by a variable');
      return result(`(${left.sql} >> ${right.sql})`);
    }
    default:
      return decline(`operator ${text}`);
  }
}

function numeric(name: string, left: Expr, right: Expr, type: number): Expr {
  const s1 = left.scale ?? 0;
  const s2 = right.scale ?? 0;
  const loose = left.loose === true || right.loose === true ? { loose: true } : {};
  const scale = name === '*' ? s1 + s2 : Math.max(s1, s2);
  if (scale > 38) return decline('a numeric of more than 38 digits after the point');
  const whole = Math.max((left.precision ?? 38) - s1, (right.precision ?? 38) - s2) + 1;
  const precision = Math.min(38, name === '*' ? (left.precision ?? 38) + (right.precision ?? 38) : whole + scale);
  const shape = { type, typmod: -1, scale, precision, ...loose };
  switch (name) {
    case '+':
    case '-':
    case '*':
      return made([left, right], { ...shape, sql: `(${left.sql} ${name} ${right.sql})` });
    case '%':
      return made([left, right], {
        ...shape,
        sql: `CAST((${left.sql} % ${divisor(right)}) AS DECIMAL(38,${scale}))`,
        precision: 38,
      });
    case '/':
      return quotient([left, right], left, right);
    default:
      return decline(`operator ${name} of numeric`);
  }
}

/** float8 arithmetic raises where an engine gives infinity, zero or NULL (float.h: float8_pl and its kin). */
function floats({ name, text, types }: Signature, left: Expr, right: Expr, result: Result): Expr {
  if (types[0] !== 'float8' || types[1] !== 'float8') return decline(`operator ${text}`);
  const [a, b] = [left.sql, right.sql];
  const overflow = duckdbError('22003');
  const guarded = (conditions: string[], sql: string) => {
    const whens = conditions.map((condition) => `WHEN ${condition} THEN ${overflow}`).join(' ');
    return result(`(CASE ${whens} ELSE ${sql} END)`);
  };
  switch (name) {
    case '+':
    case '-':
      return guarded([`isinf(${a} ${name} ${b}) AND NOT isinf(${a}) AND NOT isinf(${b})`], `(${a} ${name} ${b})`);
    case '*':
      return guarded(
        [`isinf(${a} * ${b}) AND NOT isinf(${a}) AND NOT isinf(${b})`, `(${a} * ${b}) = 0 AND ${a} <> 0 AND ${b} <> 0`],
        `(${a} * ${b})`,
      );
    case '/':
      return guarded(
        [
          `${b} = 0 AND NOT isnan(${a})`,
          `isinf(${a} / ${b}) AND NOT isinf(${a})`,
          `(${a} / ${b}) = 0 AND ${a} <> 0 AND NOT isinf(${b})`,
        ],
        `(${a} / ${b})`,
      );
    default:
      return decline(`operator ${text}`);
  }
}

function dates({ name, text, types }: Signature, left: Expr, right: Expr, result: Result): Expr {
  const [l, r] = types as [string, string];
  if (l === 'date' && r === 'int4' && (name === '+' || name === '-')) {
    const sum = `(${left.sql} ${name} ${right.sql})`;
    return result(`(CASE WHEN year(${sum}) > 5874897 OR year(${sum}) < -4712 THEN ${duckdbError('22003')} ELSE ${sum} END)`);
  }
  if (l === 'date' && r === 'date' && name === '-') return result(`CAST((${left.sql} - ${right.sql}) AS INTEGER)`);
  if (r === 'interval' && (name === '+' || name === '-') && l !== 'timestamptz') {
    if (right.rep !== 'interval') return decline('arithmetic with an interval that is not constant');
    return result(`(CAST(${left.sql} AS TIMESTAMP) ${name} ${right.sql})`);
  }
  if (l === 'timestamptz' && r === 'interval' && right.constant?.kind === 'interval' && (name === '+' || name === '-')) {
    if (right.constant.days !== 0 || right.constant.months !== 0) return decline('arithmetic that depends on the time zone');
    return result(`(${left.sql} ${name} ${right.sql})`);
  }
  return decline(`operator ${text}`);
}

function like({ name, types }: Signature, left: Expr, right: Expr, result: Result): Expr {
  let subject = plain(left).sql;
  if (types[0] === 'bpchar') {
    if (left.typmod < 4) decline('LIKE on char without a length');
    subject = `rpad(${subject}, ${left.typmod - 4}, ' ')`;
  } else if (types[0] === 'bytea') decline('LIKE on bytea');
  return result(`(${subject} ${name === '~~' ? 'LIKE' : 'NOT LIKE'} ${plain(right).sql} ESCAPE '\\')`);
}
