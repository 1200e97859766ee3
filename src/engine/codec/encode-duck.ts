/** DuckDB's result chunks to DataRow messages, going by the actual DuckDB type of each column. */
import {
  type DuckDBDataChunk,
  DuckDBDecimalType,
  type DuckDBIntervalVector,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBVector,
} from '@duckdb/node-api';
import { assert, internalError, notSupported } from '../../core/errors.js';
import { Oid } from '../../model/storage.js';
import type { OutputColumn, OutputSettings } from '../../model/task.js';
import { binaryFromFloat, binaryFromText, hasBinaryFormat } from './binary.js';
import {
  DATE_INFINITY,
  DATE_MINUS_INFINITY,
  dateText,
  EPOCH_DAYS,
  EPOCH_SECONDS,
  TIMESTAMP_INFINITY,
  TIMESTAMP_MINUS_INFINITY,
  timestampText,
  timestamptzText,
  timeText,
} from './datetime.js';
import { bytesReader, int32Words, rawData, validityBits } from './duck-vector.js';
import { float4Text, float8Text } from './float.js';
import { byteaText, CANONICAL_OUTPUT, checkOutputSettings, hyphenated, padBpchar } from './heap.js';
import { intervalText } from './interval.js';
import { scaledText } from './numeric.js';
import type { RowWriter } from './rowwriter.js';

/** Appends value `index` (not NULL) of one vector. */
type FieldWriter = (index: number, out: RowWriter) => void;
/** Gives the text of value `index` (not NULL). */
type TextReader = (index: number) => string;
/** Made once for a column, called once for each chunk. */
type Bind = (vector: DuckDBVector) => FieldWriter;

/**
 * @param duckTypes the result's column types, as DuckDB names them.
 * @param formats one format code for each column: 0 text, 1 binary.
 * @returns a function that appends all rows of a chunk and gives their number.
 */
export function duckChunkEncoder(
  columns: OutputColumn[],
  duckTypes: DuckDBType[],
  formats: number[],
  settings: OutputSettings,
): (chunk: DuckDBDataChunk, out: RowWriter) => number {
  assert(columns.length === duckTypes.length, `${duckTypes.length} DuckDB columns for ${columns.length} output columns`);
  const binds = columns.map((column, i) => bindColumn(column, duckTypes[i]!, formats[i] ?? 0, settings));
  const count = binds.length;
  return (chunk, out) => {
    const rows = chunk.rowCount;
    const vectors = binds.map((_, i) => chunk.getColumnVector(i));
    const writers = binds.map((bind, i) => bind(vectors[i]!));
    const masks = vectors.map((vector) => (isNullVector(vector) ? NO_VALUES : validityBits(vector)));
    for (let row = 0; row < rows; row++) {
      out.beginRow(count);
      for (let i = 0; i < count; i++) {
        const mask = masks[i]!;
        if (mask !== null && (mask[row >> 3]! & (1 << (row & 7))) === 0) out.nullField();
        else writers[i]!(row, out);
      }
      out.endRow();
    }
    return rows;
  };
}

/** Large enough for DuckDB's standard vector size. */
const NO_VALUES = new Uint8Array(2048 / 8);

function isNullVector(vector: DuckDBVector): boolean {
  return vector.type.typeId === DuckDBTypeId.SQLNULL;
}

function bindColumn(column: OutputColumn, duckType: DuckDBType, format: number, settings: OutputSettings): Bind {
  if (format === 1) return bindBinary(column, duckType);
  const direct = bindDirect(column, duckType, settings);
  if (direct !== undefined) return direct;
  const reader = textReader(column, duckType, settings);
  const ascii = duckType.typeId !== DuckDBTypeId.VARCHAR && duckType.typeId !== DuckDBTypeId.ENUM;
  return (vector) => {
    const text = reader(vector);
    return ascii ? (index, out) => out.asciiField(text(index)) : (index, out) => out.textField(text(index));
  };
}

/** Types whose text is written without a string between. */
function bindDirect(column: OutputColumn, duckType: DuckDBType, settings: OutputSettings): Bind | undefined {
  switch (duckType.typeId) {
    case DuckDBTypeId.TINYINT:
    case DuckDBTypeId.SMALLINT:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.UTINYINT:
    case DuckDBTypeId.USMALLINT:
    case DuckDBTypeId.UINTEGER:
      return (vector) => {
        const values = smallIntegers(vector, duckType.typeId);
        return (index, out) => out.intField(values[index]!);
      };
    case DuckDBTypeId.VARCHAR:
      if (column.typeOid === Oid.bpchar && column.typmod >= 4) return undefined;
      return (vector) => {
        const bytes = bytesReader(vector);
        return (index, out) => out.bytesField(bytes(index));
      };
    case DuckDBTypeId.BLOB:
      return (vector) => {
        const bytes = bytesReader(vector);
        return (index, out) => out.asciiField(byteaText(bytes(index), settings.byteaOutput));
      };
    default:
      return undefined;
  }
}

