/**
 * Expressions for SQLite over heap values (model/storage.ts): integers of every kind, scaled decimals, days and microseconds are all
 * INTEGER there, so that a comparison of one type is exact. SQLite checks no ranges and turns overflowing sums into REAL: each
 * arithmetic carries its own guard. What is not exact declines.
 */
import { numericTypmod, Oid, storageOf } from '../../model/storage.js';
import type { ConstValue } from './constants.js';
import { decline } from './decline.js';
import type { AggregateCall, Dialect } from './dialect.js';
import { sqliteError } from './engine-errors.js';
import { type Expr, exactScale, made, ordered, plain } from './expr.js';
import { textLiteral } from './literal.js';
import { INT_TYPES, type Signature, typeName } from './signatures.js';

/** Guards repeat their operand, so that nested arithmetic grows fast. */
const MAX_ARITHMETIC = 8000;

/** Types whose heap values SQLite compares as PostgreSQL does. Floats are not: NaN is a string there. */
function comparable(expr: Expr): Expr {
  ordered(expr);
  if (expr.type === Oid.float4 || expr.type === Oid.float8) decline('a comparison of floats');
  return expr;
}

function constant(value: ConstValue, type: number, typmod: number): Expr {
  const base = { type, typmod, rep: 'plain' as const, depth: 1, constant: value, fixed: true };
  switch (value.kind) {
    case 'null':
      if (type === Oid.numeric) return { ...base, sql: 'NULL', scale: 0, precision: 1 };
      return { ...base, sql: 'NULL', rep: storageOf(type, typmod).class === 'opaque' ? 'opaque' : 'plain' };
    case 'int':
      return { ...base, sql: integer(value.value) };
    case 'bool':
      return { ...base, sql: value.value ? '1' : '0' };
    case 'numeric': {
      const precision = Math.max((value.digits < 0n ? -value.digits : value.digits).toString().length, value.scale, 1);
      if (precision > 18) decline('a numeric constant of more than 18 digits');
      return { ...base, sql: integer(value.digits), scale: value.scale, precision };
    }
    case 'text':
      if (type === Oid.bpchar) return { ...base, sql: textLiteral(value.value.replace(/ +$/, '')) };
      if (type === Oid.text || type === Oid.varchar || type === Oid.name) return { ...base, sql: textLiteral(value.value) };
      return { ...base, sql: textLiteral(value.value), rep: 'opaque' };
    case 'bytes':
      return { ...base, sql: `x'${Buffer.from(value.value).toString('hex')}'` };
    case 'date':
      return { ...base, sql: integer(BigInt(value.days)) };
    case 'time':
    case 'timestamp':
      return { ...base, sql: integer(value.us) };
    case 'uuid':
      return { ...base, sql: `'${value.text}'` };
    default:
      return decline(`a constant ${value.kind}`);
  }
}

function integer(value: bigint): string {
  if (value === -9223372036854775808n) return '(-9223372036854775807 - 1)';
  return value < 0n ? `(${value})` : value.toString();
}

/** Digits after the point that a numeric parameter is read with; more of them raise. */
const PARAM_SCALE = 6;

/** A numeric parameter comes as text: read here as an integer of scale 6. It is compared and computed with, never shown. */
function numericParam(n: number): Expr {
  const p = `?${n}`;
  const fraction = `(CASE instr(${p}, '.') WHEN 0 THEN 0 ELSE length(${p}) - instr(${p}, '.') END)`;
  const powers = Array.from({ length: PARAM_SCALE + 1 }, (_, i) => `WHEN ${i} THEN ${10n ** BigInt(PARAM_SCALE - i)}`).join(' ');
  const factor = `(CASE ${fraction} ${powers} ELSE ${sqliteError('0A000')} END)`;
  const digits = `CAST(replace(${p}, '.', '') AS INTEGER)`;
  const readable = `length(${p}) <= 13 + ${fraction} AND ${p} NOT GLOB '*[^-.0-9]*'`;
  const sql = `(CASE WHEN ${p} IS NULL THEN NULL WHEN ${readable} THEN ${digits} * ${factor} ELSE ${sqliteError('0A000')} END)`;
  return {
    sql,
    type: Oid.numeric,
    typmod: -1,
    rep: 'plain',
    depth: 3,
    scale: PARAM_SCALE,
    precision: 18,
    loose: true,
    fixed: true,
  };
}

