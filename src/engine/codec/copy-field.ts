/**
 * Checks the bytes of one field of COPY input against the strict canonical form of its type, and writes them as a field of
 * canonical CSV. What is not provably canonical is "odd": PostgreSQL itself (the front) then reads it.
 */

import { internalError } from '../../core/errors.js';
import { Oid, type Storage, storageOf } from '../../model/storage.js';
import type { ColumnDef } from '../../model/table.js';
import { daysInMonth } from './datetime.js';
import { hashBytes, hashInt, hashInt8, hashText, isHashable } from './hash.js';
import { CANONICAL_OUTPUT, heapFromText, textFromHeap } from './heap.js';
import { isCanonicalJsonb } from './jsonb.js';

/** A growing buffer that fields are written into; `used` can be set back. */
export class ByteSink {
  bytes: Buffer;
  used = 0;

  constructor(capacity = 64 * 1024) {
    this.bytes = Buffer.allocUnsafeSlow(capacity);
  }

  reserve(count: number): void {
    const needed = this.used + count;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.used);
    this.bytes = grown;
  }

  copy(src: Buffer, start: number, end: number): void {
    const count = end - start;
    this.reserve(count);
    if (count > 48) src.copy(this.bytes, this.used, start, end);
    else {
      const { bytes, used } = this;
      for (let i = 0; i < count; i++) bytes[used + i] = src[start + i]!;
    }
    this.used += count;
  }

  ascii(text: string): void {
    this.reserve(text.length);
    for (let i = 0; i < text.length; i++) this.bytes[this.used++] = text.charCodeAt(i);
  }
}

/** Writes `src[start, end)` as a canonical field; false: odd. What it wrote before is of no account then. */
export type FieldWriter = (src: Buffer, start: number, end: number, out: ByteSink) => boolean;
/** The hash of a field that its writer has accepted. */
export type FieldHash = (src: Buffer, start: number, end: number) => number;

const never: FieldWriter = () => false;

export function fieldWriter(column: ColumnDef): FieldWriter {
  const { typeOid, typmod } = column;
  if (column.typtype !== undefined && column.typtype !== 'b') return never;
  const storage = storageOf(typeOid, typmod);
  switch (storage.class) {
    case 'int':
      return integerWriter(typeOid);
    case 'bool':
      return writeBool;
    case 'float':
      return writeFloat;
    case 'decimal':
      return decimalWriter(storage);
    case 'numeric':
      return storage.duckdb.startsWith('DECIMAL') || storage.precision === undefined ? decimalWriter(storage) : never;
    case 'text':
      return textWriter(typeOid === Oid.varchar && typmod >= 4 ? typmod - 4 : -1, typeOid === Oid.name ? 63 : -1);
    case 'bpchar':
      return bpcharWriter(typmod >= 4 ? typmod - 4 : -1);
    case 'bytea':
      return writeBytea;
    case 'date':
      return (src, start, end, out) => isDate(src, start, end) && copied(src, start, end, out);
    case 'time':
      return (src, start, end, out) => isTime(src, start, end, typmod) && copied(src, start, end, out);
    case 'timestamp':
      return timestampWriter(typmod);
    case 'timestamptz':
      return timestamptzWriter(typmod);
    case 'uuid':
      return writeUuid;
    case 'opaque':
      if (typeOid === Oid.jsonb)
        return (src, start, end, out) => isCanonicalJsonb(src, start, end) && writeQuotable(src, start, end, out);
      return never;
  }
}

