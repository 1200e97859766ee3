/** Expressions for DuckDB, exactly as PostgreSQL computes them, or not at all. */
import { Oid, storageOf } from '../../model/storage.js';
import { dateText, timestampText, timestamptzText, timeText } from '../codec/datetime.js';
import { type ConstValue, constText } from './constants.js';
import { decline } from './decline.js';
import type { AggregateCall, Dialect, WindowCall } from './dialect.js';
import { duckdbFunction } from './duckdb-functions.js';
import { duckdbOperator } from './duckdb-operators.js';
import { duckdbError } from './engine-errors.js';
import { type Expr, exactScale, made, ordered, plain } from './expr.js';
import { textLiteral } from './literal.js';
import { quotient } from './quotient.js';
import { FLOAT_TYPES, INT_TYPES, typeName } from './signatures.js';

function typeSql(type: number): string {
  if (type === Oid.numeric) return decline('numeric without a scale');
  return storageOf(type, -1).duckdb;
}

function constant(value: ConstValue, type: number, typmod: number): Expr {
  const base = { type, typmod, rep: 'plain' as const, depth: 1, constant: value, fixed: true };
  switch (value.kind) {
    case 'null':
      if (type === Oid.numeric) return { ...base, sql: 'CAST(NULL AS DECIMAL(1,0))', scale: 0, precision: 1 };
      if (storageOf(type, typmod).class === 'opaque') return { ...base, sql: 'CAST(NULL AS VARCHAR)', rep: 'opaque' };
      return { ...base, sql: `CAST(NULL AS ${typeSql(type)})` };
    case 'numeric': {
      const digits = (value.digits < 0n ? -value.digits : value.digits).toString().length;
      const precision = Math.max(digits, value.scale, 1);
      if (precision > 38) decline('a numeric constant of more than 38 digits');
      const sql = `CAST('${constText(value)}' AS DECIMAL(${precision},${value.scale}))`;
      return { ...base, sql, scale: value.scale, precision };
    }
    case 'special':
      return decline(`numeric ${value.text}`);
    case 'float':
      if (value.single) return { ...base, sql: `CAST('${constText(value)}' AS FLOAT)` };
      return { ...base, sql: `CAST('${constText(value)}' AS DOUBLE)` };
    case 'text':
      return textConstant(value.value, base);
    case 'bytes':
      return { ...base, sql: `from_hex('${Buffer.from(value.value).toString('hex')}')` };
    case 'date':
      return { ...base, sql: `CAST('${common(dateText(value.days))}' AS DATE)` };
    case 'time':
      if (value.us >= 86_400_000_000n) return decline('time 24:00:00');
      return { ...base, sql: `CAST('${timeText(Number(value.us))}' AS TIME)` };
    case 'timestamp': {
      const text = value.zoned ? timestamptzText(value.us, 'UTC') : timestampText(value.us);
      return { ...base, sql: `CAST('${common(text)}' AS ${value.zoned ? 'TIMESTAMPTZ' : 'TIMESTAMP'})` };
    }
    case 'interval':
      return {
        ...base,
        rep: 'interval',
        sql: `(to_months(${value.months}) + to_days(${value.days}) + to_microseconds(${value.us}))`,
      };
    case 'array':
      return decline('an array constant');
    default:
      return { ...base, sql: `CAST('${constText(value)}' AS ${typeSql(type)})` };
  }
}

function textConstant(text: string, base: Omit<Expr, 'sql'>): Expr {
  switch (base.type) {
    case Oid.bpchar:
      // Blanks at the end do not count in char(n); the stores trim them too.
      return { ...base, sql: textLiteral(text.replace(/ +$/, '')) };
    case Oid.text:
    case Oid.varchar:
    case Oid.name:
      return { ...base, sql: textLiteral(text) };
    case Oid.unknown:
      return { ...base, type: Oid.text, sql: textLiteral(text) };
    default:
      return { ...base, sql: textLiteral(text), rep: 'opaque' };
  }
}

/** DuckDB writes BC in another way, and reads years beyond 9999 in its own. */
function common(text: string): string {
  if (text.endsWith('BC') || /^\d{5}/.test(text)) return decline('a date outside of the years 1 to 9999');
  return text;
}

/** Digits after the point that a numeric parameter may have; it is compared and computed with, never shown. */
const PARAM_SCALE = 18;

function param(n: number, type: number): Expr {
  const base = { type, typmod: -1, rep: 'plain' as const, depth: 2, fixed: true };
  if (type === Oid.numeric) {
    const text = `$${n}::VARCHAR`;
    const fits = `regexp_full_match(${text}, '-?[0-9]{1,18}(\\.[0-9]{1,${PARAM_SCALE}})?')`;
    const sql = `(CASE WHEN ${text} IS NULL THEN NULL WHEN ${fits} THEN CAST(${text} AS DECIMAL(36,${PARAM_SCALE})) ELSE ${duckdbError('0A000')} END)`;
    return { ...base, sql, scale: PARAM_SCALE, precision: 36, loose: true };
  }
  const storage = storageOf(type, -1);
  if (storage.class === 'opaque') return { ...base, sql: `$${n}::VARCHAR`, rep: 'opaque' };
  return { ...base, sql: `($${n}::${storage.duckdb})` };
}

