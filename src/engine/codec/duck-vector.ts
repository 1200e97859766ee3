/**
 * Reads DuckDB's vectors without making an object for each value. @duckdb/node-api keeps the raw arrays in properties that
 * its declarations call private; this file is the only one that knows them, and fails loudly where they are missing.
 */
import { DuckDBBlobVector, type DuckDBVector } from '@duckdb/node-api';
import { internalError } from '../../core/errors.js';

interface Internals {
  items?: { buffer: ArrayBufferLike; byteOffset: number; byteLength: number };
  dataView?: DataView;
  validity?: { data: BigUint64Array | null; offset: number };
  vector?: unknown;
}

/** Bytes of the vector's values, in DuckDB's own layout (little-endian). */
export function rawData(vector: DuckDBVector): { buffer: ArrayBufferLike; byteOffset: number } {
  const { items, dataView } = vector as unknown as Internals;
  const data = items ?? dataView;
  if (data === undefined) throw internalError(`a DuckDB vector of type ${vector.type} has no raw data`);
  return data;
}

/** The values as an array of 32-bit words, `words` to each value. */
export function int32Words(vector: DuckDBVector, words: number): Int32Array {
  const { buffer, byteOffset } = rawData(vector);
  return new Int32Array(buffer, byteOffset, vector.itemCount * words);
}

/** One bit for each value, lowest first, 0 = NULL; null where no value is NULL. */
export function validityBits(vector: DuckDBVector): Uint8Array | null {
  const { validity } = vector as unknown as Internals;
  if (validity === undefined || validity.offset !== 0) throw internalError('a DuckDB vector has no validity mask');
  const { data } = validity;
  return data === null ? null : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A VARCHAR vector's values as UTF-8 bytes: the blob reader knows the same layout, and decodes nothing. */
export function bytesReader(vector: DuckDBVector): (index: number) => Uint8Array {
  if (vector instanceof DuckDBBlobVector) return (index) => vector.getItemBytes(index)!;
  const { dataView, validity, vector: handle } = vector as unknown as Internals;
  if (dataView === undefined) throw internalError(`a DuckDB vector of type ${vector.type} is not a string`);
  const blob = new DuckDBBlobVector(dataView, validity as never, handle as never, 0, vector.itemCount);
  return (index) => blob.getItemBytes(index)!;
}