function copied(src: Buffer, start: number, end: number, out: ByteSink): boolean {
  out.copy(src, start, end);
  return true;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** End of the digits that begin at `at`. */
function digitsEnd(src: Buffer, at: number, end: number): number {
  let i = at;
  while (i < end && src[i]! >= 0x30 && src[i]! <= 0x39) i++;
  return i;
}

// Numbers ----------------------------------------------------------------------------------------------------------------

const INT_LIMITS = new Map<number, { min: number; max: number }>([
  [Oid.int2, { min: -32768, max: 32767 }],
  [Oid.int4, { min: -2147483648, max: 2147483647 }],
  [Oid.oid, { min: 0, max: 4294967295 }],
]);

function integerWriter(typeOid: number): FieldWriter {
  const limits = INT_LIMITS.get(typeOid);
  if (limits === undefined) return (src, start, end, out) => isInt8(src, start, end) && copied(src, start, end, out);
  const { min, max } = limits;
  return (src, start, end, out) => {
    if (end - start > 11 || !isPlainInteger(src, start, end)) return false;
    const value = integerAt(src, start, end);
    return value >= min && value <= max && copied(src, start, end, out);
  };
}

/** `0` or `-?[1-9][0-9]*`. */
function isPlainInteger(src: Buffer, start: number, end: number): boolean {
  const first = src[start] === 0x2d ? start + 1 : start;
  if (first >= end || digitsEnd(src, first, end) !== end) return false;
  return src[first] !== 0x30 || (end === first + 1 && first === start);
}

/** Value of a plain integer of at most 15 digits. */
function integerAt(src: Buffer, start: number, end: number): number {
  const negative = src[start] === 0x2d;
  let value = 0;
  for (let i = negative ? start + 1 : start; i < end; i++) value = value * 10 + (src[i]! - 0x30);
  return negative ? -value : value;
}

const INT8_MAX = Buffer.from('9223372036854775807');
const INT8_MIN = Buffer.from('9223372036854775808');

/** A plain integer within 64 bits. */
export function isInt8(src: Buffer, start: number, end: number): boolean {
  if (!isPlainInteger(src, start, end)) return false;
  const negative = src[start] === 0x2d;
  const first = negative ? start + 1 : start;
  if (end - first < 19) return true;
  return end - first === 19 && src.compare(negative ? INT8_MIN : INT8_MAX, 0, 19, first, end) <= 0;
}

/** Digits and exponent so few that neither float4 nor float8 overflows or underflows. */
const FLOAT_DIGITS = 25;

const writeFloat: FieldWriter = (src, start, end, out) => {
  let at = src[start] === 0x2d ? start + 1 : start;
  if (at < end && !isDigit(src[at])) return isFloatWord(src, start, end) && copied(src, start, end, out);
  const whole = digitsEnd(src, at, end);
  if (whole === at || end - start > FLOAT_DIGITS) return false;
  at = whole;
  if (at < end && src[at] === 0x2e) {
    const fraction = digitsEnd(src, at + 1, end);
    if (fraction === at + 1) return false;
    at = fraction;
  }
  if (at < end && (src[at] === 0x65 || src[at] === 0x45)) {
    at++;
    if (src[at] === 0x2b || src[at] === 0x2d) at++;
    if (at < end && src[at] === 0x30) at++;
    if (end - at !== 1 || !isDigit(src[at])) return false;
    at = end;
  }
  return at === end && copied(src, start, end, out);
};

function isFloatWord(src: Buffer, start: number, end: number): boolean {
  const word = src.toString('latin1', start, Math.min(end, start + 12));
  return word === 'NaN' || word === 'Infinity' || word === '-Infinity';
}

const MAX_NUMERIC_BYTES = 1000;

/** numeric(p,s): digits that fit, filled up with zeros to the scale. Without typmod: any plain number, as it is. */
function decimalWriter({ precision, scale }: Storage): FieldWriter {
  return (src, start, end, out) => {
    const negative = src[start] === 0x2d;
    const first = negative ? start + 1 : start;
    const point = digitsEnd(src, first, end);
    if (point === first || end - start > MAX_NUMERIC_BYTES) return false;
    if (src[first] === 0x30 && point > first + 1) return false;
    let fraction = 0;
    if (point < end) {
      if (src[point] !== 0x2e || digitsEnd(src, point + 1, end) !== end) return false;
      fraction = end - point - 1;
      if (fraction === 0) return false;
    }
    if (negative && !hasNonZero(src, first, end)) return false;
    if (precision !== undefined && scale !== undefined) {
      const wholeDigits = src[first] === 0x30 ? 0 : point - first;
      if (wholeDigits > precision - scale || fraction > scale) return false;
    }
    out.copy(src, start, end);
    if (scale !== undefined && fraction < scale) {
      if (fraction === 0) out.ascii('.');
      for (let i = fraction; i < scale; i++) out.ascii('0');
    }
    return true;
  };
}

function hasNonZero(src: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (src[i]! > 0x30) return true;
  return false;
}

// Text -------------------------------------------------------------------------------------------------------------------

const writeBool: FieldWriter = (src, start, end, out) => {
  const first = src[start];
  if (end - start !== 1) {
    const word = end - start <= 5 ? src.toString('latin1', start, end) : '';
    if (word !== 'true' && word !== 'false') return false;
  } else if (first !== 0x74 && first !== 0x66) return false;
  return copied(src, start, start + 1, out);
};

/** Bytes after which a field must stand in quotes: `,` `"` newline, carriage return. 2: NUL, which no text holds. */
const SPECIAL = new Uint8Array(256);
SPECIAL[0x2c] = SPECIAL[0x22] = SPECIAL[0x0a] = SPECIAL[0x0d] = 1;
SPECIAL[0] = 2;

/** Any text without NUL, quoted where it must be. The block is known to be UTF-8. */
function writeQuotable(src: Buffer, start: number, end: number, out: ByteSink): boolean {
  let quote = start === end || (end - start === 2 && src[start] === 0x5c && src[start + 1] === 0x2e);
  for (let i = start; i < end; i++) {
    const special = SPECIAL[src[i]!]!;
    if (special === 0) continue;
    if (special === 2) return false;
    quote = true;
  }
  if (!quote) return copied(src, start, end, out);
  out.reserve(2 * (end - start) + 2);
  const { bytes } = out;
  let at = out.used;
  bytes[at++] = 0x22;
  for (let i = start; i < end; i++) {
    const byte = src[i]!;
    bytes[at++] = byte;
    if (byte === 0x22) bytes[at++] = byte;
  }
  bytes[at++] = 0x22;
  out.used = at;
  return true;
}

/** Characters of UTF-8 text: bytes that do not continue one. */
function characters(src: Buffer, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) if ((src[i]! & 0xc0) !== 0x80) count++;
  return count;
}