function param(n: number, type: number): Expr {
  if (type === Oid.numeric) return numericParam(n);
  const rep = storageOf(type, -1).class === 'opaque' ? 'opaque' : 'plain';
  return { sql: `?${n}`, type, typmod: -1, rep, depth: 1, fixed: true };
}

/** A whole number that must lie in the type's range, in which nothing has become REAL. */
function inRange(value: string, type: number): string {
  if (value.length > MAX_ARITHMETIC) decline('arithmetic that is too deep');
  const wide = `typeof(${value}) IN ('integer', 'null')`;
  const bounds = ({ [Oid.int2]: [-32768, 32767], [Oid.int4]: [-2147483648, 2147483647] } as Record<number, [number, number]>)[
    type
  ];
  const fits = bounds === undefined ? wide : `${wide} AND (${value} IS NULL OR ${value} BETWEEN ${bounds[0]} AND ${bounds[1]})`;
  return `(CASE WHEN ${fits} THEN ${value} ELSE ${sqliteError('22003')} END)`;
}

const COMPARISONS = new Set(['=', '<>', '<', '<=', '>', '>=']);
const TEXTS = new Set(['text', 'varchar', 'name', 'bpchar']);

function operator(signature: Signature, args: Expr[], resultType: number): Expr {
  const { name, types } = signature;
  const [left, right] = args as [Expr, Expr | undefined];
  const [l, r] = types as [string, string | undefined];
  const result = (sql: string, of: Partial<Expr> = {}) => made(args, { sql, type: resultType, typmod: -1, ...of });
  if (right === undefined || r === undefined) {
    if (name !== '-' || !(INT_TYPES.has(l) || l === 'numeric')) return decline(`operator ${signature.text}`);
    const sql = inRange(`(-${plain(left).sql})`, resultType);
    return result(sql, l === 'numeric' ? numericShape(left, left, left.scale ?? 0) : {});
  }
  if (COMPARISONS.has(name)) {
    const same = l === r || (INT_TYPES.has(l) && INT_TYPES.has(r)) || (TEXTS.has(l) && TEXTS.has(r));
    if (!same) decline(`a comparison of ${l} with ${r}`);
    const [a, b] = l === 'numeric' ? alignNumerics([left, right]) : [left, right];
    return result(`(${comparable(a as Expr).sql} ${name} ${comparable(b as Expr).sql})`);
  }
  if (INT_TYPES.has(l) && INT_TYPES.has(r)) return integers(signature, plain(left), plain(right), resultType, result);
  if (l === 'numeric' && r === 'numeric') return decimals(signature, plain(left), plain(right), result);
  if (l === 'date' && r === 'int4' && (name === '+' || name === '-')) return dayShift(name, left, right, result);
  if (l === 'date' && r === 'date' && name === '-') return result(dayDifference(left, right));
  if (signature.text === '||(text,text)') return result(`(${plain(left).sql} || ${plain(right).sql})`);
  if ((name === '~~' || name === '!~~') && l === 'text') {
    return result(`(${plain(left).sql} ${name === '~~' ? 'GLOB' : 'NOT GLOB'} ${globOf(right)})`);
  }
  return decline(`operator ${signature.text}`);
}

/**
 * A constant LIKE pattern as GLOB: SQLite's LIKE does not tell cases apart, its GLOB does. A pattern that ends in its escape is an
 * error in PostgreSQL.
 */
function globOf(pattern: Expr): string {
  if (pattern.constant?.kind !== 'text') return decline('LIKE with a pattern that is not constant');
  let glob = '';
  const characters = [...pattern.constant.value];
  for (let i = 0; i < characters.length; i++) {
    let character = characters[i] as string;
    if (character === '%') glob += '*';
    else if (character === '_') glob += '?';
    else {
      if (character === '\\') {
        character = characters[++i] ?? decline('a LIKE pattern that ends in its escape');
      }
      glob += '*?['.includes(character) ? `[${character}]` : character;
    }
  }
  return textLiteral(glob);
}

