/** Functions for DuckDB, by signature. */
import { numericTypmod, Oid } from '../../model/storage.js';
import { decline } from './decline.js';
import { duckdbOperator, INT_SQL } from './duckdb-operators.js';
import { duckdbError } from './engine-errors.js';
import { type Expr, made, plain } from './expr.js';
import { textLiteral } from './literal.js';
import { FLOAT_TYPES, INT_TYPES, type Signature, typeName } from './signatures.js';

type Result = (sql: string, of?: Partial<Expr>) => Expr;
type Write = (args: Expr[], result: Result, signature: Signature) => Expr;

export function duckdbFunction(signature: Signature, args: Expr[], resultType: number): Expr {
  const result: Result = (sql, of = {}) => made(args, { sql, type: resultType, typmod: -1, ...of });
  const exact = FUNCTIONS[signature.text];
  if (exact !== undefined) return exact(args, result, signature);
  const { name, types } = signature;
  if (name === typeName(resultType)) return cast(signature, args, result);
  const first = args[0];
  if (first === undefined) return decline(`function ${signature.text}`);
  if (types[0] === 'numeric') return numericFunction(signature, args, result);
  if (types.length === 1 && INT_TYPES.has(types[0] as string) && name === 'abs') return result(`abs(${first.sql})`);
  if (name === 'mod' && types.every((type) => INT_TYPES.has(type))) {
    return duckdbOperator({ ...signature, name: '%' }, args, resultType);
  }
  if ((name === 'extract' || name === 'date_part') && types[0] === 'text') return extract(signature, args, result);
  return decline(`function ${signature.text}`);
}

const INT_DIGITS: Readonly<Record<string, number>> = { int2: 5, int4: 10, int8: 19 };

function cast(signature: Signature, args: Expr[], result: Result): Expr {
  const to = signature.name;
  const from = signature.types[0] as string;
  const arg = plain(args[0] as Expr);
  const intSql = Object.entries(INT_SQL).find(([oid]) => typeName(Number(oid)) === to)?.[1];
  if (intSql !== undefined && (INT_TYPES.has(from) || FLOAT_TYPES.has(from) || from === 'bool' || from === 'numeric')) {
    return result(`CAST(${arg.sql} AS ${intSql})`);
  }
  if (to === 'numeric') {
    const digits = INT_DIGITS[from];
    if (digits !== undefined) return result(`CAST(${arg.sql} AS DECIMAL(${digits},0))`, { scale: 0, precision: digits });
    if (signature.text === 'numeric(numeric,int4)') return numericLength(args, result);
  }
  if (to === 'float8') {
    if (INT_TYPES.has(from) || from === 'float4') return result(`CAST(${arg.sql} AS DOUBLE)`);
    // Up to 15 digits both the integer and the power of ten are exact in a double, so that their quotient is rounded once.
    if (from === 'numeric' && (arg.precision ?? 38) <= 15) return result(`CAST(${arg.sql} AS DOUBLE)`);
  }
  if (to === 'float4' && from === 'int2') return result(`CAST(${arg.sql} AS FLOAT)`);
  if (to === 'bool' && from === 'int4') return result(`(${arg.sql} <> 0)`);
  if (to === 'text' && (from === 'bpchar' || from === 'name')) return result(arg.sql);
  if (to === 'text' && from === 'bool') return result(`(CASE WHEN ${arg.sql} THEN 'true' WHEN NOT ${arg.sql} THEN 'false' END)`);
  if (to === 'date' && from === 'timestamp') return result(`CAST(${arg.sql} AS DATE)`);
  if (to === 'timestamp' && from === 'date') return result(`CAST(${arg.sql} AS TIMESTAMP)`);
  if ((to === 'varchar' || to === 'bpchar') && args.length === 3) return textLength(to, args, result);
  return decline(`cast ${signature.text}`);
}

/** Coercion to numeric(p,s): rounds half away from zero; an overflow raises. */
function numericLength(args: Expr[], result: Result): Expr {
  const [arg, typmod] = args as [Expr, Expr];
  const declared = typmod.constant?.kind === 'int' ? numericTypmod(Number(typmod.constant.value)) : undefined;
  if (declared === undefined) return decline('a coercion without a constant length');
  const { precision, scale } = declared;
  if (precision > 38 || scale < 0 || scale > precision) return decline(`numeric(${precision},${scale})`);
  return result(`CAST(${arg.sql} AS DECIMAL(${precision},${scale}))`, { scale, precision });
}

/** Coercion to varchar(n), char(n): cuts when explicit, else refuses all but blanks. */
function textLength(to: string, args: Expr[], result: Result): Expr {
  const [arg, typmod, explicit] = args as [Expr, Expr, Expr];
  if (typmod.constant?.kind !== 'int' || explicit.constant?.kind !== 'bool')
    return decline('a coercion without a constant length');
  const length = Number(typmod.constant.value) - 4;
  const cut = `left(${arg.sql}, ${length})`;
  const kept = to === 'bpchar' ? `rtrim(${cut}, ' ')` : cut;
  const of = { typmod: length + 4 };
  if (explicit.constant.value) return result(kept, of);
  return result(`(CASE WHEN length(rtrim(${arg.sql}, ' ')) > ${length} THEN ${duckdbError('22001')} ELSE ${kept} END)`, of);
}