function smallIntegers(vector: DuckDBVector, typeId: DuckDBTypeId): ArrayLike<number> {
  const { buffer, byteOffset } = rawData(vector);
  const count = vector.itemCount;
  switch (typeId) {
    case DuckDBTypeId.TINYINT:
      return new Int8Array(buffer, byteOffset, count);
    case DuckDBTypeId.UTINYINT:
      return new Uint8Array(buffer, byteOffset, count);
    case DuckDBTypeId.SMALLINT:
      return new Int16Array(buffer, byteOffset, count);
    case DuckDBTypeId.USMALLINT:
      return new Uint16Array(buffer, byteOffset, count);
    case DuckDBTypeId.INTEGER:
      return new Int32Array(buffer, byteOffset, count);
    default:
      return new Uint32Array(buffer, byteOffset, count);
  }
}

/** A 64-bit integer; as a number where that is exact. */
function int64At(words: Int32Array, at: number): number | bigint {
  const low = words[at]! >>> 0;
  const high = words[at + 1]!;
  if (high >= -0x200000 && high < 0x200000) return high * 4294967296 + low;
  return (BigInt(high) << 32n) | BigInt(low);
}

function uint64At(words: Int32Array, at: number): number | bigint {
  const low = words[at]! >>> 0;
  const high = words[at + 1]! >>> 0;
  return high < 0x200000 ? high * 4294967296 + low : (BigInt(high) << 32n) | BigInt(low);
}

function int128At(words: Int32Array, at: number, signed: boolean): number | bigint {
  const high = words[at + 3]!;
  if (words[at + 2] === 0 && high === 0) return uint64At(words, at);
  const top = BigInt(signed ? high : high >>> 0);
  return (top << 96n) | (BigInt(words[at + 2]! >>> 0) << 64n) | BigInt(uint64At(words, at));
}

/** Each DuckDB type's text as PostgreSQL would print it. All are ASCII, except strings. */
function textReader(column: OutputColumn, duckType: DuckDBType, settings: OutputSettings): (vector: DuckDBVector) => TextReader {
  switch (duckType.typeId) {
    case DuckDBTypeId.BOOLEAN:
      return (vector) => (index) => ((vector.getItem(index) as boolean) ? 't' : 'f');
    case DuckDBTypeId.TINYINT:
    case DuckDBTypeId.SMALLINT:
    case DuckDBTypeId.INTEGER:
    case DuckDBTypeId.UTINYINT:
    case DuckDBTypeId.USMALLINT:
    case DuckDBTypeId.UINTEGER:
      return (vector) => {
        const values = smallIntegers(vector, duckType.typeId);
        return (index) => String(values[index]!);
      };
    case DuckDBTypeId.BIGINT:
      return words(2, (values, at) => String(int64At(values, at)));
    case DuckDBTypeId.UBIGINT:
      return words(2, (values, at) => String(uint64At(values, at)));
    case DuckDBTypeId.HUGEINT:
      return words(4, (values, at) => String(int128At(values, at, true)));
    case DuckDBTypeId.UHUGEINT:
      return words(4, (values, at) => String(int128At(values, at, false)));
    case DuckDBTypeId.DECIMAL:
      return decimalReader(duckType);
    case DuckDBTypeId.FLOAT:
    case DuckDBTypeId.DOUBLE:
      return floatReader(column, duckType, settings);
    case DuckDBTypeId.UUID:
      return words(4, uuidAt);
    case DuckDBTypeId.VARCHAR:
      return (vector) => {
        const bytes = bytesReader(vector);
        return (index) => padded(Buffer.from(bytes(index)).toString('utf8'), column);
      };
    case DuckDBTypeId.BLOB:
      return (vector) => {
        const bytes = bytesReader(vector);
        return (index) => byteaText(bytes(index), 'hex');
      };
    case DuckDBTypeId.ENUM:
      return (vector) => (index) => String(vector.getItem(index));
    case DuckDBTypeId.SQLNULL:
      return () => () => '';
    default:
      return temporalReader(column, duckType, settings);
  }
}

function words(perValue: number, read: (values: Int32Array, at: number) => string): (vector: DuckDBVector) => TextReader {
  return (vector) => {
    const values = int32Words(vector, perValue);
    return (index) => read(values, index * perValue);
  };
}

function padded(text: string, { typeOid, typmod }: OutputColumn): string {
  return typeOid === Oid.bpchar ? padBpchar(text, typmod) : text;
}

function decimalReader(duckType: DuckDBType): (vector: DuckDBVector) => TextReader {
  if (!(duckType instanceof DuckDBDecimalType)) throw internalError(`not a decimal type: ${duckType}`);
  const { width, scale } = duckType;
  if (width > 18) return words(4, (values, at) => scaledText(int128At(values, at, true), scale));
  if (width > 9) return words(2, (values, at) => scaledText(int64At(values, at), scale));
  if (width > 4) return words(1, (values, at) => scaledText(values[at]!, scale));
  return (vector) => {
    const values = smallIntegers(vector, DuckDBTypeId.SMALLINT);
    return (index) => scaledText(values[index]!, scale);
  };
}

