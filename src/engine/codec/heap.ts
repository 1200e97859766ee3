/** Heap values (model/storage.ts) from PostgreSQL's input text, and PostgreSQL's output text from heap values. */
import { internalError, notSupported, SqlError } from '../../core/errors.js';
import { type HeapValue, numericTypmod, Oid, type Storage, storageOf } from '../../model/storage.js';
import type { OutputSettings } from '../../model/task.js';
import {
  dateText,
  parseDate,
  parseTime,
  parseTimestamp,
  parseTimestamptz,
  timestampText,
  timestamptzText,
  timeText,
} from './datetime.js';
import { float4Text, float8Text, parseFloatText } from './float.js';
import { parseNumeric, roundNumeric, scaledText } from './numeric.js';

/** PostgreSQL's own defaults, and UTC: what canonical text is written with. */
export const CANONICAL_OUTPUT: OutputSettings = {
  timeZone: 'UTC',
  dateStyle: 'ISO, MDY',
  intervalStyle: 'postgres',
  extraFloatDigits: 1,
  byteaOutput: 'hex',
};

/**
 * @param text canonical, or any PostgreSQL input text that does not depend on settings.
 * @param timeZone for a timestamptz text without offset; such a text is refused where it is absent.
 * @throws SqlError 22P02, 22003, 22007, 22008, 22001, … with PostgreSQL's message.
 */
export function heapFromText(typeOid: number, typmod: number, text: string, timeZone?: string): HeapValue {
  const storage = storageOf(typeOid, typmod);
  switch (storage.class) {
    case 'int':
      return parseInteger(typeOid, text);
    case 'bool':
      return parseBool(text) ? 1 : 0;
    case 'float': {
      const value = parseFloatText(text, typeOid === Oid.float4);
      return Number.isNaN(value) ? 'NaN' : value;
    }
    case 'decimal':
      return parseDecimal(text, storage);
    case 'numeric':
      return parseBigNumeric(text, typmod);
    case 'text':
      return parseText(typeOid, typmod, text);
    case 'bpchar':
      return parseBpchar(typmod, text);
    case 'bytea':
      return parseBytea(text);
    case 'date':
      return parseDate(text);
    case 'time':
      return parseTime(text, typmod);
    case 'timestamp':
      return parseTimestamp(text, typmod);
    case 'timestamptz':
      return parseTimestamptz(text, typmod, timeZone);
    case 'uuid':
      return parseUuid(text);
    case 'opaque':
      return withoutNul(text);
  }
}

/** Name, bounds of the integer types. */
const INTEGERS = new Map<number, { name: string; min: bigint; max: bigint }>([
  [Oid.int2, { name: 'smallint', min: -32768n, max: 32767n }],
  [Oid.int4, { name: 'integer', min: -2147483648n, max: 2147483647n }],
  [Oid.int8, { name: 'bigint', min: -9223372036854775808n, max: 9223372036854775807n }],
  // oidin takes a negative number as its two's complement.
  [Oid.oid, { name: 'oid', min: -2147483648n, max: 4294967295n }],
]);

const INTEGER = /^[ \t\n\v\f\r]*([+-]?)(0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|\d(?:_?\d)*)[ \t\n\v\f\r]*$/;

