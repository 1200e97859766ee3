/** numeric by integers: a value is `digits / 10^scale`, and its display scale is part of it, as in PostgreSQL. */
import { SqlError } from '../../core/errors.js';

/** A finite numeric: `digits / 10^scale`, scale ≥ 0. */
export interface FiniteNumeric {
  kind: 'finite';
  digits: bigint;
  scale: number;
}

export type ParsedNumeric = FiniteNumeric | { kind: 'special'; text: 'NaN' | 'Infinity' | '-Infinity' };

const NUMERIC = /^([+-]?)(\d(?:_?\d)*)?(?:(\.)(\d(?:_?\d)*)?)?(?:[eE]([+-]?\d(?:_?\d)*))?$/;
const NON_DECIMAL = /^([+-]?)(0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+)$/;
/** NUMERIC_MAX_DIGITS before, NUMERIC_DSCALE_MAX after the point. */
const MAX_WEIGHT_DIGITS = 131072;
const MAX_SCALE = 16383;

/** numeric_in without typmod. Throws 22P02, or 22003 where it overflows numeric itself. */
export function parseNumeric(text: string): ParsedNumeric {
  const trimmed = text.trim();
  const match = NUMERIC.exec(trimmed);
  if (match === null || (match[2] === undefined && match[4] === undefined)) return parseUnusual(text, trimmed);
  const whole = (match[2] ?? '').replaceAll('_', '');
  const fraction = (match[4] ?? '').replaceAll('_', '');
  const exponent = match[5] === undefined ? 0 : Number(match[5].replaceAll('_', ''));
  if (Math.abs(exponent) > MAX_WEIGHT_DIGITS + MAX_SCALE || whole.length + exponent > MAX_WEIGHT_DIGITS + whole.length)
    throw overflow();
  let digits = BigInt(whole + fraction);
  let scale = fraction.length - exponent;
  if (scale < 0) {
    digits *= 10n ** BigInt(-scale);
    scale = 0;
  }
  if (scale > MAX_SCALE) {
    digits = roundHalfAway(digits, 10n ** BigInt(scale - MAX_SCALE));
    scale = MAX_SCALE;
  }
  return { kind: 'finite', digits: match[1] === '-' ? -digits : digits, scale };
}

function parseUnusual(text: string, trimmed: string): ParsedNumeric {
  const word = /^([+-]?)(nan|inf|infinity)$/i.exec(trimmed);
  if (word !== null && word[2]!.toLowerCase() === 'nan' && word[1] === '') return { kind: 'special', text: 'NaN' };
  if (word !== null && word[2]!.toLowerCase() !== 'nan')
    return { kind: 'special', text: word[1] === '-' ? '-Infinity' : 'Infinity' };
  const other = NON_DECIMAL.exec(trimmed);
  if (other === null) throw new SqlError('22P02', `invalid input syntax for type numeric: "${text}"`);
  const digits = BigInt(other[2]!.replaceAll('_', ''));
  return { kind: 'finite', digits: other[1] === '-' ? -digits : digits, scale: 0 };
}

function overflow(): SqlError {
  return new SqlError('22003', 'value overflows numeric format');
}

/** digits / divisor, rounded half away from zero. */
function roundHalfAway(digits: bigint, divisor: bigint): bigint {
  const size = digits < 0n ? -digits : digits;
  const quotient = (size * 2n + divisor) / (divisor * 2n);
  return digits < 0n ? -quotient : quotient;
}

/** Rounds to numeric(precision, scale), as PostgreSQL coerces. The scale may be negative; the result's is then 0. */
export function roundNumeric(value: FiniteNumeric, precision: number, scale: number): FiniteNumeric {
  let digits: bigint;
  if (value.scale <= scale) digits = value.digits * 10n ** BigInt(scale - value.scale);
  else digits = roundHalfAway(value.digits, 10n ** BigInt(value.scale - scale));
  const size = digits < 0n ? -digits : digits;
  if (size >= 10n ** BigInt(precision)) {
    throw new SqlError('22003', 'numeric field overflow', {
      detail: `A field with precision ${precision}, scale ${scale} must round to an absolute value less than ${precision === scale ? '1' : `10^${precision - scale}`}.`,
    });
  }
  if (scale < 0) return { kind: 'finite', digits: digits * 10n ** BigInt(-scale), scale: 0 };
  return { kind: 'finite', digits, scale };
}