type Result = (sql: string, of?: Partial<Expr>) => Expr;

function integers({ name, text }: Signature, left: Expr, right: Expr, type: number, result: Result): Expr {
  switch (name) {
    case '+':
    case '-':
    case '*':
      return result(inRange(`(${left.sql} ${name} ${right.sql})`, type));
    case '/':
      return result(inRange(`(${left.sql} / ${divisor(right)})`, type));
    case '%':
      // The one remainder that int64 cannot give is that of its least number by -1.
      return result(`(CASE WHEN ${right.sql} = -1 THEN ${left.sql} - ${left.sql} ELSE ${left.sql} % ${divisor(right)} END)`);
    case '&':
    case '|':
      return result(`(${left.sql} ${name} ${right.sql})`);
    default:
      return decline(`operator ${text}`);
  }
}

function divisor(right: Expr): string {
  if (right.constant?.kind === 'int' && right.constant.value !== 0n) return right.sql;
  return `(CASE WHEN ${right.sql} = 0 THEN ${sqliteError('22012')} ELSE ${right.sql} END)`;
}

function numericShape(left: Expr, right: Expr, scale: number): Partial<Expr> {
  const loose = left.loose === true || right.loose === true ? { loose: true } : {};
  return { scale, precision: 18, ...loose };
}

function decimals({ name, text }: Signature, left: Expr, right: Expr, result: Result): Expr {
  const of = (scale: number) => numericShape(left, right, scale);
  if (name === '*') {
    const scale = (left.scale ?? 0) + (right.scale ?? 0);
    if (scale > 18) decline('a product of more than 18 digits after the point');
    return result(inRange(`(${left.sql} * ${right.sql})`, Oid.int8), of(scale));
  }
  if (name !== '+' && name !== '-') return decline(`operator ${text}`);
  const scale = Math.max(left.scale ?? 0, right.scale ?? 0);
  return result(inRange(`(${rescale(left, scale)} ${name} ${rescale(right, scale)})`, Oid.int8), of(scale));
}

/** To a scale that is not smaller. */
function rescale(expr: Expr, scale: number): string {
  const up = scale - (expr.scale ?? 0);
  if (up === 0) return expr.sql;
  if (up > 18) return decline('decimals of far apart scales');
  return inRange(`(${expr.sql} * ${10n ** BigInt(up)})`, Oid.int8);
}

function alignNumerics(args: Expr[]): Expr[] {
  const values = args.filter((arg) => arg.constant?.kind !== 'null');
  for (const arg of values) plain(arg);
  const scale = Math.max(0, ...values.map((arg) => arg.scale ?? 0));
  const mixed = values.some((arg) => (arg.scale ?? 0) !== scale || arg.loose === true);
  return args.map((arg) => {
    if (arg.constant?.kind === 'null') return { ...arg, scale };
    return { ...arg, sql: rescale(arg, scale), scale, ...(mixed ? { loose: true } : {}) };
  });
}

const DATE_LIMIT = 2145031948;
const DATE_FLOOR = -2451545;
const DATE_INFINITIES = '(2147483647, -2147483648)';

function dayShift(name: string, left: Expr, right: Expr, result: Result): Expr {
  const sum = `(${left.sql} ${name} ${right.sql})`;
  const fits = `${sum} IS NULL OR ${sum} BETWEEN ${DATE_FLOOR} AND ${DATE_LIMIT}`;
  return result(
    `(CASE WHEN ${left.sql} IN ${DATE_INFINITIES} THEN ${left.sql} WHEN ${fits} THEN ${sum} ELSE ${sqliteError('22003')} END)`,
  );
}

function dayDifference(left: Expr, right: Expr): string {
  const infinite = `${left.sql} IN ${DATE_INFINITIES} OR ${right.sql} IN ${DATE_INFINITIES}`;
  return `(CASE WHEN ${infinite} THEN ${sqliteError('22003')} ELSE ${left.sql} - ${right.sql} END)`;
}