/** @param maxCharacters -1: no limit. */
function textWriter(maxCharacters: number, maxBytes: number): FieldWriter {
  if (maxBytes >= 0) return (src, start, end, out) => end - start <= maxBytes && writeQuotable(src, start, end, out);
  if (maxCharacters < 0) return writeQuotable;
  return (src, start, end, out) => {
    if (end - start > maxCharacters && characters(src, start, end) > maxCharacters) return false;
    return writeQuotable(src, start, end, out);
  };
}

function trimmedEnd(src: Buffer, start: number, end: number): number {
  let i = end;
  while (i > start && src[i - 1] === 0x20) i--;
  return i;
}

function bpcharWriter(maxCharacters: number): FieldWriter {
  return (src, start, end, out) => {
    const trimmed = trimmedEnd(src, start, end);
    if (maxCharacters >= 0 && trimmed - start > maxCharacters && characters(src, start, trimmed) > maxCharacters) return false;
    return writeQuotable(src, start, trimmed, out);
  };
}

function isLowerHex(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66);
}

const writeBytea: FieldWriter = (src, start, end, out) => {
  if ((end - start) % 2 !== 0 || src[start] !== 0x5c || src[start + 1] !== 0x78) return false;
  for (let i = start + 2; i < end; i++) if (!isLowerHex(src[i]!)) return false;
  return copied(src, start, end, out);
};

const writeUuid: FieldWriter = (src, start, end, out) => {
  if (end - start !== 36) return false;
  for (let i = 0; i < 36; i++) {
    const byte = src[start + i]!;
    if (i === 8 || i === 13 || i === 18 || i === 23 ? byte !== 0x2d : !isLowerHex(byte)) return false;
  }
  return copied(src, start, end, out);
};

// Dates and times --------------------------------------------------------------------------------------------------------

function pair(src: Buffer, at: number): number {
  const high = src[at]! - 0x30;
  const low = src[at + 1]! - 0x30;
  return high >= 0 && high <= 9 && low >= 0 && low <= 9 ? high * 10 + low : -1;
}

/** `YYYY-MM-DD` of the years 1 to 9999. */
function isDate(src: Buffer, start: number, end: number): boolean {
  if (end - start !== 10 || src[start + 4] !== 0x2d || src[start + 7] !== 0x2d) return false;
  const century = pair(src, start);
  const rest = pair(src, start + 2);
  const month = pair(src, start + 5);
  const day = pair(src, start + 8);
  if (century < 0 || rest < 0) return false;
  const year = century * 100 + rest;
  return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= daysInMonth(year, month);
}

