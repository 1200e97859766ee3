/** Text of floats as PostgreSQL prints and reads it. */
import { SqlError } from '../../core/errors.js';

/**
 * float8out: the shortest digits that read back, exponent form below 1e-4 and from 1e15 on.
 * @param extraFloatDigits the setting; above 0 (the default is 1) means shortest, else `%.<15+n>g`.
 */
export function float8Text(value: number, extraFloatDigits = 1): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e15 && extraFloatDigits > 0)
    return Object.is(value, -0) ? '-0' : String(value);
  const special = specialText(value);
  if (special !== undefined) return special;
  return extraFloatDigits > 0 ? layout(shortestFloat8(value), 15) : general(value, Math.max(1, 15 + extraFloatDigits));
}

/** float4out: as float8out for single precision, exponent form from 1e6 on. */
export function float4Text(value: number, extraFloatDigits = 1): string {
  const special = specialText(value);
  if (special !== undefined) return special;
  return extraFloatDigits > 0 ? layout(shortestFloat4(value), 6) : general(value, Math.max(1, 6 + extraFloatDigits));
}

function specialText(value: number): string | undefined {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Infinity) return 'Infinity';
  if (value === -Infinity) return '-Infinity';
  if (value === 0) return Object.is(value, -0) ? '-0' : '0';
  return undefined;
}

/** Above it, the middle between two neighbours can have as few digits as a float has itself. */
const LARGE = 2 ** 52;

/**
 * Exponential form with the fewest digits. JavaScript takes a decimal that lies exactly half-way to a neighbour where reading it back
 * (half to even) gives the value; PostgreSQL's Ryu does not, and writes more digits.
 */
function shortestFloat8(value: number): string {
  const text = value.toExponential();
  if (Math.abs(value) < LARGE || !isHalfWay(text, value)) return text;
  const sign = value < 0 ? 1 : 0;
  for (let digits = text.indexOf('e') - 1 - sign; digits < 16; digits++) {
    const longer = roundedDecimal(value, digits);
    if (Number(longer) === value && !isHalfWay(longer, value)) return longer;
  }
  return value.toExponential(16);
}

/** Is the decimal the exact middle between a large float and one of its neighbours? */
function isHalfWay(text: string, value: number): boolean {
  const [digits, scale] = decimalParts(text);
  if (scale > 0) return false;
  wide.setFloat64(0, value);
  const exponent = ((wide.getUint32(0) >>> 20) & 0x7ff) - 1075;
  const powerOfTwo = (wide.getBigUint64(0) & 0xfffffffffffffn) === 0n;
  const distance = digits - BigInt(value);
  const off = 4n * (distance < 0n ? -distance : distance);
  const towardsZero = distance < 0n === value > 0;
  const ulp = 1n << BigInt(exponent);
  // The neighbour below a power of two is only half as far.
  return off === 2n * ulp || (powerOfTwo && towardsZero && off === ulp);
}

const wide = new DataView(new ArrayBuffer(8));

/** As shortestFloat8, for single precision: the shortest decimal inside the interval that rounds to the value, of those the nearest. */
function shortestFloat4(value: number): string {
  const size = Math.abs(value);
  // Bounds and decimals of so few digits are exact, or exact enough, in double precision.
  const low = (size + neighbour(size, false)) / 2;
  const above = neighbour(size, true);
  const high = Number.isFinite(above) ? (size + above) / 2 : size + (size - low);
  const sign = value < 0 ? '-' : '';
  for (let digits = 0; digits < 9; digits++) {
    const nearest = roundedDecimal(size, digits);
    const other = beside(nearest, Number(nearest) < size ? 1 : -1);
    for (const text of [nearest, other]) {
      const read = Number(text);
      if (read > low && read < high) return sign + text;
    }
  }
  return value.toExponential(8);
}

/** toExponential, but a value exactly between two decimals goes to the even one, not up. */
function roundedDecimal(value: number, digits: number): string {
  const text = value.toExponential(digits);
  const exact = value.toExponential(100).replace(/[-.]/g, '');
  const tie = /^50*e/.test(exact.slice(digits + 1));
  const odd = Number(text[text.indexOf('e') - 1]) % 2 === 1;
  if (!tie || !odd) return text;
  return value < 0 ? `-${beside(text.slice(1), -1)}` : beside(text, -1);
}