function numericFunction({ name, text, types }: Signature, args: Expr[], result: Result): Expr {
  const arg = plain(args[0] as Expr);
  const digits = args[1];
  const shape = { scale: arg.scale ?? 0, precision: arg.precision ?? 38 };
  const loose = arg.loose === true ? { loose: true } : {};
  if (name === 'abs' && types.length === 1) return result(`abs(${arg.sql})`, { ...shape, ...loose });
  if (name === 'mod') return duckdbOperator({ name: '%', types, text }, args, Oid.numeric);
  const whole = { scale: 0, precision: 38 };
  if (types.length === 1 && ['ceil', 'ceiling', 'floor', 'trunc', 'round', 'sign'].includes(name)) {
    const fn = name === 'ceiling' ? 'ceil' : name;
    // Rounding up needs a digit that the value's own type may lack.
    const operand = name === 'trunc' || name === 'sign' ? arg.sql : `CAST(${arg.sql} AS DECIMAL(38,${shape.scale}))`;
    return result(`CAST(${fn}(${operand}) AS DECIMAL(38,0))`, whole);
  }
  if ((name === 'round' || name === 'trunc') && types[1] === 'int4') {
    if (digits?.constant?.kind !== 'int') return decline(`${name} to a variable scale`);
    const to = Number(digits.constant.value);
    if (to < 0 || to > 38) return decline(`${name} to ${to} digits`);
    // The result has exactly that many digits, also beyond the argument's own.
    const reduced =
      name === 'trunc' && to < shape.scale ? `trunc(CAST(${arg.sql} AS DECIMAL(38,${shape.scale})), ${to})` : arg.sql;
    return result(`CAST(${reduced} AS DECIMAL(38,${to}))`, { scale: to, precision: 38 });
  }
  return decline(`function ${text}`);
}

const FINITE_FIELDS = new Set(['year', 'month', 'day', 'quarter', 'doy', 'dow', 'isodow', 'week', 'isoyear', 'century']);
const TIME_FIELDS = new Set(['hour', 'minute']);

function constantWord(arg: Expr | undefined): string {
  if (arg?.constant?.kind !== 'text') return decline('a field that is not constant');
  return arg.constant.value.toLowerCase();
}

/** extract() gives numeric, date_part() double precision. Infinity and years BC differ: they raise. */
function extract({ name, types, text }: Signature, args: Expr[], result: Result): Expr {
  const field = constantWord(args[0]);
  const source = args[1] as Expr;
  const type = types[1] as string;
  if (type !== 'date' && type !== 'timestamp') return decline(`function ${text}`);
  const epochScale = type === 'date' ? 0 : 6;
  const micros = (sql: string) => `CAST(${sql} AS DECIMAL(20,0)) * CAST('0.000001' AS DECIMAL(6,6))`;
  let value: string;
  let scale = 0;
  if (FINITE_FIELDS.has(field) || (type === 'timestamp' && TIME_FIELDS.has(field))) {
    value = `CAST(${field === 'doy' ? 'dayofyear' : field === 'dow' ? 'dayofweek' : field}(${source.sql}) AS DECIMAL(20,0))`;
  } else if (field === 'epoch') {
    scale = epochScale;
    const epoch = `epoch_us(CAST(${source.sql} AS TIMESTAMP))`;
    value = scale === 0 ? `CAST(${epoch} // 1000000 AS DECIMAL(20,0))` : `CAST(${micros(epoch)} AS DECIMAL(26,6))`;
  } else if (type === 'timestamp' && field === 'second') {
    scale = 6;
    value = `CAST(${micros(`(epoch_us(${source.sql}) % 60000000)`)} AS DECIMAL(26,6))`;
  } else return decline(`${name} of ${field}`);
  const early =
    type === 'date' ? `${source.sql} < CAST('0001-01-01' AS DATE)` : `${source.sql} < CAST('0001-01-01 00:00:00' AS TIMESTAMP)`;
  const guarded = `(CASE WHEN NOT isfinite(${source.sql}) OR ${early} THEN ${duckdbError('0A000')} ELSE ${value} END)`;
  // Before 1970 the remainder of the microseconds is negative.
  if (field === 'second')
    return result(
      `(CASE WHEN ${source.sql} < CAST('1970-01-01 00:00:00' AS TIMESTAMP) THEN ${duckdbError('0A000')} ELSE ${guarded} END)`,
      numericShape(name, scale),
    );
  if (name === 'date_part') return result(`CAST(${guarded} AS DOUBLE)`);
  return result(guarded, numericShape(name, scale));
}

function numericShape(name: string, scale: number): Partial<Expr> {
  if (name === 'date_part') return decline('date_part of a fraction');
  return { scale, precision: 26 };
}

