/** PostgreSQL's binary formats (each type's send and receive function), to and from its text. */
import { internalError, notSupported, SqlError } from '../../core/errors.js';
import { Oid } from '../../model/storage.js';
import { DATE_INFINITY, DATE_MINUS_INFINITY, dateText, timestampText, timestamptzText, timeText } from './datetime.js';
import { float4Text, float8Text } from './float.js';
import { byteaText, heapFromText, hyphenated } from './heap.js';
import { parseNumeric, scaledText } from './numeric.js';

const TEXT_LIKE = new Set<number>([Oid.text, Oid.varchar, Oid.bpchar, Oid.name, Oid.unknown, Oid.json, 142]);

/** Whether `textFromBinary` and `binaryFromText` know the type. */
export function hasBinaryFormat(typeOid: number): boolean {
  return (
    TEXT_LIKE.has(typeOid) || LENGTHS.has(typeOid) || typeOid === Oid.bytea || typeOid === Oid.numeric || typeOid === Oid.jsonb
  );
}

/** Types of fixed length. */
const LENGTHS = new Map<number, number>([
  [Oid.bool, 1],
  [Oid.char, 1],
  [Oid.int2, 2],
  [Oid.int4, 4],
  [Oid.int8, 8],
  [Oid.oid, 4],
  [Oid.regclass, 4],
  [Oid.float4, 4],
  [Oid.float8, 8],
  [Oid.date, 4],
  [Oid.time, 8],
  [Oid.timestamp, 8],
  [Oid.timestamptz, 8],
  [Oid.uuid, 16],
]);

function unsupported(typeOid: number): SqlError {
  return notSupported(
    `type with OID ${typeOid} is not supported in binary format`,
    'Ask for text format for this parameter or column.',
  );
}

function malformed(): SqlError {
  return new SqlError('22P03', 'incorrect binary data format');
}

/** Decodes UTF-8 strictly: 22021 for what is no UTF-8, and for NUL. */
export function strictUtf8(bytes: Uint8Array): string {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (cause) {
    throw new SqlError('22021', 'invalid byte sequence for encoding "UTF8"', { cause });
  }
  if (text.includes('\0')) throw new SqlError('22021', 'invalid byte sequence for encoding "UTF8": 0x00');
  return text;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Canonical text (UTC) of a parameter that came in binary format. */
export function textFromBinary(typeOid: number, bytes: Buffer): string {
  const length = LENGTHS.get(typeOid);
  if (length !== undefined && bytes.length !== length) throw malformed();
  switch (typeOid) {
    case Oid.bool:
      return bytes[0] === 0 ? 'f' : 't';
    case Oid.int2:
      return String(bytes.readInt16BE(0));
    case Oid.int4:
      return String(bytes.readInt32BE(0));
    case Oid.int8:
      return bytes.readBigInt64BE(0).toString();
    case Oid.oid:
    case Oid.regclass:
      return String(bytes.readUInt32BE(0));
    case Oid.float4:
      return float4Text(bytes.readFloatBE(0));
    case Oid.float8:
      return float8Text(bytes.readDoubleBE(0));
    case Oid.bytea:
      return byteaText(bytes, 'hex');
    case Oid.date:
      return dateText(bytes.readInt32BE(0));
    case Oid.time:
      return timeText(Number(bytes.readBigInt64BE(0)));
    case Oid.timestamp:
      return timestampText(bytes.readBigInt64BE(0));
    case Oid.timestamptz:
      return timestamptzText(bytes.readBigInt64BE(0), 'UTC');
    case Oid.uuid:
      return hyphenated(bytes.toString('hex'));
    case Oid.numeric:
      return numericFromBinary(bytes);
    case Oid.jsonb:
      if (bytes[0] !== 1) throw new SqlError('22P03', `unsupported jsonb version number ${bytes[0] ?? 0}`);
      return strictUtf8(bytes.subarray(1));
    default:
      if (TEXT_LIKE.has(typeOid)) return strictUtf8(bytes);
      throw unsupported(typeOid);
  }
}

/** Binary form of a result value from its canonical output text (a timestamptz with its offset). */
export function binaryFromText(typeOid: number, text: string): Buffer {
  switch (typeOid) {
    case Oid.bool:
      return Buffer.from([text.startsWith('t') ? 1 : 0]);
    case Oid.int2: {
      const bytes = Buffer.allocUnsafe(2);
      bytes.writeInt16BE(Number(text));
      return bytes;
    }
    case Oid.int4:
    case Oid.date:
      return binaryFromInt32(Number(heapFromText(typeOid, -1, text)));
    case Oid.oid: {
      const bytes = Buffer.allocUnsafe(4);
      bytes.writeUInt32BE(Number(text));
      return bytes;
    }
    case Oid.int8:
    case Oid.time:
    case Oid.timestamp:
    case Oid.timestamptz:
      return binaryFromInt64(heapFromText(typeOid, -1, text) as number | bigint);
    case Oid.float4:
    case Oid.float8:
      return binaryFromFloat(Number(heapFromText(typeOid, -1, text)), typeOid === Oid.float4);
    case Oid.bytea:
      return heapFromText(typeOid, -1, text) as Buffer;
    case Oid.uuid:
      return Buffer.from(text.replaceAll('-', ''), 'hex');
    case Oid.numeric:
      return numericToBinary(text);
    case Oid.jsonb:
      return Buffer.concat([JSONB_VERSION, Buffer.from(text, 'utf8')]);
    default:
      if (TEXT_LIKE.has(typeOid)) return Buffer.from(text, 'utf8');
      throw unsupported(typeOid);
  }
}

const JSONB_VERSION = Buffer.from([1]);

export function binaryFromInt32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value === DATE_INFINITY || value === DATE_MINUS_INFINITY ? value : value | 0);
  return bytes;
}