/** `digits / 10^scale` as PostgreSQL prints it, with exactly `scale` digits after the point. */
export function scaledText(digits: bigint | number, scale: number): string {
  if (scale === 0) return String(digits);
  const negative = digits < 0;
  const text = (negative ? String(-digits) : String(digits)).padStart(scale + 1, '0');
  const cut = text.length - scale;
  return `${negative ? '-' : ''}${text.slice(0, cut)}.${text.slice(cut)}`;
}

/** Base-10000 weight and first digit of a value, as PostgreSQL's select_div_scale looks at them; zero has weight 0 and digit 0. */
function leading(value: FiniteNumeric): { weight: number; first: number } {
  const size = value.digits < 0n ? -value.digits : value.digits;
  if (size === 0n) return { weight: 0, first: 0 };
  const digits = size.toString();
  // The power of ten of the first digit, then of its group of four.
  const power = digits.length - 1 - value.scale;
  const weight = Math.floor(power / 4);
  const width = power - weight * 4 + 1;
  return { weight, first: Number(digits.slice(0, width).padEnd(width, '0')) };
}

/**
 * `a / b` of numerics given and returned as PostgreSQL text: at least 16 significant digits, rounded half away from zero,
 * with the display scale that PostgreSQL chooses (select_div_scale). Throws 22012 for a division by zero.
 */
export function numericDivide(aText: string, bText: string): string {
  const a = parseNumeric(aText);
  const b = parseNumeric(bText);
  if (a.kind === 'special' || b.kind === 'special') return divideSpecial(a, b);
  if (b.digits === 0n) throw new SqlError('22012', 'division by zero');
  const left = leading(a);
  const right = leading(b);
  const weight = left.weight - right.weight - (left.first <= right.first ? 1 : 0);
  const scale = Math.min(1000, Math.max(16 - 4 * weight, a.scale, b.scale, 0));
  // a.digits / 10^sa / (b.digits / 10^sb) * 10^scale
  const shift = scale + b.scale - a.scale;
  let numerator = a.digits;
  let denominator = b.digits;
  if (shift >= 0) numerator *= 10n ** BigInt(shift);
  else denominator *= 10n ** BigInt(-shift);
  if (denominator < 0n) {
    numerator = -numerator;
    denominator = -denominator;
  }
  return scaledText(roundHalfAway(numerator, denominator), scale);
}

function sign(value: ParsedNumeric): number {
  if (value.kind === 'finite') return value.digits > 0n ? 1 : value.digits < 0n ? -1 : 0;
  return value.text === '-Infinity' ? -1 : 1;
}

function divideSpecial(a: ParsedNumeric, b: ParsedNumeric): string {
  const notANumber = (value: ParsedNumeric) => value.kind === 'special' && value.text === 'NaN';
  if (notANumber(a) || notANumber(b)) return 'NaN';
  if (a.kind === 'finite') return '0';
  if (b.kind === 'special') return 'NaN';
  if (b.digits === 0n) throw new SqlError('22012', 'division by zero');
  return sign(a) * sign(b) > 0 ? 'Infinity' : '-Infinity';
}

/** Exact sum of numerics as text: its display scale is the largest of the inputs'. */
export function numericAdd(aText: string, bText: string): string {
  const a = parseNumeric(aText);
  const b = parseNumeric(bText);
  if (a.kind === 'special' || b.kind === 'special') {
    if (a.kind === 'finite') return (b as { text: string }).text;
    if (b.kind === 'finite' || a.text === b.text) return a.text;
    return 'NaN';
  }
  const scale = Math.max(a.scale, b.scale);
  return scaledText(a.digits * 10n ** BigInt(scale - a.scale) + b.digits * 10n ** BigInt(scale - b.scale), scale);
}
