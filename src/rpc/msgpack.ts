import { Packr, RESERVE_START_SPACE } from 'msgpackr';

/**
 * MessagePack as all of Damson writes it: between processes and in change log records.
 * Integers beyond 2^53 are bigints on both sides; a bigint within it comes back as a number. Buffers in what is unpacked
 * are views of the source. The number -0 is written as 0.
 */
const packr = new Packr({ useRecords: false, variableMapSize: true, int64AsType: 'auto' as 'bigint' });

/** The most that can be reserved before a packed value. */
const MAX_HEADER = 255;

export function pack(value: unknown): Buffer {
  return packr.pack(value);
}

/** Packs behind `header` bytes that the caller fills in, so that a frame or record is made without copying its body. */
export function packBehind(header: number, value: unknown): Buffer {
  if (header > MAX_HEADER) throw new RangeError(`a header of ${header} bytes is too long`);
  return packr.pack(value, RESERVE_START_SPACE | header);
}

export function unpack(bytes: Uint8Array): unknown {
  return packr.unpack(bytes);
}
