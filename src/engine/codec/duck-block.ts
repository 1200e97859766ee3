/**
 * Few rows on their way from one DuckDB to another, in exactly DuckDB's types: for small results a Parquet file costs more than the query.
 * A block is a mark and MessagePack of its columns: fixed-width values as DuckDB's own bytes (little-endian), strings and blobs one by one.
 */
import {
  BIGINT,
  BLOB,
  BOOLEAN,
  DATE,
  DECIMAL,
  DOUBLE,
  DuckDBBlobValue,
  type DuckDBDataChunk,
  DuckDBDateValue,
  DuckDBDecimalType,
  DuckDBDecimalValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  DuckDBTimeValue,
  type DuckDBType,
  DuckDBTypeId,
  DuckDBUUIDValue,
  type DuckDBValue,
  type DuckDBVector,
  FLOAT,
  HUGEINT,
  INTEGER,
  SMALLINT,
  TIME,
  TIMESTAMP,
  TIMESTAMPTZ,
  TINYINT,
  UBIGINT,
  UINTEGER,
  USMALLINT,
  UTINYINT,
  UUID,
  VARCHAR,
} from '@duckdb/node-api';
import { internalError } from '../../core/errors.js';
import { pack, unpack } from '../../rpc/msgpack.js';
import { bytesReader, rawData, validityBits } from './duck-vector.js';

/** No Parquet file begins so. */
const MARK = Buffer.from('DMB1');

/** A column's type (its text is DuckDB's SQL) and its values. */
export interface BlockColumn {
  type: DuckDBType;
  values: (DuckDBValue | null)[];
}

interface PackedColumn {
  id: number;
  /** Precision and scale of a decimal. */
  width: number;
  scale: number;
  nulls: Uint8Array | null;
  data: Uint8Array | (string | Uint8Array | null)[];
}

/** Types beside decimals, with the bytes of each value; 0: of any length. */
const TYPES = new Map<DuckDBTypeId, { type: DuckDBType; bytes: number }>(
  (
    [
      [1, [BOOLEAN, TINYINT, UTINYINT]],
      [2, [SMALLINT, USMALLINT]],
      [4, [INTEGER, UINTEGER, FLOAT, DATE]],
      [8, [BIGINT, UBIGINT, DOUBLE, TIME, TIMESTAMP, TIMESTAMPTZ]],
      [16, [HUGEINT, UUID]],
      [0, [VARCHAR, BLOB]],
    ] as [number, DuckDBType[]][]
  ).flatMap(([bytes, types]) => types.map((type) => [type.typeId, { type, bytes }])),
);

const isText = (typeId: DuckDBTypeId) => typeId === DuckDBTypeId.VARCHAR || typeId === DuckDBTypeId.BLOB;

/** Can rows of these types be packed? */
export function fitsBlock(types: readonly DuckDBType[]): boolean {
  return types.length > 0 && types.every((type) => widthOf(type) !== undefined);
}

function widthOf(type: DuckDBType): number | undefined {
  if (!(type instanceof DuckDBDecimalType)) return TYPES.get(type.typeId)?.bytes;
  return type.width > 18 ? 16 : type.width > 9 ? 8 : type.width > 4 ? 4 : 2;
}

/** Packs a chunk whose types fit. */
export function packBlock(chunk: DuckDBDataChunk, types: readonly DuckDBType[]): Buffer {
  const rows = chunk.rowCount;
  const columns = types.map((type, i) => packColumn(chunk.getColumnVector(i), type, rows));
  return Buffer.concat([MARK, pack({ rows, columns })]);
}

function packColumn(vector: DuckDBVector, type: DuckDBType, rows: number): PackedColumn {
  const bits = validityBits(vector);
  const nulls = bits === null ? null : bits.subarray(0, (rows + 7) >> 3);
  const [width, scale] = type instanceof DuckDBDecimalType ? [type.width, type.scale] : [0, 0];
  return {
    id: type.typeId,
    width,
    scale,
    nulls,
    data: isText(type.typeId) ? texts(vector, type, rows, nulls) : fixed(vector, type, rows),
  };
}

function fixed(vector: DuckDBVector, type: DuckDBType, rows: number): Uint8Array {
  const { buffer, byteOffset } = rawData(vector);
  return new Uint8Array(buffer, byteOffset, rows * widthOf(type)!);
}

