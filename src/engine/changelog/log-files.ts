import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { Lsn } from '../../model/log.js';
import { crc32, lengthAt, recordAt } from './record.js';

/**
 * A file of the log is named by the lsn of its first record and begins with
 *
 *     8    "DAMSLOG1"
 *     u64  lsn of the first record
 *     u32  CRC of the record before it
 *     u32  CRC-32 of the above
 *
 * padded with zeros; records follow without gaps, then zeros.
 */
export const FILE_HEADER = 64;
const MAGIC = Buffer.from('DAMSLOG1', 'latin1');
const NAME = /^(\d{16})\.log$/;
const BLOCK = 1024 * 1024;

export function logFileName(start: Lsn): string {
  return `${String(start).padStart(16, '0')}.log`;
}

export function encodeFileHeader(start: Lsn, crcBefore: number): Buffer {
  const header = Buffer.alloc(FILE_HEADER);
  MAGIC.copy(header);
  header.writeBigUInt64BE(BigInt(start), 8);
  header.writeUInt32BE(crcBefore, 16);
  header.writeUInt32BE(crc32(header.subarray(0, 20)), 20);
  return header;
}

/** Start lsns of the log files in a directory, ascending. */
export function listLogFiles(directory: string): Lsn[] {
  return readdirSync(directory)
    .map((name) => NAME.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

/** CRC of the record before the file's first; undefined where the header is not valid. */
export function readFileHeader(directory: string, start: Lsn): number | undefined {
  const header = readAt(join(directory, logFileName(start)), 0, FILE_HEADER);
  if (header.length < FILE_HEADER || !header.subarray(0, 8).equals(MAGIC)) return undefined;
  if (Number(header.readBigUInt64BE(8)) !== start || crc32(header.subarray(0, 20)) !== header.readUInt32BE(20)) return undefined;
  return header.readUInt32BE(16);
}

export interface Tail {
  /** Position after the last valid record. */
  end: Lsn;
  /** CRC of the last record. */
  crc: number;
  /** Position after the last byte that is not zero; above `end` where a tail is torn. */
  dirtyEnd: Lsn;
}

/**
 * Finds the end of the log in its last file. Bytes behind the last valid record are a torn write, unless they were durable
 * once: then the log is damaged, which is an error.
 * @param mark position that is known to have been durable; undefined: not known, and valid records behind are taken as proof.
 */
export function findTail(directory: string, start: Lsn, mark: Lsn | undefined, logger: Logger): Tail {
  const path = join(directory, logFileName(start));
  const crcBefore = readFileHeader(directory, start);
  if (crcBefore === undefined) throw damaged(path, 0);
  const bytes = readAt(path, FILE_HEADER);
  let offset = 0;
  let crc = crcBefore;
  for (;;) {
    const record = recordAt(bytes, offset, start + offset, crc);
    if (record === undefined) break;
    offset += record.bytes.length;
    crc = record.crc;
  }
  if (mark !== undefined && start + offset < mark) throw damaged(path, FILE_HEADER + offset);
  const dirty = endOfDirt(bytes, offset);
  if (dirty > offset) {
    if (mark === undefined && validBehind(bytes, offset, start)) throw damaged(path, FILE_HEADER + offset);
    logger.warn({ file: path, offset: FILE_HEADER + offset, bytes: dirty - offset }, 'the tail of the log was torn and is cut');
  }
  return { end: start + offset, crc, dirtyEnd: start + dirty };
}

export function damaged(path: string, offset: number): DamsonError {
  return new DamsonError(`the change log is damaged: ${path} holds no valid record at offset ${offset}`, {
    hint: 'Recover this instance from its mirror or primary (damson recover --full).',
  });
}

function endOfDirt(bytes: Buffer, from: number): number {
  let end = bytes.length;
  while (end > from && bytes[end - 1] === 0) end--;
  return end;
}

function validBehind(bytes: Buffer, from: number, start: Lsn): boolean {
  for (let offset = from + 1; offset < bytes.length - 4; offset++) {
    if (lengthAt(bytes, offset) !== undefined && recordAt(bytes, offset, start + offset, undefined) !== undefined) return true;
  }
  return false;
}

/** Bytes of a file from `offset` to its end, or `length` of them at most. */
export function readAt(path: string, offset: number, length = Number.POSITIVE_INFINITY): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, fstatSync(fd).size - offset)));
    let filled = 0;
    while (filled < bytes.length) {
      const count = readSync(fd, bytes, filled, Math.min(BLOCK, bytes.length - filled), offset + filled);
      if (count === 0) break;
      filled += count;
    }
    return bytes.subarray(0, filled);
  } finally {
    closeSync(fd);
  }
}

/** The position that the log's thread last noted as durable; undefined where there is no valid note. */
export function readMark(path: string): Lsn | undefined {
  if (!existsSync(path)) return undefined;
  const bytes = readAt(path, 0, 16);
  if (bytes.length < 16) return undefined;
  const position = bytes.readDoubleBE(0);
  return Number.isSafeInteger(position) && position >= 0 && bytes.readDoubleBE(8) === -position ? position : undefined;
}

/** `length` bytes of a file, read beside other work. */
export async function readSpan(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return bytes.subarray(0, filled);
  } finally {
    await file.close();
  }
}
