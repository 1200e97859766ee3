/**
 * PostgreSQL's hash functions (access/hash/hashfunc.c, common/hashfn.c), bit for bit: Bob Jenkins' lookup3 with
 * PostgreSQL's initial value. They decide in which shard a row lies, so they must never change.
 */
import { notSupported, SqlError } from '../../core/errors.js';
import { Oid } from '../../model/storage.js';
import { heapFromText } from './heap.js';

const INITIAL = (0x9e3779b9 + 3923095) | 0;

/** `hash_bytes_uint32`: hashint2, hashint4, hashoid, hashdate, hashbool. Takes and gives a signed 32-bit integer. */
export function hashInt(value: number): number {
  const start = (INITIAL + 4) | 0;
  let a = (start + value) | 0;
  let b = start;
  let c = start;
  c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0;
  a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0;
  b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0;
  c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
  a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
  b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
  return ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
}

/** `hashint8` from the two's complement halves: equal to hashint4 where the value fits 32 bits. */
export function hashInt64(low: number, high: number): number {
  return hashInt(low ^ (high >= 0 ? high : ~high));
}

/** `hashint8` of a JavaScript integer. */
export function hashInt8(value: number | bigint): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) {
    return hashInt64(value | 0, Math.floor(value / 4294967296));
  }
  const big = BigInt.asIntN(64, BigInt(value));
  return hashInt64(Number(BigInt.asIntN(32, big)), Number(big >> 32n));
}

/** `hash_bytes` of `bytes[start, end)`: hashtext, hashvarlena, uuid_hash. */
export function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let a = (INITIAL + (end - start)) | 0;
  let b = a;
  let c = a;
  let i = start;
  for (; end - i >= 12; i += 12) {
    a = (a + wordAt(bytes, i)) | 0;
    b = (b + wordAt(bytes, i + 4)) | 0;
    c = (c + wordAt(bytes, i + 8)) | 0;
    a = ((a - c) ^ ((c << 4) | (c >>> 28))) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ ((a << 6) | (a >>> 26))) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ ((b << 8) | (b >>> 24))) | 0;
    b = (b + a) | 0;
    a = ((a - c) ^ ((c << 16) | (c >>> 16))) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ ((a << 19) | (a >>> 13))) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ ((b << 4) | (b >>> 28))) | 0;
    b = (b + a) | 0;
  }
  // The rest, at most 11 bytes; the lowest byte of c is left to the length.
  const left = end - i;
  for (let k = 0; k < left; k++) {
    const byte = bytes[i + k]!;
    if (k < 4) a = (a + (byte << (8 * k))) | 0;
    else if (k < 8) b = (b + (byte << (8 * (k - 4)))) | 0;
    else c = (c + (byte << (8 * (k - 7)))) | 0;
  }
  c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0;
  a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0;
  b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0;
  c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
  a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
  b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
  return ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
}

function wordAt(bytes: Uint8Array, i: number): number {
  return bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
}

/** Whether a column of this type can be a distribution column. */
export function isHashable(typeOid: number): boolean {
  return HASHABLE.has(typeOid);
}

const HASHABLE = new Set<number>([
  Oid.bool,
  Oid.int2,
  Oid.int4,
  Oid.int8,
  Oid.oid,
  Oid.float4,
  Oid.float8,
  Oid.numeric,
  Oid.text,
  Oid.varchar,
  Oid.name,
  Oid.bpchar,
  Oid.bytea,
  Oid.date,
  Oid.time,
  Oid.timestamp,
  Oid.timestamptz,
  Oid.uuid,
]);

/**
 * The hash of a value given as PostgreSQL text, as its type's default hash operator class computes it: a signed 32-bit integer.
 * @param timeZone for a timestamptz text without offset.
 */
export function hashText(typeOid: number, text: string, timeZone?: string): number {
  switch (typeOid) {
    case Oid.text:
    case Oid.varchar:
      return hashString(text);
    case Oid.bool:
    case Oid.int2:
    case Oid.int4:
    case Oid.oid:
    case Oid.date:
      return hashInt(Number(heapFromText(typeOid, -1, text)) | 0);
    case Oid.int8:
    case Oid.time:
    case Oid.timestamp:
    case Oid.timestamptz:
      return hashInt8(heapFromText(typeOid, -1, text, timeZone) as number | bigint);
    case Oid.name:
    case Oid.bpchar:
      return hashString(heapFromText(typeOid, -1, text) as string);
    case Oid.bytea: {
      const bytes = heapFromText(typeOid, -1, text) as Buffer;
      return hashBytes(bytes, 0, bytes.length);
    }
    case Oid.uuid: {
      const bytes = Buffer.from((heapFromText(typeOid, -1, text) as string).replaceAll('-', ''), 'hex');
      return hashBytes(bytes, 0, 16);
    }
    case Oid.float4:
    case Oid.float8:
      return hashFloat(Number(heapFromText(typeOid, -1, text)));
    case Oid.numeric:
      return hashNumeric(heapFromText(typeOid, -1, text) as string);
    default:
      throw notSupported(
        `values of type with OID ${typeOid} cannot be distributed`,
        'Choose a distribution column of an integer, text, uuid, date or timestamp type.',
      );
  }
}

function hashString(text: string): number {
  const bytes = Buffer.from(text, 'utf8');
  return hashBytes(bytes, 0, bytes.length);
}

const floatBytes = Buffer.alloc(8);

/** `hashfloat8`; float4 values are widened first, so that the types can be joined. */
function hashFloat(value: number): number {
  if (value === 0) return 0;
  floatBytes.writeDoubleLE(value);
  if (Number.isNaN(value)) floatBytes.writeBigUInt64LE(0x7ff8000000000000n);
  return hashBytes(floatBytes, 0, 8);
}

/** `hash_numeric`: the base-10000 digits without zeros at either end, then the weight of the first. */
function hashNumeric(text: string): number {
  if (text === 'NaN' || text.endsWith('Infinity')) return 0;
  const match = /^-?(\d+)(?:\.(\d+))?$/.exec(text);
  if (match === null) throw new SqlError('22P02', `invalid input syntax for type numeric: "${text}"`);
  const whole = match[1]!.padStart(Math.ceil(match[1]!.length / 4) * 4, '0');
  const fraction = match[2] ?? '';
  const digits = whole + fraction.padEnd(Math.ceil(fraction.length / 4) * 4, '0');
  const groups: number[] = [];
  for (let i = 0; i < digits.length; i += 4) groups.push(Number(digits.slice(i, i + 4)));
  let weight = whole.length / 4 - 1;
  let first = 0;
  while (first < groups.length && groups[first] === 0) {
    first++;
    weight--;
  }
  if (first === groups.length) return -1;
  let last = groups.length;
  while (groups[last - 1] === 0) last--;
  const bytes = Buffer.alloc((last - first) * 2);
  for (let i = first; i < last; i++) bytes.writeInt16LE(groups[i]!, (i - first) * 2);
  return hashBytes(bytes, 0, bytes.length) ^ weight;
}