const INT_DIGITS: Readonly<Record<string, number>> = { int2: 5, int4: 10, int8: 19 };

function func(signature: Signature, args: Expr[], resultType: number): Expr {
  const { name, types } = signature;
  const [arg] = args;
  if (arg === undefined) return decline(`function ${signature.text}`);
  plain(arg);
  const result: Result = (sql, of = {}) => made(args, { sql, type: resultType, typmod: -1, ...of });
  if (name === typeName(resultType) && INT_TYPES.has(name) && INT_TYPES.has(types[0] as string))
    return result(inRange(arg.sql, resultType));
  switch (signature.text) {
    case 'numeric(int2)':
    case 'numeric(int4)':
    case 'numeric(int8)':
      return result(arg.sql, { scale: 0, precision: Math.min(18, INT_DIGITS[types[0] as string] ?? 18) });
    case 'numeric(numeric,int4)':
      return numericLength(args, result);
    case 'text(bpchar)':
      return result(arg.sql);
    case 'varchar(varchar,int4,bool)':
    case 'bpchar(bpchar,int4,bool)':
      return textLength(args, resultType, result);
    case 'length(text)':
    case 'char_length(text)':
    case 'length(bpchar)':
      return result(`length(${arg.sql})`);
    case 'int4(bool)':
      return result(arg.sql);
    case 'abs(int2)':
    case 'abs(int4)':
      return result(inRange(`abs(${arg.sql})`, resultType));
    default:
      return decline(`function ${signature.text}`);
  }
}

/** Coercion to numeric(p,s): half away from zero, then the range. */
function numericLength(args: Expr[], result: Result): Expr {
  const [arg, typmod] = args as [Expr, Expr];
  const declared = typmod.constant?.kind === 'int' ? numericTypmod(Number(typmod.constant.value)) : undefined;
  if (declared === undefined) return decline('a coercion without a constant length');
  const { precision, scale } = declared;
  if (precision > 18 || scale < 0 || scale > precision) return decline(`numeric(${precision},${scale})`);
  const down = (arg.scale ?? 0) - scale;
  let sql: string;
  if (down <= 0) sql = rescale(arg, scale);
  else {
    const unit = 10n ** BigInt(down);
    // Digit by remainder, so that adding half a unit cannot overflow.
    const away = `CASE WHEN ${arg.sql} % ${unit} >= ${unit / 2n} THEN 1 WHEN ${arg.sql} % ${unit} <= -${unit / 2n} THEN -1 ELSE 0 END`;
    sql = `(${arg.sql} / ${unit} + ${away})`;
  }
  if (sql.length > MAX_ARITHMETIC) decline('arithmetic that is too deep');
  const limit = 10n ** BigInt(precision);
  const fits = `${sql} IS NULL OR ${sql} BETWEEN -${limit - 1n} AND ${limit - 1n}`;
  return result(`(CASE WHEN ${fits} THEN ${sql} ELSE ${sqliteError('22003')} END)`, { scale, precision });
}

function textLength(args: Expr[], type: number, result: Result): Expr {
  const [arg, typmod, explicit] = args as [Expr, Expr, Expr];
  if (typmod.constant?.kind !== 'int' || explicit.constant?.kind !== 'bool')
    return decline('a coercion without a constant length');
  const length = Number(typmod.constant.value) - 4;
  const cut = `substr(${arg.sql}, 1, ${length})`;
  const kept = type === Oid.bpchar ? `rtrim(${cut}, ' ')` : cut;
  const of = { typmod: length + 4 };
  if (explicit.constant.value) return result(kept, of);
  return result(`(CASE WHEN length(rtrim(${arg.sql}, ' ')) > ${length} THEN ${sqliteError('22001')} ELSE ${kept} END)`, of);
}