function texts(vector: DuckDBVector, type: DuckDBType, rows: number, nulls: Uint8Array | null): (string | Uint8Array | null)[] {
  const bytes = bytesReader(vector);
  const text = type.typeId === DuckDBTypeId.VARCHAR;
  return Array.from({ length: rows }, (_, row) => {
    if (isNull(nulls, row)) return null;
    const value = bytes(row);
    return text ? Buffer.from(value).toString('utf8') : Buffer.from(value);
  });
}

function isNull(nulls: Uint8Array | null, row: number): boolean {
  return nulls !== null && (nulls[row >> 3]! & (1 << (row & 7))) === 0;
}

/** False: the bytes are of a Parquet file. */
export function isBlock(bytes: Uint8Array): boolean {
  return MARK.equals(bytes.subarray(0, MARK.length));
}

export function unpackBlock(bytes: Uint8Array): BlockColumn[] {
  const { rows, columns } = unpack(bytes.subarray(MARK.length)) as { rows: number; columns: PackedColumn[] };
  return columns.map((column) => {
    const read = reader(column);
    const values = Array.from({ length: rows }, (_, row) => (isNull(column.nulls, row) ? null : read(row)));
    return { type: typeOf(column), values };
  });
}

function typeOf({ id, width, scale }: PackedColumn): DuckDBType {
  if (id === DuckDBTypeId.DECIMAL) return DECIMAL(width, scale);
  const known = TYPES.get(id);
  if (known === undefined) throw internalError(`a block with values of DuckDB type ${id}`);
  return known.type;
}

function reader(column: PackedColumn): (row: number) => DuckDBValue {
  const { id, data } = column;
  if (Array.isArray(data)) {
    return id === DuckDBTypeId.BLOB ? (row) => new DuckDBBlobValue(data[row] as Uint8Array) : (row) => data[row] as string;
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const int64 = (row: number) => view.getBigInt64(row * 8, true);
  const int128 = (row: number) => (view.getBigInt64(row * 16 + 8, true) << 64n) | view.getBigUint64(row * 16, true);
  switch (id as DuckDBTypeId) {
    case DuckDBTypeId.BOOLEAN:
      return (row) => view.getUint8(row) !== 0;
    case DuckDBTypeId.TINYINT:
      return (row) => view.getInt8(row);
    case DuckDBTypeId.UTINYINT:
      return (row) => view.getUint8(row);
    case DuckDBTypeId.SMALLINT:
      return (row) => view.getInt16(row * 2, true);
    case DuckDBTypeId.USMALLINT:
      return (row) => view.getUint16(row * 2, true);
    case DuckDBTypeId.INTEGER:
      return (row) => view.getInt32(row * 4, true);
    case DuckDBTypeId.UINTEGER:
      return (row) => view.getUint32(row * 4, true);
    case DuckDBTypeId.FLOAT:
      return (row) => view.getFloat32(row * 4, true);
    case DuckDBTypeId.DOUBLE:
      return (row) => view.getFloat64(row * 8, true);
    case DuckDBTypeId.BIGINT:
      return int64;
    case DuckDBTypeId.UBIGINT:
      return (row) => view.getBigUint64(row * 8, true);
    case DuckDBTypeId.HUGEINT:
      return int128;
    case DuckDBTypeId.UUID:
      return (row) => DuckDBUUIDValue.fromStoredHugeInt(int128(row));
    case DuckDBTypeId.DATE:
      return (row) => new DuckDBDateValue(view.getInt32(row * 4, true));
    case DuckDBTypeId.TIME:
      return (row) => new DuckDBTimeValue(int64(row));
    case DuckDBTypeId.TIMESTAMP:
      return (row) => new DuckDBTimestampValue(int64(row));
    case DuckDBTypeId.TIMESTAMP_TZ:
      return (row) => new DuckDBTimestampTZValue(int64(row));
    case DuckDBTypeId.DECIMAL:
      return decimalReader(column, view, int64, int128);
    default:
      throw internalError(`a block with values of DuckDB type ${id}`);
  }
}

function decimalReader(
  { width, scale }: PackedColumn,
  view: DataView,
  int64: (row: number) => bigint,
  int128: (row: number) => bigint,
): (row: number) => DuckDBValue {
  const decimal = (value: bigint) => new DuckDBDecimalValue(value, width, scale);
  if (width > 18) return (row) => decimal(int128(row));
  if (width > 9) return (row) => decimal(int64(row));
  if (width > 4) return (row) => decimal(BigInt(view.getInt32(row * 4, true)));
  return (row) => decimal(BigInt(view.getInt16(row * 2, true)));
}
