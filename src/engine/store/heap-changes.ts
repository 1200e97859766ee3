/**
 * What a transaction has touched in one heap shard, as rids only: the rows are read from the transaction's own SQLite view when it is frozen,
 * so the net (last state of a row, nothing of a row that came and went) needs no bookkeeping of values.
 */
import type Database from 'better-sqlite3';
import type { BatchRef, ShardChanges, StoreRow } from '../../model/log.js';
import type { HeapValue } from '../../model/storage.js';
import type { ShardDef } from '../../model/table.js';
import { RowsFile, toLogValue } from './rows-batch.js';
import { allColumns, quoteIdent } from './sql.js';

/** Rows above this go into batch files, of at most FILE_BYTES each (before the block that passes it). */
const INLINE_ROWS_BYTES = 2 ** 20;
const FILE_BYTES = 2 ** 24;
const BLOCK_ROWS = 1000;

export class HeapChanges {
  readonly shard: ShardDef;
  /** [from, to) of rids that this transaction has given; ascending and merged where they touch. */
  private readonly own: [from: number, to: number][] = [];
  /** Rids of older rows that it has updated or deleted. */
  private touched = new Set<number>();

  constructor(shard: ShardDef) {
    this.shard = shard;
  }

  inserted(from: number, rows: number): void {
    const last = this.own.at(-1);
    if (last !== undefined && last[1] === from) last[1] = from + rows;
    else this.own.push([from, from + rows]);
  }

  modified(rid: number): void {
    if (!this.own.some(([from, to]) => rid >= from && rid < to)) this.touched.add(rid);
  }

  /** TRUNCATE: nothing of before matters. */
  clear(): void {
    this.own.length = 0;
    this.touched = new Set();
  }

  get isEmpty(): boolean {
    return this.own.length === 0 && this.touched.size === 0;
  }

  /**
   * The net changes, read through the transaction's own connection.
   * @param source prepares statements of that connection; those that it keeps are not parsed again for each transaction.
   * @param newBatch gives name and path of a new batch file.
   */
  freeze(
    source: { prepare(sql: string): Database.Statement },
    nextRid: number,
    newBatch: () => { name: string; path: string },
  ): ShardChanges {
    const sink = new RowSink(newBatch);
    const columns = `SELECT ${allColumns(this.shard)} FROM ${quoteIdent(this.shard.relation)}`;
    const rowsBy = (where: string) => source.prepare(`${columns} WHERE ${where}`).raw(true).safeIntegers(true);
    const deleted = [...this.touched].sort((a, b) => a - b);
    if (deleted.length > 0) {
      const one = rowsBy('_rid = ?');
      for (const rid of deleted) {
        const row = one.get(rid) as HeapValue[] | undefined;
        if (row !== undefined) sink.add([row]);
      }
    }
    if (this.own.length === 0) return { shardId: this.shard.shardId, nextRid, deleted, ...sink.finish() };
    const range = rowsBy(`_rid >= ? AND _rid < ? ORDER BY _rid LIMIT ${BLOCK_ROWS}`);
    for (const [from, to] of this.own) {
      for (let at = from; at < to; ) {
        const rows = range.all(at, to) as HeapValue[][];
        if (rows.length === 0) break;
        sink.add(rows);
        at = Number(rows.at(-1)![0]) + 1;
      }
    }
    return { shardId: this.shard.shardId, nextRid, deleted, ...sink.finish() };
  }
}

/** Gathers rows inline, and in files once they are many bytes. */
class RowSink {
  private rows: StoreRow[] = [];
  private bytes = 0;
  private file: RowsFile | null = null;
  private readonly batches: BatchRef[] = [];
  private readonly newBatch: () => { name: string; path: string };

  constructor(newBatch: () => { name: string; path: string }) {
    this.newBatch = newBatch;
  }

  add(rows: HeapValue[][]): void {
    for (const row of rows) {
      for (let i = 0; i < row.length; i++) {
        row[i] = toLogValue(narrow(row[i]!));
        this.bytes += sizeOf(row[i]!);
      }
      this.rows.push(row as StoreRow);
      if (this.bytes >= INLINE_ROWS_BYTES) this.spill();
    }
  }

  private spill(): void {
    if (this.file === null) {
      const { name, path } = this.newBatch();
      this.file = new RowsFile(name, path);
    }
    for (let i = 0; i < this.rows.length; i += BLOCK_ROWS) this.file.append(this.rows.slice(i, i + BLOCK_ROWS));
    this.rows = [];
    this.bytes = 0;
    if (this.file.bytes >= FILE_BYTES) this.closeFile();
  }

  private closeFile(): void {
    if (this.file !== null) this.batches.push(this.file.finish());
    this.file = null;
  }

  finish(): { inserted: StoreRow[]; batches: BatchRef[] } {
    if (this.file !== null && this.rows.length > 0) this.spill();
    this.closeFile();
    return { inserted: this.rows, batches: this.batches };
  }
}

/** A number where it is exact: shorter in records. */
export function narrow(value: HeapValue): HeapValue {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function sizeOf(value: HeapValue): number {
  if (typeof value === 'string') return value.length + 5;
  return Buffer.isBuffer(value) ? value.length + 5 : 9;
}
