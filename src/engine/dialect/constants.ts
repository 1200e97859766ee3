/** Datums of CONST nodes: decoded from the bytes, never parsed again from the literal. */

import { Oid } from '../../model/storage.js';
import { dateText, timestampText, timestamptzText, timeText } from '../codec/datetime.js';
import { float4Text, float8Text } from '../codec/float.js';
import { hyphenated } from '../codec/heap.js';
import { scaledText } from '../codec/numeric.js';
import type { TreeNode } from '../front/tree.js';
import { decline } from './decline.js';
import { datum, flag, num } from './node.js';
import { ARRAY_ELEMENTS, typeName } from './signatures.js';

export type ConstValue =
  | { kind: 'null' }
  | { kind: 'int'; value: bigint }
  | { kind: 'bool'; value: boolean }
  | { kind: 'float'; value: number; single: boolean }
  /** `digits / 10^scale`; the scale is the display scale. */
  | { kind: 'numeric'; digits: bigint; scale: number }
  | { kind: 'special'; text: 'NaN' | 'Infinity' | '-Infinity' }
  | { kind: 'text'; value: string }
  | { kind: 'bytes'; value: Uint8Array }
  | { kind: 'date'; days: number }
  | { kind: 'time'; us: bigint }
  | { kind: 'timestamp'; us: bigint; zoned: boolean }
  | { kind: 'interval'; months: number; days: number; us: bigint }
  | { kind: 'uuid'; text: string }
  | { kind: 'array'; elementType: number; elements: ConstValue[] };

/** @throws Decline for types that are not decoded by hand. */
export function constOf(node: TreeNode): ConstValue {
  const type = num(node, 'consttype');
  if (flag(node, 'constisnull')) return { kind: 'null' };
  const bytes = datum(node, 'constvalue');
  if (bytes === null) decline(`a constant of ${typeName(type)} without a value`);
  return decode(type, bytes);
}

/** A varlena's bytes without its header, which is 4 bytes, or 1 inside arrays. */
function body(bytes: Uint8Array): Uint8Array {
  const first = bytes[0] ?? 0;
  return (first & 1) === 1 ? bytes.subarray(1, first >> 1) : bytes.subarray(4);
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return decline('a text constant that is not UTF-8');
  }
}

function decode(type: number, bytes: Uint8Array): ConstValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (type) {
    case Oid.bool:
      return { kind: 'bool', value: bytes[0] !== 0 };
    case Oid.int2:
      return { kind: 'int', value: BigInt(view.getInt16(0, true)) };
    case Oid.int4:
      return { kind: 'int', value: BigInt(view.getInt32(0, true)) };
    case Oid.int8:
      return { kind: 'int', value: view.getBigInt64(0, true) };
    case Oid.oid:
    case Oid.regclass:
      return { kind: 'int', value: BigInt(view.getUint32(0, true)) };
    case Oid.float4:
      return { kind: 'float', value: view.getFloat32(0, true), single: true };
    case Oid.float8:
      return { kind: 'float', value: view.getFloat64(0, true), single: false };
    case Oid.text:
    case Oid.varchar:
    case Oid.bpchar:
    case Oid.json:
      return { kind: 'text', value: decodeText(body(bytes)) };
    case Oid.unknown:
    case Oid.name: {
      const end = bytes.indexOf(0);
      return { kind: 'text', value: decodeText(end < 0 ? bytes : bytes.subarray(0, end)) };
    }
    case Oid.bytea:
      return { kind: 'bytes', value: body(bytes) };
    case Oid.date:
      return { kind: 'date', days: view.getInt32(0, true) };
    case Oid.time:
      return { kind: 'time', us: view.getBigInt64(0, true) };
    case Oid.timestamp:
      return { kind: 'timestamp', us: view.getBigInt64(0, true), zoned: false };
    case Oid.timestamptz:
      return { kind: 'timestamp', us: view.getBigInt64(0, true), zoned: true };
    case Oid.interval:
      return { kind: 'interval', us: view.getBigInt64(0, true), days: view.getInt32(8, true), months: view.getInt32(12, true) };
    case Oid.uuid:
      return { kind: 'uuid', text: hyphenated(Buffer.from(bytes).toString('hex')) };
    case Oid.numeric:
      return decodeNumeric(body(bytes));
    default:
      return decodeArray(type, bytes);
  }
}