function alignNumerics(args: Expr[]): Expr[] {
  const values = args.filter((arg) => arg.constant?.kind !== 'null');
  for (const arg of values) plain(arg);
  const scale = Math.max(0, ...values.map((arg) => arg.scale ?? 0));
  const mixed = values.some((arg) => (arg.scale ?? 0) !== scale || arg.loose === true);
  return args.map((arg) => {
    if (arg.constant?.kind === 'null') return { ...arg, scale };
    const { text, ...rest } = arg;
    const aligned: Expr = { ...rest, scale, ...(mixed ? { loose: true } : {}) };
    if ((arg.scale ?? 0) === scale) return aligned;
    const whole = Math.min(38 - scale, (arg.precision ?? 38) - (arg.scale ?? 0));
    const precision = Math.max(whole + scale, scale, 1);
    return { ...aligned, sql: `CAST(${arg.sql} AS DECIMAL(${precision},${scale}))`, precision, depth: arg.depth + 1 };
  });
}

/** Text of an int array parameter: `{1,2}`. An element NULL fails in the cast, and leads to the fallback. */
function inArray(left: Expr, array: Expr, negated: boolean): Expr {
  const element = ({ 1005: 'SMALLINT', 1007: 'INTEGER', 1016: 'BIGINT' } as Record<number, string>)[array.type];
  if (element === undefined || !INT_TYPES.has(typeName(left.type)) || !/^\$\d+::VARCHAR$/.test(array.sql)) {
    return decline('a comparison with an array value');
  }
  const list = `CASE WHEN ${array.sql} = '{}' THEN [] ELSE CAST(string_split(substring(${array.sql}, 2, length(${array.sql}) - 2), ',') AS ${element}[]) END`;
  const found = `CASE WHEN ${array.sql} IS NULL OR ${left.sql} IS NULL AND ${array.sql} <> '{}' THEN NULL ELSE list_contains(${list}, ${left.sql}) END`;
  const test = `(CASE WHEN ${array.sql} = '{}' THEN false ELSE ${found} END)`;
  return made([left, array], { sql: negated ? `(NOT ${test})` : test, type: Oid.bool, typmod: -1 });
}

function viaText(arg: Expr, resultType: number): Expr {
  const from = typeName(arg.type);
  const to = typeName(resultType);
  const result = (sql: string) => made([arg], { sql, type: resultType, typmod: -1 });
  if (to === 'text' || to === 'varchar') {
    if (INT_TYPES.has(from) || from === 'uuid' || from === 'oid') return result(`CAST(${arg.sql} AS VARCHAR)`);
    if (from === 'bool') return result(`(CASE ${arg.sql} WHEN true THEN 'true' WHEN false THEN 'false' END)`);
    if (from === 'numeric' && (arg.loose !== true || arg.text !== undefined))
      return result(arg.text ?? `CAST(${arg.sql} AS VARCHAR)`);
  }
  if (INT_TYPES.has(to) && ['text', 'varchar', 'bpchar'].includes(from)) {
    const digits = `regexp_full_match(${arg.sql}, '\\s*[+-]?[0-9]+\\s*')`;
    return result(
      `(CASE WHEN ${arg.sql} IS NULL THEN NULL WHEN ${digits} THEN CAST(trim(${arg.sql}) AS ${typeSql(resultType)}) ELSE ${duckdbError('0A000')} END)`,
    );
  }
  return decline(`a cast from ${from} to ${to} through text`);
}

/** The argument of an aggregate with FILTER: rows that are left out become NULL, and are not evaluated. */
function filtered(call: AggregateCall | WindowCall, arg: Expr): string {
  return call.filter === null ? arg.sql : `CASE WHEN ${call.filter.sql} THEN ${arg.sql} END`;
}

function aggregate(call: AggregateCall): Expr {
  const { signature, resultType } = call;
  if (signature.name === 'count') return made(operandsOf(call), { sql: countSql(call, ''), type: Oid.int8, typmod: -1 });
  const arg = call.args[0];
  if (arg === undefined || call.args.length !== 1) return decline(`aggregate ${signature.text}`);
  plain(arg);
  const distinct = call.distinct ? 'DISTINCT ' : '';
  if (call.distinct) exactScale(ordered(arg));
  return reduce(call, arg, (name) => `${name}(${distinct}${filtered(call, arg)})`, resultType);
}

function operandsOf(call: AggregateCall | WindowCall): Expr[] {
  return call.filter === null ? call.args : [...call.args, call.filter];
}