/** The number of a text of one to nine digits, without sign or leading zero; -1: another text. */
export function plainInteger(text: string): number {
  const { length } = text;
  if (length === 0 || length > 9) return -1;
  let value = 0;
  for (let i = 0; i < length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return length > 1 && text.charCodeAt(0) === 48 ? -1 : value;
}

function parseInteger(typeOid: number, text: string): number | bigint {
  const plain = plainInteger(text);
  if (plain >= 0 && (typeOid === Oid.int8 || typeOid === Oid.int4 || plain <= 32767)) return plain;
  const type = INTEGERS.get(typeOid);
  if (type === undefined) throw internalError(`no integer type has OID ${typeOid}`);
  const match = INTEGER.exec(text);
  if (match === null) throw new SqlError('22P02', `invalid input syntax for type ${type.name}: "${text}"`);
  const digits = match[2]!.replaceAll('_', '');
  const size = digits.length <= 15 ? Number(digits) : BigInt(digits);
  const value = match[1] === '-' ? -size : size;
  if (value < type.min || value > type.max) throw new SqlError('22003', `value "${text}" is out of range for type ${type.name}`);
  if (typeOid === Oid.oid) return Number(value) >>> 0;
  return narrow(value);
}

/** A number where it is exact, else a bigint. Zero is never -0. */
function narrow(value: number | bigint): number | bigint {
  if (typeof value === 'number') return value + 0;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function parseBool(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (word.length > 0) {
    if ('true'.startsWith(word) || 'yes'.startsWith(word) || word === 'on' || word === '1') return true;
    if ('false'.startsWith(word) || 'no'.startsWith(word) || word === 'off' || word === 'of' || word === '0') return false;
  }
  throw new SqlError('22P02', `invalid input syntax for type boolean: "${text}"`);
}

function parseDecimal(text: string, storage: Storage): number | bigint {
  const { precision, scale } = { precision: storage.precision!, scale: storage.scale! };
  const parsed = parseNumeric(text);
  if (parsed.kind === 'finite') return narrow(roundNumeric(parsed, precision, scale).digits);
  if (parsed.text !== 'NaN') throw fieldOverflow(precision, scale, true);
  throw notSupported(
    'NaN cannot be stored in a numeric column with precision and scale',
    'Use numeric without precision, or double precision.',
  );
}

function fieldOverflow(precision: number, scale: number, infinite: boolean): SqlError {
  const detail = infinite
    ? `A field with precision ${precision}, scale ${scale} cannot hold an infinite value.`
    : `A field with precision ${precision}, scale ${scale} must round to an absolute value less than 10^${precision - scale}.`;
  return new SqlError('22003', 'numeric field overflow', { detail });
}

function parseBigNumeric(text: string, typmod: number): string {
  const parsed = parseNumeric(text);
  const declared = numericTypmod(typmod);
  if (parsed.kind === 'special') {
    if (declared !== undefined && parsed.text !== 'NaN') throw fieldOverflow(declared.precision, declared.scale, true);
    return parsed.text;
  }
  if (declared === undefined) return scaledText(parsed.digits, parsed.scale);
  const rounded = roundNumeric(parsed, declared.precision, declared.scale);
  return scaledText(rounded.digits, rounded.scale);
}

function withoutNul(text: string): string {
  if (text.includes('\0')) throw new SqlError('22021', 'invalid byte sequence for encoding "UTF8": 0x00');
  return text;
}

const NAME_BYTES = 63;

function parseText(typeOid: number, typmod: number, text: string): string {
  withoutNul(text);
  if (typeOid === Oid.varchar && typmod >= 4) return limitLength(text, typmod - 4, 'character varying');
  if (typeOid === Oid.name && Buffer.byteLength(text) > NAME_BYTES) return clipBytes(text, NAME_BYTES);
  return text;
}

/** Cuts at a character border, as PostgreSQL cuts names. */
function clipBytes(text: string, limit: number): string {
  const bytes = Buffer.from(text, 'utf8');
  let end = limit;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

function parseBpchar(typmod: number, text: string): string {
  withoutNul(text);
  const limited = typmod >= 4 ? limitLength(text, typmod - 4, 'character') : text;
  return trimBlanks(limited);
}

/** char(n) as it is stored: without blanks at its end. Only the blank counts, no other white space. */
export function trimBlanks(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 32) end--;
  return end === text.length ? text : text.slice(0, end);
}

/** At most `limit` characters; more are cut where they are all blanks, else 22001. */
function limitLength(text: string, limit: number, typeName: string): string {
  if (text.length <= limit) return text;
  let end = 0;
  for (let characters = 0; characters < limit && end < text.length; characters++) end += text.codePointAt(end)! > 0xffff ? 2 : 1;
  if (end >= text.length) return text;
  if (trimBlanks(text.slice(end)) !== '') throw new SqlError('22001', `value too long for type ${typeName}(${limit})`);
  return text.slice(0, end);
}

/** Characters (code points) of a text. */
export function characterCount(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit <= 0xdbff) count--;
  }
  return count;
}

/** char(n) as it is sent: padded with blanks to `typmod - 4` characters. */
export function padBpchar(text: string, typmod: number): string {
  if (typmod < 4) return text;
  const missing = typmod - 4 - characterCount(text);
  return missing > 0 ? text + ' '.repeat(missing) : text;
}