function aggregate(call: AggregateCall): Expr {
  const { signature, resultType } = call;
  const [arg] = call.args;
  const operands = call.filter === null ? call.args : [...call.args, call.filter];
  const value = (sql: string) => (call.filter === null ? sql : `CASE WHEN ${call.filter.sql} THEN ${sql} END`);
  if (signature.name === 'count') {
    if (arg === undefined)
      return made(operands, { sql: `count(${call.filter === null ? '*' : value('1')})`, type: Oid.int8, typmod: -1 });
    if (call.distinct) comparable(exactScale(arg));
    return made(operands, { sql: `count(${call.distinct ? 'DISTINCT ' : ''}${value(arg.sql)})`, type: Oid.int8, typmod: -1 });
  }
  if (arg === undefined || call.args.length !== 1 || call.distinct) return decline(`aggregate ${signature.text}`);
  const type = typeName(plain(arg).type);
  const name = ({ min: 'min', max: 'max', bool_and: 'min', every: 'min', bool_or: 'max' } as Record<string, string>)[
    signature.name
  ];
  if (name !== undefined) {
    const { constant: _, text: __, ...shape } = comparable(arg);
    return made(operands, { ...shape, sql: `${name}(${value(arg.sql)})`, fixed: false });
  }
  // SQLite raises where a sum of integers leaves int64.
  if (signature.name === 'sum' && (type === 'int2' || type === 'int4')) {
    return made(operands, { sql: `sum(${value(arg.sql)})`, type: resultType, typmod: -1, fixed: false });
  }
  if (signature.name === 'sum' && type === 'numeric') {
    const loose = arg.loose === true ? { loose: true } : {};
    return made(operands, {
      sql: `sum(${value(arg.sql)})`,
      type: resultType,
      typmod: -1,
      scale: arg.scale ?? 0,
      precision: 18,
      fixed: false,
      ...loose,
    });
  }
  if (signature.name === 'sum' && type === 'int8') {
    return made(operands, { sql: `sum(${value(arg.sql)})`, type: resultType, typmod: -1, scale: 0, precision: 18, fixed: false });
  }
  return decline(`aggregate ${signature.text}`);
}

export const sqlite: Dialect = {
  engine: 'sqlite',
  checksScalarSubqueries: false,
  constant,
  param,
  operator,
  func,
  aggregate,
  window: (call) => decline(`window function ${call.signature.name}`),
  viaText: (arg, resultType) => {
    const to = typeName(resultType);
    if ((to === 'text' || to === 'varchar') && INT_TYPES.has(typeName(arg.type))) {
      return made([arg], { sql: `CAST(${arg.sql} AS TEXT)`, type: resultType, typmod: -1 });
    }
    return decline(`a cast from ${typeName(arg.type)} to ${to} through text`);
  },
  alignNumerics,
  comparable,
  limit: (expr) => `(CASE WHEN ${expr.sql} < 0 THEN ${sqliteError('22003')} ELSE ${expr.sql} END)`,
  inArray: (left, array, negated) => {
    const ints = array.type === 1005 || array.type === 1007 || array.type === 1016;
    if (!ints || !INT_TYPES.has(typeName(left.type)) || !/^\?\d+$/.test(array.sql))
      return decline('a comparison with an array value');
    // `{1,2}` is `[1,2]` in JSON; an element NULL is no JSON, and leads to the fallback.
    const list = `(SELECT value FROM json_each('[' || substr(${array.sql}, 2, length(${array.sql}) - 2) || ']'))`;
    return made([left, array], {
      sql: `(CASE WHEN ${array.sql} IS NULL THEN NULL ELSE ${left.sql} ${negated ? 'NOT ' : ''}IN ${list} END)`,
      type: Oid.bool,
      typmod: -1,
    });
  },
  quantified: (left, operator, quantifier, subquery) => {
    if (operator === '=' && quantifier === 'ANY') return `(${comparable(left).sql} IN ${subquery})`;
    if (operator === '<>' && quantifier === 'ALL') return `(${comparable(left).sql} NOT IN ${subquery})`;
    return decline(`${operator} ${quantifier} of a subquery`);
  },
  extremum: () => decline('GREATEST and LEAST'),
};