/** `HH:MM:SS[.ffffff]` up to 23:59:59.999999; a fraction not finer than the type's precision. */
function isTime(src: Buffer, start: number, end: number, precision: number): boolean {
  if (end - start < 8 || src[start + 2] !== 0x3a || src[start + 5] !== 0x3a) return false;
  const hour = pair(src, start);
  const minute = pair(src, start + 3);
  const second = pair(src, start + 6);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return false;
  if (end === start + 8) return true;
  const digits = end - start - 9;
  return (
    src[start + 8] === 0x2e && digits >= 1 && digits <= (precision >= 0 ? precision : 6) && digitsEnd(src, start + 9, end) === end
  );
}

/** `YYYY-MM-DD HH:MM:SS[.ffffff]`, or with `T` between them; the precision as in `isTime`. */
export function isTimestamp(src: Buffer, start: number, end: number, precision: number): boolean {
  const separator = src[start + 10];
  if (end - start < 19 || (separator !== 0x20 && separator !== 0x54)) return false;
  return isDate(src, start, start + 10) && isTime(src, start + 11, end, precision);
}

function writeTimestamp(src: Buffer, start: number, end: number, out: ByteSink): void {
  const at = out.used;
  out.copy(src, start, end);
  out.bytes[at + 10] = 0x20;
}

function timestampWriter(precision: number): FieldWriter {
  return (src, start, end, out) => {
    if (!isTimestamp(src, start, end, precision)) return false;
    writeTimestamp(src, start, end, out);
    return true;
  };
}

/** With `+00`, `Z` or another offset of whole hours and minutes; written in UTC. Without an offset: odd, the zone is the session's. */
function timestamptzWriter(precision: number): FieldWriter {
  return (src, start, end, out) => {
    if (end - start < 20) return false;
    if (src[end - 1] === 0x5a || (src[end - 3] === 0x2b && src[end - 2] === 0x30 && src[end - 1] === 0x30)) {
      const zone = src[end - 1] === 0x5a ? end - 1 : end - 3;
      if (!isTimestamp(src, start, zone, precision)) return false;
      writeTimestamp(src, start, zone, out);
      out.ascii('+00');
      return true;
    }
    const zone = offsetStart(src, end);
    if (zone < 0 || !isTimestamp(src, start, zone, precision)) return false;
    const value = heapFromText(Oid.timestamptz, precision, src.toString('latin1', start, end));
    const text = textFromHeap(Oid.timestamptz, precision, value, CANONICAL_OUTPUT);
    // The first hours of year 1 may lie in 1 BC.
    if (text.endsWith('BC')) return false;
    out.ascii(text);
    return true;
  };
}

/** Where `±HH` or `±HH:MM` at the end begins; -1 without. */
function offsetStart(src: Buffer, end: number): number {
  const isSign = (byte: number | undefined) => byte === 0x2b || byte === 0x2d;
  if (isSign(src[end - 3]) && pair(src, end - 2) >= 0 && pair(src, end - 2) <= 15) return end - 3;
  if (!isSign(src[end - 6]) || src[end - 3] !== 0x3a) return -1;
  const hours = pair(src, end - 5);
  const minutes = pair(src, end - 2);
  return hours >= 0 && hours <= 15 && minutes >= 0 && minutes <= 59 ? end - 6 : -1;
}

// Hashes -----------------------------------------------------------------------------------------------------------------

const uuidBytes = Buffer.alloc(16);

/** The hash of a canonical field of a type, from its bytes. */
export function fieldHash(typeOid: number): FieldHash {
  switch (typeOid) {
    case Oid.int2:
    case Oid.int4:
    case Oid.oid:
      return (src, start, end) => hashInt(integerAt(src, start, end) | 0);
    case Oid.int8:
      return (src, start, end) =>
        hashInt8(end - start <= 15 ? integerAt(src, start, end) : BigInt(src.toString('latin1', start, end)));
    case Oid.text:
    case Oid.varchar:
    case Oid.name:
      return hashBytes;
    case Oid.bpchar:
      return (src, start, end) => hashBytes(src, start, trimmedEnd(src, start, end));
    case Oid.uuid:
      return (src, start, end) => {
        uuidBytes.write(src.toString('latin1', start, end).replaceAll('-', ''), 'hex');
        return hashBytes(uuidBytes, 0, 16);
      };
    default:
      if (!isHashable(typeOid)) throw internalError(`type with OID ${typeOid} has no hash`);
      return (src, start, end) => hashText(typeOid, src.toString('utf8', start, end));
  }
}