function parseBytea(text: string): Buffer {
  if (text.startsWith('\\x')) return parseHexBytea(text);
  const source = Buffer.from(text, 'utf8');
  const bytes: number[] = [];
  for (let i = 0; i < source.length; i++) {
    if (source[i] !== 0x5c) bytes.push(source[i]!);
    else if (source[i + 1] === 0x5c) bytes.push(source[++i]!);
    else {
      const octal = /^[0-3][0-7][0-7]$/.exec(source.toString('latin1', i + 1, i + 4));
      if (octal === null) throw new SqlError('22P02', 'invalid input syntax for type bytea');
      bytes.push(Number.parseInt(octal[0], 8));
      i += 3;
    }
  }
  return Buffer.from(bytes);
}

function parseHexBytea(text: string): Buffer {
  const plain = text.slice(2).replace(/([0-9a-fA-F]{2})[ \n\t\r]+|^[ \n\t\r]+/g, '$1');
  const bad = /[^0-9a-fA-F]/u.exec(plain);
  if (bad !== null) throw new SqlError('22023', `invalid hexadecimal digit: "${bad[0]}"`);
  if (plain.length % 2 !== 0) throw new SqlError('22023', 'invalid hexadecimal data: odd number of digits');
  return Buffer.from(plain, 'hex');
}

const UUID_PLAIN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** As uuid_in: braces around, a hyphen allowed after each group of four digits. */
const UUID_ANY = /^(\{)?([0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}(\})?$/;

function parseUuid(text: string): string {
  if (UUID_PLAIN.test(text)) return text;
  const match = UUID_ANY.exec(text);
  if (match === null || (match[1] === undefined) !== (match[3] === undefined)) {
    throw new SqlError('22P02', `invalid input syntax for type uuid: "${text}"`);
  }
  return hyphenated(text.replace(/[{}-]/g, '').toLowerCase());
}

/** Canonical uuid text of 32 lower-case hexadecimal digits. */
export function hyphenated(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Throws for settings that change output in ways not written here. */
export function checkOutputSettings(settings: OutputSettings): void {
  if (!/^iso\b/i.test(settings.dateStyle)) {
    throw notSupported(`DateStyle "${settings.dateStyle}" is not supported for this query`, "Use SET DateStyle = 'ISO'.");
  }
}

/**
 * PostgreSQL's output text of a value that is not NULL. An integer of type numeric is scaled by the declared scale (0 without typmod);
 * opaque values are stored as text.
 */
export function textFromHeap(typeOid: number, typmod: number, value: HeapValue, settings: OutputSettings): string {
  if (value === null) throw internalError('NULL has no text');
  const storage = storageOf(typeOid, typmod);
  switch (storage.class) {
    case 'bool':
      return value === 't' || value === 'true' || Number(value) === 1 ? 't' : 'f';
    case 'float':
      return typeOid === Oid.float4
        ? float4Text(Number(value), settings.extraFloatDigits)
        : float8Text(Number(value), settings.extraFloatDigits);
    case 'decimal':
    case 'numeric':
      return typeof value === 'number' || typeof value === 'bigint'
        ? scaledText(BigInt(value), Math.max(0, storage.scale ?? 0))
        : String(value);
    case 'bpchar':
      return padBpchar(String(value), typmod);
    case 'bytea':
      return byteaText(value as Buffer, settings.byteaOutput);
    case 'date':
      checkOutputSettings(settings);
      return typeof value === 'string' ? value : dateText(Number(value));
    case 'time':
      return typeof value === 'string' ? value : timeText(Number(value));
    case 'timestamp':
      checkOutputSettings(settings);
      return typeof value === 'string' ? value : timestampText(value as number | bigint);
    case 'timestamptz':
      checkOutputSettings(settings);
      return typeof value === 'string' ? value : timestamptzText(value as number | bigint, settings.timeZone);
    default:
      if (typeOid === Oid.interval && settings.intervalStyle !== 'postgres') {
        throw notSupported(
          `IntervalStyle "${settings.intervalStyle}" is not supported for this query`,
          "Use SET IntervalStyle = 'postgres'.",
        );
      }
      return String(value);
  }
}

export function byteaText(bytes: Uint8Array, form: 'hex' | 'escape'): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (form === 'hex') return `\\x${buffer.toString('hex')}`;
  let text = '';
  for (const byte of buffer) {
    if (byte === 0x5c) text += '\\\\';
    else if (byte < 0x20 || byte > 0x7e) text += `\\${byte.toString(8).padStart(3, '0')}`;
    else text += String.fromCharCode(byte);
  }
  return text;
}
