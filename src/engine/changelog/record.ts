import zlib from 'node:zlib';
import { DamsonError, SqlError } from '../../core/errors.js';
import type { BatchRef, LogBody, LogRecord, Lsn, MoveFile } from '../../model/log.js';
import { packBehind, unpack } from '../../rpc/msgpack.js';

/**
 * A record of the change log:
 *
 *     u32  length of the whole record
 *     u32  CRC-32 of all that follows
 *     u64  lsn
 *     u32  timeline
 *     u32  CRC of the record before
 *     u32  flags
 *     …    body, MessagePack
 *
 * in network order. A record is its predecessor's only successor: its lsn and the CRC before it must fit.
 */
export const RECORD_HEADER = 28;
/** A transaction's bulk goes as batch files; this is for what is left. Must fit into a frame between instances. */
export const MAX_RECORD = 128 * 1024 * 1024;

/** The body refers to batch files. */
export const FLAG_FILES = 1;

const crcTable = new Uint32Array(256).map((_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32ByTable(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (let n = 0; n < bytes.length; n++) c = crcTable[(c ^ bytes[n]!) & 0xff]! ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** CRC-32 as in zlib, which has it from Node 20.15 on. */
export const crc32: (bytes: Uint8Array) => number = (zlib as { crc32?: (bytes: Uint8Array) => number }).crc32 ?? crc32ByTable;

export function encodeRecord(body: LogBody, lsn: Lsn, timeline: number, crcBefore: number): Buffer {
  const record = packBehind(RECORD_HEADER, body);
  if (record.length > MAX_RECORD) {
    throw new SqlError('54000', `the changes of one transaction take ${record.length} bytes of log, more than ${MAX_RECORD}`, {
      hint: 'Use COPY, or several smaller transactions.',
    });
  }
  record.writeUInt32BE(record.length, 0);
  record.writeBigUInt64BE(BigInt(lsn), 8);
  record.writeUInt32BE(timeline, 16);
  record.writeUInt32BE(crcBefore, 20);
  record.writeUInt32BE(filesOf(body).length > 0 ? FLAG_FILES : 0, 24);
  record.writeUInt32BE(crc32(record.subarray(8)), 4);
  return record;
}

export interface RawRecord {
  lsn: Lsn;
  end: Lsn;
  timeline: number;
  crc: number;
  crcBefore: number;
  flags: number;
  bytes: Buffer;
}

/**
 * The record at `offset` of `bytes`, which stands at `lsn`; undefined where no whole and valid record is.
 * @param crcBefore what must be the CRC of the record before; undefined: not known.
 */
export function recordAt(bytes: Buffer, offset: number, lsn: Lsn, crcBefore: number | undefined): RawRecord | undefined {
  const length = lengthAt(bytes, offset);
  if (length === undefined || bytes.length - offset < length) return undefined;
  const record = bytes.subarray(offset, offset + length);
  if (record.readUInt32BE(8) * 2 ** 32 + record.readUInt32BE(12) !== lsn) return undefined;
  const raw: RawRecord = {
    lsn,
    end: lsn + length,
    crc: record.readUInt32BE(4),
    timeline: record.readUInt32BE(16),
    crcBefore: record.readUInt32BE(20),
    flags: record.readUInt32BE(24),
    bytes: record,
  };
  if (crcBefore !== undefined && raw.crcBefore !== crcBefore) return undefined;
  return crc32(record.subarray(8)) === raw.crc ? raw : undefined;
}

/** The length that the header at `offset` claims; undefined where no header can be. */
export function lengthAt(bytes: Buffer, offset: number): number | undefined {
  if (bytes.length - offset < 4) return undefined;
  const length = bytes.readUInt32BE(offset);
  return length > RECORD_HEADER && length <= MAX_RECORD ? length : undefined;
}

/** The records of a block that begins at `lsn` and holds whole records only. Throws where one is broken. */
export function* recordsIn(bytes: Buffer, lsn: Lsn, where = 'a block of log'): Generator<RawRecord> {
  let crcBefore: number | undefined;
  for (let offset = 0; offset < bytes.length; ) {
    const record = recordAt(bytes, offset, lsn + offset, crcBefore);
    if (record === undefined) throw new DamsonError(`${where} holds no valid record at position ${lsn + offset}`);
    yield record;
    crcBefore = record.crc;
    offset += record.bytes.length;
  }
}

export function decodeRecord(raw: RawRecord): LogRecord {
  const body = unpack(raw.bytes.subarray(RECORD_HEADER)) as LogBody;
  return { lsn: raw.lsn, end: raw.end, timeline: raw.timeline, body };
}

/** A file under `batches/` that a record refers to. */
export interface RecordFile {
  name: string;
  bytes: number;
  /** SHA-256, hex. */
  checksum: string;
}

/** The files that a record refers to; inline batches have none. */
export function filesOf(body: LogBody): RecordFile[] {
  switch (body.k) {
    case 'TXN':
    case 'PREPARE':
    case 'MOVE_APPLY':
    case 'DECISION':
      return (body.txn?.shards ?? []).flatMap(({ batches }) => batches).filter((batch: BatchRef) => batch.inline === undefined);
    case 'MOVE_LOAD':
      return body.files satisfies MoveFile[];
    default:
      return [];
  }
}