export function binaryFromInt64(value: number | bigint): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

export function binaryFromFloat(value: number, single: boolean): Buffer {
  const bytes = Buffer.allocUnsafe(single ? 4 : 8);
  if (single) bytes.writeFloatBE(value);
  else bytes.writeDoubleBE(value);
  return bytes;
}

const NEGATIVE = 0x4000;
const NAN = 0xc000;
const PLUS_INFINITY = 0xd000;
const MINUS_INFINITY = 0xf000;
/** What numeric_send happens to find in the header of an infinite value. */
const INFINITY_SCALE = 0x20;

/** numeric_send: int16 count of base-10000 digits, weight of the first, sign, display scale, digits. */
function numericFromBinary(bytes: Buffer): string {
  if (bytes.length < 8) throw malformed();
  const count = bytes.readUInt16BE(0);
  const weight = bytes.readInt16BE(2);
  const sign = bytes.readUInt16BE(4);
  const scale = bytes.readUInt16BE(6);
  if (bytes.length !== 8 + count * 2 || scale > 0x3fff) throw malformed();
  if (sign === NAN) return 'NaN';
  if (sign === PLUS_INFINITY) return 'Infinity';
  if (sign === MINUS_INFINITY) return '-Infinity';
  if (sign !== 0 && sign !== NEGATIVE) throw new SqlError('22P03', 'invalid sign in external "numeric" value');
  let groups = '';
  for (let i = 0; i < count; i++) {
    const digit = bytes.readUInt16BE(8 + i * 2);
    if (digit > 9999) throw new SqlError('22P03', 'invalid digit in external "numeric" value');
    groups += String(digit).padStart(4, '0');
  }
  // The text's groups end at 10^(4 * (weight - count + 1)); bring that to the display scale, as numeric_recv truncates.
  const power = 4 * (weight - count + 1) + scale;
  const integer = BigInt(groups === '' ? '0' : groups);
  const digits = power >= 0 ? integer * 10n ** BigInt(power) : integer / 10n ** BigInt(-power);
  return scaledText(sign === NEGATIVE ? -digits : digits, scale);
}

function numericToBinary(text: string): Buffer {
  const value = parseNumeric(text);
  if (value.kind === 'special') {
    if (value.text === 'NaN') return numericHeader(0, 0, NAN, 0);
    return numericHeader(0, 0, value.text === 'Infinity' ? PLUS_INFINITY : MINUS_INFINITY, INFINITY_SCALE);
  }
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  if (match === null) throw internalError(`not a numeric in canonical form: ${text}`);
  const whole = match[2]!.padStart(Math.ceil(match[2]!.length / 4) * 4, '0');
  const fraction = match[3] ?? '';
  const digits = whole + fraction.padEnd(Math.ceil(fraction.length / 4) * 4, '0');
  let first = 0;
  let last = digits.length / 4;
  const group = (i: number) => Number(digits.slice(i * 4, i * 4 + 4));
  while (first < last && group(first) === 0) first++;
  while (last > first && group(last - 1) === 0) last--;
  const count = last - first;
  const weight = count === 0 ? 0 : whole.length / 4 - 1 - first;
  const bytes = Buffer.alloc(8 + count * 2);
  numericHeader(count, weight, match[1] === '-' && count > 0 ? NEGATIVE : 0, value.scale).copy(bytes);
  for (let i = 0; i < count; i++) bytes.writeUInt16BE(group(first + i), 8 + i * 2);
  return bytes;
}

function numericHeader(count: number, weight: number, sign: number, scale: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt16BE(count, 0);
  bytes.writeInt16BE(weight, 2);
  bytes.writeUInt16BE(sign, 4);
  bytes.writeUInt16BE(scale, 6);
  return bytes;
}