function floatReader(column: OutputColumn, duckType: DuckDBType, settings: OutputSettings): (vector: DuckDBVector) => TextReader {
  if (column.typeOid !== Oid.float4 && column.typeOid !== Oid.float8) {
    // A numeric that went through binary floating point is not PostgreSQL's any more.
    throw internalError(`column "${column.name}" of type with OID ${column.typeOid} was computed as ${duckType}`);
  }
  const digits = settings.extraFloatDigits;
  const single = duckType.typeId === DuckDBTypeId.FLOAT;
  return (vector) => {
    const values = floats(vector, single);
    if (column.typeOid === Oid.float8) return (index) => float8Text(values[index]!, digits);
    return (index) => float4Text(Math.fround(values[index]!), digits);
  };
}

function floats(vector: DuckDBVector, single: boolean): ArrayLike<number> {
  const { buffer, byteOffset } = rawData(vector);
  return single ? new Float32Array(buffer, byteOffset, vector.itemCount) : new Float64Array(buffer, byteOffset, vector.itemCount);
}

/** DuckDB stores a UUID as a 128-bit integer with its highest bit flipped. */
function uuidAt(values: Int32Array, at: number): string {
  const word = (value: number) => (value >>> 0).toString(16).padStart(8, '0');
  return hyphenated(word(values[at + 3]! ^ 0x80000000) + word(values[at + 2]!) + word(values[at + 1]!) + word(values[at]!));
}

function temporalReader(
  column: OutputColumn,
  duckType: DuckDBType,
  settings: OutputSettings,
): (vector: DuckDBVector) => TextReader {
  checkOutputSettings(settings);
  switch (duckType.typeId) {
    case DuckDBTypeId.DATE:
      return words(1, (values, at) => dateText(dateFromDuck(values[at]!)));
    case DuckDBTypeId.TIME:
      return words(2, (values, at) => timeText(Number(int64At(values, at))));
    case DuckDBTypeId.TIMESTAMP:
      return words(2, (values, at) => timestampText(timestampFromDuck(int64At(values, at))));
    case DuckDBTypeId.TIMESTAMP_TZ:
      return words(2, (values, at) => timestamptzText(timestampFromDuck(int64At(values, at)), settings.timeZone));
    case DuckDBTypeId.INTERVAL:
      return (vector) => (index) => intervalText((vector as DuckDBIntervalVector).getItem(index)!, settings.intervalStyle);
    default:
      throw notSupported(
        `column "${column.name}" has a type that cannot be sent: DuckDB ${duckType}`,
        'Cast the column to text.',
      );
  }
}

/** DuckDB's infinite date is ±(2^31 - 1) days from 1970. */
function dateFromDuck(days: number): number {
  if (days === 2147483647) return DATE_INFINITY;
  if (days === -2147483647) return DATE_MINUS_INFINITY;
  return days - EPOCH_DAYS;
}

const EPOCH_US = EPOCH_SECONDS * 1000000;

/** DuckDB's infinite timestamps are ±(2^63 - 1) µs from 1970. */
function timestampFromDuck(us: number | bigint): number | bigint {
  if (typeof us === 'number') {
    const shifted = us - EPOCH_US;
    return Number.isSafeInteger(shifted) ? shifted : BigInt(us) - BigInt(EPOCH_US);
  }
  if (us === TIMESTAMP_INFINITY) return TIMESTAMP_INFINITY;
  if (us === -TIMESTAMP_INFINITY) return TIMESTAMP_MINUS_INFINITY;
  return us - BigInt(EPOCH_US);
}

function bindBinary(column: OutputColumn, duckType: DuckDBType): Bind {
  const { typeOid, name } = column;
  if (!hasBinaryFormat(typeOid)) {
    throw notSupported(
      `column "${name}" of type with OID ${typeOid} is not supported in binary format`,
      'Ask for text format for this column.',
    );
  }
  const { typeId } = duckType;
  if (typeId === DuckDBTypeId.BLOB || (typeId === DuckDBTypeId.VARCHAR && PLAIN_TEXT.has(typeOid))) {
    return (vector) => {
      const bytes = bytesReader(vector);
      return (index, out) => out.bytesField(bytes(index));
    };
  }
  if (typeId === DuckDBTypeId.FLOAT || typeId === DuckDBTypeId.DOUBLE) {
    floatReader(column, duckType, CANONICAL_OUTPUT);
    return (vector) => {
      const values = floats(vector, typeId === DuckDBTypeId.FLOAT);
      return (index, out) => out.bytesField(binaryFromFloat(values[index]!, typeOid === Oid.float4));
    };
  }
  const reader = textReader(column, duckType, CANONICAL_OUTPUT);
  return (vector) => {
    const text = reader(vector);
    return (index, out) => out.bytesField(binaryFromText(typeOid, text(index)));
  };
}

const PLAIN_TEXT = new Set<number>([Oid.text, Oid.varchar, Oid.name, Oid.json]);
