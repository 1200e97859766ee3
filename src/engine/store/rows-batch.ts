/**
 * Batch files of heap rows (BatchRef format `rows`): MessagePack arrays of StoreRow, one after the other. A file holds some MB at most, so it is read whole.
 * -0 does not survive MessagePack's integers; in log rows and in messages a float's -0 is the string `-0` (as NaN is the string `NaN`).
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Packr } from 'msgpackr';
import { internalError } from '../../core/errors.js';
import type { BatchRef, StoreRow } from '../../model/log.js';
import type { HeapValue } from '../../model/storage.js';

const packr = new Packr({ useRecords: false });

/** Inline content up to here (model/log.ts). */
export const INLINE_BYTES = 256 * 1024;

/** A heap value as it stands in log records. */
export function toLogValue(value: HeapValue): HeapValue {
  return Object.is(value, -0) ? '-0' : value;
}

/** A value of a float column as it was before `toLogValue`. */
export function fromLogValue(value: HeapValue): HeapValue {
  return value === '-0' ? -0 : value;
}

/** Writes blocks of rows to one file and knows its length, rows and checksum. */
export class RowsFile {
  readonly name: string;
  rows = 0;
  bytes = 0;
  private readonly fd: number;
  private readonly hash = createHash('sha256');

  constructor(name: string, path: string) {
    this.name = name;
    this.fd = openSync(path, 'w', 0o600);
  }

  append(rows: StoreRow[]): void {
    const block = packr.pack(rows);
    for (let offset = 0; offset < block.length; ) offset += writeSync(this.fd, block, offset);
    this.hash.update(block);
    this.rows += rows.length;
    this.bytes += block.length;
  }

  finish(): BatchRef {
    closeSync(this.fd);
    return { name: this.name, format: 'rows', rows: this.rows, bytes: this.bytes, checksum: this.hash.digest('hex') };
  }
}

/** Calls `visit` with each block of a batch of rows. */
export function readRowsBatch(batch: BatchRef, pathOf: (name: string) => string, visit: (rows: StoreRow[]) => void): void {
  const bytes = batch.inline ?? readFileSync(pathOf(batch.name));
  if (bytes.length !== batch.bytes)
    throw internalError(`batch file ${batch.name} has ${bytes.length} bytes instead of ${batch.bytes}`);
  packr.unpackMultiple(bytes, (value: unknown) => {
    visit(value as StoreRow[]);
    return true;
  });
}