/** Base-10000 digits behind one header word, or two (numeric.c, NumericShort and NumericLong). */
function decodeNumeric(bytes: Uint8Array): ConstValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = view.getUint16(0, true);
  const special = header & 0xf000;
  if (special === 0xc000) return { kind: 'special', text: 'NaN' };
  if (special === 0xd000) return { kind: 'special', text: 'Infinity' };
  if (special === 0xf000) return { kind: 'special', text: '-Infinity' };
  const short = (header & 0xc000) === 0x8000;
  const negative = short ? (header & 0x2000) !== 0 : (header & 0xc000) === 0x4000;
  const scale = short ? (header & 0x1f80) >> 7 : header & 0x3fff;
  const weight = short ? ((header & 0x7f) ^ 0x40) - 0x40 : view.getInt16(2, true);
  let digits = 0n;
  let count = 0;
  for (let at = short ? 2 : 4; at + 1 < bytes.length; at += 2, count++)
    digits = digits * 10000n + BigInt(view.getInt16(at, true));
  // The value is digits * 10000^(weight - count + 1); brought to 10^-scale.
  const power = 4 * (weight - count + 1) + scale;
  digits = power >= 0 ? digits * 10n ** BigInt(power) : digits / 10n ** BigInt(-power);
  return { kind: 'numeric', digits: negative ? -digits : digits, scale };
}

/** Bytes of fixed-size elements, and their alignment; 0: a varlena. */
const ELEMENT_SIZE: Readonly<Record<number, [size: number, align: number]>> = {
  [Oid.bool]: [1, 1],
  [Oid.int2]: [2, 2],
  [Oid.int4]: [4, 4],
  [Oid.int8]: [8, 8],
  [Oid.float8]: [8, 8],
  [Oid.date]: [4, 4],
  [Oid.timestamp]: [8, 8],
  [Oid.timestamptz]: [8, 8],
  [Oid.uuid]: [16, 1],
};

function decodeArray(type: number, bytes: Uint8Array): ConstValue {
  const elementType = ARRAY_ELEMENTS[type];
  if (elementType === undefined) decline(`a constant of ${typeName(type)}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const dimensions = view.getInt32(4, true);
  if (dimensions === 0) return { kind: 'array', elementType, elements: [] };
  if (dimensions !== 1 || view.getInt32(20, true) !== 1) decline('an array that is not one-dimensional from 1');
  const dataOffset = view.getInt32(8, true);
  const length = view.getInt32(16, true);
  let at = dataOffset === 0 ? 24 : dataOffset;
  const elements: ConstValue[] = [];
  for (let i = 0; i < length; i++) {
    if (dataOffset !== 0 && (((bytes[24 + (i >> 3)] as number) >> (i & 7)) & 1) === 0) {
      elements.push({ kind: 'null' });
      continue;
    }
    const [from, to] = elementRange(elementType, bytes, view, at);
    elements.push(decode(elementType, bytes.subarray(from, to)));
    at = to;
  }
  return { kind: 'array', elementType, elements };
}

function elementRange(elementType: number, bytes: Uint8Array, view: DataView, at: number): [number, number] {
  const fixed = ELEMENT_SIZE[elementType];
  if (fixed !== undefined) {
    const from = Math.ceil(at / fixed[1]) * fixed[1];
    return [from, from + fixed[0]];
  }
  // A short header is never padded, and a pad byte is never 1.
  if (((bytes[at] as number) & 1) === 1) return [at, at + ((bytes[at] as number) >> 1)];
  const from = Math.ceil(at / 4) * 4;
  if (((bytes[from] as number) & 3) !== 0) return decline('a compressed array element');
  return [from, from + (view.getUint32(from, true) >>> 2)];
}

/** The value as canonical PostgreSQL text; null for NULL. */
export function constText(value: ConstValue): string | null {
  switch (value.kind) {
    case 'null':
      return null;
    case 'int':
      return value.value.toString();
    case 'bool':
      return value.value ? 't' : 'f';
    case 'float':
      return value.single ? float4Text(value.value) : float8Text(value.value);
    case 'numeric':
      return scaledText(value.digits, value.scale);
    case 'special':
    case 'uuid':
      return value.text;
    case 'text':
      return value.value;
    case 'bytes':
      return `\\x${Buffer.from(value.value).toString('hex')}`;
    case 'date':
      return dateText(value.days);
    case 'time':
      return timeText(Number(value.us));
    case 'timestamp':
      return value.zoned ? timestamptzText(value.us, 'UTC') : timestampText(value.us);
    default:
      return decline(`text of a constant ${value.kind}`);
  }
}