function countSql(call: AggregateCall, over: string): string {
  const [arg] = call.args;
  if (arg === undefined) return `count(*)${call.filter === null ? '' : ` FILTER (WHERE ${call.filter.sql})`}${over}`;
  if (arg.rep === 'interval') decline('count of an interval');
  if (call.distinct) ordered(arg);
  return `count(${call.distinct ? 'DISTINCT ' : ''}${filtered(call, arg)})${over}`;
}

const SAME: Readonly<Record<string, string>> = {
  min: 'min',
  max: 'max',
  bool_and: 'bool_and',
  every: 'bool_and',
  bool_or: 'bool_or',
  bit_and: 'bit_and',
  bit_or: 'bit_or',
  bit_xor: 'bit_xor',
};

/** sum, avg and the aggregates that give a value of their argument's type; `over` writes the call. */
function reduce(call: AggregateCall | WindowCall, arg: Expr, over: (name: string) => string, resultType: number): Expr {
  const operands = operandsOf(call);
  const type = typeName(arg.type);
  const { name } = call.signature;
  const same = SAME[name];
  if (same !== undefined) {
    if (name === 'min' || name === 'max') ordered(arg);
    const { constant: _, text: __, ...shape } = arg;
    return made(operands, { ...shape, sql: over(same), fixed: false });
  }
  if (name === 'sum' && (type === 'int2' || type === 'int4')) {
    return made(operands, { sql: `CAST(${over('sum')} AS BIGINT)`, type: resultType, typmod: -1, fixed: false });
  }
  if (name === 'sum' && (type === 'int8' || type === 'numeric')) return sumNumeric(operands, arg, over);
  if (name === 'sum' && type === 'float8')
    return made(operands, { sql: over('sum'), type: resultType, typmod: -1, fixed: false });
  if (name === 'avg' && (INT_TYPES.has(type) || type === 'numeric')) {
    return quotient(
      operands,
      sumNumeric(operands, arg, over),
      made(operands, { sql: over('count'), type: Oid.int8, typmod: -1, scale: 0 }),
    );
  }
  if (name === 'avg' && type === 'float8') {
    const sql = `(CASE WHEN ${over('count')} = 0 THEN NULL ELSE ${over('sum')} / ${over('count')} END)`;
    return made(operands, { sql, type: resultType, typmod: -1, fixed: false });
  }
  return decline(`aggregate ${call.signature.text}`);
}

function sumNumeric(operands: Expr[], arg: Expr, over: (name: string) => string): Expr {
  const scale = arg.type === Oid.numeric ? (arg.scale ?? 0) : 0;
  return made(operands, {
    sql: `CAST(${over('sum')} AS DECIMAL(38,${scale}))`,
    type: Oid.numeric,
    typmod: -1,
    scale,
    precision: 38,
    fixed: false,
    ...(arg.loose === true ? { loose: true } : {}),
  });
}

const RANKING = new Set(['row_number', 'rank', 'dense_rank']);
const POSITIONAL = new Set(['lag', 'lead', 'first_value', 'last_value', 'nth_value']);

function window(call: WindowCall): Expr {
  const { name } = call.signature;
  const over = ` OVER (${call.over})`;
  const operands = operandsOf(call);
  if (RANKING.has(name)) return made([], { sql: `${name}()${over}`, type: Oid.int8, typmod: -1, fixed: false });
  if (name === 'count') {
    return made(operands, { sql: countSql({ ...call, distinct: false }, over), type: Oid.int8, typmod: -1, fixed: false });
  }
  const [arg, ...rest] = call.args;
  if (arg === undefined) return decline(`window function ${call.signature.text}`);
  if (POSITIONAL.has(name)) {
    if (rest.length > 1 || rest.some((one) => one.type !== Oid.int4)) decline(`${name} with a default`);
    if (arg.rep === 'interval') decline(`${name} of an interval`);
    const { constant: _, text: __, ...shape } = exactScale(arg);
    return made(operands, { ...shape, sql: `${name}(${call.args.map((one) => one.sql).join(', ')})${over}`, fixed: false });
  }
  if (FLOAT_TYPES.has(typeName(arg.type)) && name !== 'min' && name !== 'max') decline('a running sum of floats');
  return reduce(call, plain(arg), (fn) => `${fn}(${filtered(call, arg)})${over}`, call.resultType);
}

export const duckdb: Dialect = {
  engine: 'duckdb',
  checksScalarSubqueries: true,
  constant,
  param,
  operator: duckdbOperator,
  func: duckdbFunction,
  aggregate,
  window,
  viaText,
  alignNumerics,
  comparable: ordered,
  limit: (expr) => expr.sql,
  inArray,
  quantified: (left, operator, quantifier, subquery) => {
    if (operator === '=' && quantifier === 'ANY') return `(${left.sql} IN ${subquery})`;
    if (operator === '<>' && quantifier === 'ALL') return `(${left.sql} NOT IN ${subquery})`;
    return `(${left.sql} ${operator} ${quantifier} ${subquery})`;
  },
  extremum: (args, greatest) => `${greatest ? 'greatest' : 'least'}(${args.map((arg) => arg.sql).join(', ')})`,
};