const TRUNC_FIELDS = new Set([
  'microseconds',
  'milliseconds',
  'second',
  'minute',
  'hour',
  'day',
  'week',
  'month',
  'quarter',
  'year',
]);

/** The same name and arguments in DuckDB. */
const direct: Write = (args, result, { name }) => result(`${name}(${args.map((arg) => plain(arg).sql).join(', ')})`);
const toInteger: Write = (args, result, { name }) =>
  result(`CAST(${name}(${args.map((arg) => plain(arg).sql).join(', ')}) AS INTEGER)`);
const named =
  (name: string): Write =>
  (args, result) =>
    result(`${name}(${args.map((arg) => plain(arg).sql).join(', ')})`);
const length: Write = ([arg], result) => result(`CAST(length(${plain(arg as Expr).sql}) AS INTEGER)`);
/** Only what is ASCII: elsewhere the two do not agree on some letters. */
const ascii: Write = ([arg], result, { name }) => {
  const sql = plain(arg as Expr).sql;
  return result(`(CASE WHEN strlen(${sql}) <> length(${sql}) THEN ${duckdbError('0A000')} ELSE ${name}(${sql}) END)`);
};
const blankTrim =
  (name: string): Write =>
  ([arg], result) =>
    result(`${name}(${plain(arg as Expr).sql}, ' ')`);
const pad: Write = (args, result, { name }) => {
  const [subject, size, fill] = args.map((arg) => plain(arg).sql);
  const filled = `${name}(${subject}, greatest(${size}, 0), ${fill ?? "' '"})`;
  return result(filled);
};
const substring: Write = (args, result) => {
  const [s, p, n] = args.map((arg) => plain(arg).sql) as [string, string, string | undefined];
  const from = `CAST(${p} AS BIGINT)`;
  if (n === undefined) return result(`substring(${s}, greatest(${from}, 1))`);
  const size = `CAST(${n} AS BIGINT)`;
  // greatest() leaves NULL out, so that NULLs are asked for first.
  return result(
    `(CASE WHEN ${s} IS NULL OR ${p} IS NULL OR ${n} IS NULL THEN NULL WHEN ${size} < 0 THEN ${duckdbError('22011')} WHEN ${from} < 1 THEN substring(${s}, 1, greatest(${from} + ${size} - 1, 0)) ELSE substring(${s}, ${from}, ${size}) END)`,
  );
};

const FUNCTIONS: Readonly<Record<string, Write>> = {
  'length(text)': length,
  'length(bpchar)': length,
  'char_length(text)': length,
  'char_length(bpchar)': length,
  'character_length(text)': length,
  'character_length(bpchar)': length,
  'octet_length(text)': ([arg], result) => result(`CAST(strlen(${plain(arg as Expr).sql}) AS INTEGER)`),
  'upper(text)': ascii,
  'lower(text)': ascii,
  'substring(text,int4,int4)': substring,
  'substring(text,int4)': substring,
  'substr(text,int4,int4)': substring,
  'substr(text,int4)': substring,
  'left(text,int4)': direct,
  'right(text,int4)': direct,
  'strpos(text,text)': toInteger,
  'position(text,text)': (args, result, signature) => toInteger(args, result, { ...signature, name: 'strpos' }),
  'replace(text,text,text)': direct,
  'translate(text,text,text)': direct,
  'repeat(text,int4)': direct,
  'starts_with(text,text)': direct,
  'md5(text)': direct,
  'ltrim(text)': blankTrim('ltrim'),
  'rtrim(text)': blankTrim('rtrim'),
  'btrim(text)': blankTrim('trim'),
  'ltrim(text,text)': direct,
  'rtrim(text,text)': direct,
  'btrim(text,text)': named('trim'),
  'lpad(text,int4)': pad,
  'lpad(text,int4,text)': pad,
  'rpad(text,int4)': pad,
  'rpad(text,int4,text)': pad,
  'split_part(text,text,int4)': (args, result) => {
    const [, delimiter, field] = args;
    const position = field?.constant?.kind === 'int' ? field.constant.value : 0n;
    if (delimiter?.constant?.kind !== 'text' || delimiter.constant.value === '' || position < 1n)
      return decline('split_part in this use');
    return result(`split_part(${args.map((arg) => plain(arg).sql).join(', ')})`);
  },
  'abs(float8)': direct,
  'abs(float4)': direct,
  'sqrt(float8)': direct,
  'floor(float8)': direct,
  'ceil(float8)': direct,
  'ceiling(float8)': named('ceil'),
  'round(float8)': ([arg], result) => result(`round_even(${(arg as Expr).sql}, 0)`),
  'date_trunc(text,timestamp)': ([field, source], result) => {
    const unit = constantWord(field);
    if (!TRUNC_FIELDS.has(unit)) return decline(`date_trunc to ${unit}`);
    const sql = (source as Expr).sql;
    return result(`(CASE WHEN isfinite(${sql}) THEN date_trunc(${textLiteral(unit)}, ${sql}) ELSE ${sql} END)`);
  },
};