/** The next decimal up or down with the same number of digits. */
function beside(exponential: string, step: 1 | -1): string {
  const at = exponential.indexOf('e');
  const mantissa = exponential.slice(0, at).replace('.', '');
  const exponent = Number(exponential.slice(at + 1)) - (mantissa.length - 1);
  return Number(`${BigInt(mantissa) + BigInt(step)}e${exponent}`).toExponential(mantissa.length - 1);
}

/** Lays out `d.ddde±x` as PostgreSQL does: plain where -4 ≤ exponent < limit, else with at least two exponent digits. */
function layout(exponential: string, limit: number): string {
  const at = exponential.indexOf('e');
  const exponent = Number(exponential.slice(at + 1));
  const negative = exponential.charCodeAt(0) === 45;
  const sign = negative ? '-' : '';
  const digits = exponential.slice(negative ? 1 : 0, at).replace('.', '');
  if (exponent < -4 || exponent >= limit) {
    const mantissa = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;
    return `${sign}${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return sign + digits + '0'.repeat(exponent + 1 - digits.length);
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}

/** C's `%.<precision>g`. */
function general(value: number, precision: number): string {
  const trimmed = roundedDecimal(value, precision - 1).replace(/\.?0*e/, 'e');
  return layout(trimmed, precision);
}

const FLOAT = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

/** float4in, float8in. Throws 22P02 or 22003 with PostgreSQL's message. */
export function parseFloatText(text: string, single: boolean): number {
  const typeName = single ? 'real' : 'double precision';
  const trimmed = text.trim();
  const word = /^([+-]?)(nan|inf|infinity)$/i.exec(trimmed);
  if (word !== null) {
    if (word[2]!.toLowerCase() === 'nan') return Number.NaN;
    return word[1] === '-' ? -Infinity : Infinity;
  }
  if (!FLOAT.test(trimmed)) throw new SqlError('22P02', `invalid input syntax for type ${typeName}: "${text}"`);
  const value = single ? float4FromDecimal(trimmed) : Number(trimmed);
  const underflow = value === 0 && /[1-9]/.test(trimmed.replace(/[eE].*$/, ''));
  if (!Number.isFinite(value) || underflow) throw new SqlError('22003', `"${trimmed}" is out of range for type ${typeName}`);
  return value;
}

/** Rounds the decimal once to single precision: `Math.fround(Number(x))` rounds twice and can miss the nearest by one step. */
function float4FromDecimal(text: string): number {
  const double = Number(text);
  const single = Math.fround(double);
  if (single === double || !Number.isFinite(single)) return single;
  const other = neighbour(single, double > single);
  if (!Number.isFinite(other) || double !== (single + other) / 2) return single;
  // The double is exactly half-way; the decimal may be a little beside it.
  const side = compareDecimal(text, double);
  if (side === 0) return single;
  return side > 0 ? Math.max(single, other) : Math.min(single, other);
}

const bits = new DataView(new ArrayBuffer(4));

function neighbour(single: number, up: boolean): number {
  bits.setFloat32(0, single);
  const raw = bits.getInt32(0);
  if (single === 0) bits.setInt32(0, up ? 1 : 0x80000001 | 0);
  else bits.setInt32(0, raw + (single > 0 === up ? 1 : -1));
  return bits.getFloat32(0);
}

/** Sign of (decimal text - double), exactly. */
function compareDecimal(text: string, double: number): number {
  const [a, scaleA] = decimalParts(text);
  const [b, scaleB] = decimalParts(double.toFixed(0).includes('e') ? BigInt(double).toString() : exactDecimal(double));
  const scale = Math.max(scaleA, scaleB);
  const left = a * 10n ** BigInt(scale - scaleA);
  const right = b * 10n ** BigInt(scale - scaleB);
  return left === right ? 0 : left > right ? 1 : -1;
}

/** Every digit of a double: mantissa times a power of two, written as a decimal. */
function exactDecimal(double: number): string {
  let exponent = 0;
  let mantissa = double;
  while (!Number.isInteger(mantissa)) {
    mantissa *= 2;
    exponent++;
  }
  return `${BigInt(mantissa) * 5n ** BigInt(exponent)}e-${exponent}`;
}

/** Integer and decimal scale of a decimal text: value = integer / 10^scale; a scale below zero is folded in. */
function decimalParts(text: string): [bigint, number] {
  const match = /^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(text)!;
  const integer = BigInt(`${match[2]}${match[3]}` || '0') * (match[1] === '-' ? -1n : 1n);
  const scale = match[3]!.length - Number(match[4] ?? 0);
  return scale >= 0 ? [integer, scale] : [integer * 10n ** BigInt(-scale), 0];
}
