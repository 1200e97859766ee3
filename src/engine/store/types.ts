import type { DuckDBConnection, DuckDBPendingResult, DuckDBPreparedStatement } from '@duckdb/node-api';
import type Database from 'better-sqlite3';
import type { BatchRef, Lsn, MoveFile, ShardChanges, StoreDdl, TxnBody } from '../../model/log.js';
import type { HeapValue } from '../../model/storage.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import type { ShardChecksum, ShardSize } from '../../model/task.js';

/** Where batch files are, and how they are named and made durable; given by the instance (it is the change log). */
export interface BatchFiles {
  batchPath(name: string): string;
  syncBatch(name: string): Promise<void>;
  removeBatch(name: string): void;
}

/**
 * All shard stores of one instance: a SQLite file for each heap set under `sets/`, one DuckDB database `columnar.db`,
 * and `instance.db`, which lists them. Each store keeps `applied`, commits in lsn order, and is never ahead of the log's safe.
 */
export interface Stores {
  shard(shardId: number): ShardDef;
  hasShard(shardId: number): boolean;
  shardsOfSet(setKey: SetKey): ShardDef[];
  sets(): SetKey[];
  /** Lowest durable `applied` of all stores: replay starts behind it. */
  applied(): Lsn;
  /** `applied` of one set: lowest over its heap file and (where it has columnar shards) the columnar database. */
  appliedOf(setKey: SetKey): Lsn;
  /** Highest lsn that any store holds (or was passed): what `safe` is at least after a restart. */
  highest(): Lsn;
  nextRid(shardId: number): number;
  /** Rids below are given: told for each shard of a prepared transaction that is open again after a restart or promotion. */
  raiseNextRid(shardId: number, nextRid: number): void;
  /** For temporary files of those who work with the stores; emptied at each start. */
  readonly temporaryDirectory: string;

  /**
   * Applies a decided transaction from its record (mirror, replay after restart, MOVE_APPLY): DDL, deletes, inserts.
   * Idempotent: a store whose `applied` is not below `lsn` skips it. Called in lsn order. Changes of columnar shards alone may be gathered
   * into one DuckDB transaction until `flush`; all else is published when it resolves. A store that fails here ends the process.
   */
  apply(lsn: Lsn, txn: TxnBody): Promise<void>;
  flush(): Promise<void>;
  /** flush, and `applied()` durably as high as it can be. */
  settle(): Promise<void>;
  /** A promise that everything up to lsn that concerns these stores has been given to `apply`, `publish` or `importSet`. Raises `applied` of stores that
   *  had nothing to do; lazily, within seconds. */
  passed(lsn: Lsn): void;

  /** A session's writes on this instance. */
  openTxn(gid: string): StoreTxn;

  /** A consistent reading of several stores (protocols, section 6): no publication falls between their snapshots. */
  openSnapshot(need: { heapSets: SetKey[]; columnar: boolean }): Promise<StoreSnapshot>;
  /**
   * Begins a statement of the columnar database in this turn, without a snapshot of its own: it reads what is published now. Undefined where its plan is not
   * known (`prepareColumnar` makes it known) or a publication is under way: open a snapshot then.
   * @param bind gives values to its parameters.
   * @param stream rows are fetched chunk by chunk instead of being put together in memory.
   */
  beginColumnar(sql: string, bind: (statement: DuckDBPreparedStatement) => void, stream: boolean): ColumnarRead | undefined;
  /** Prepares on a connection of a snapshot, and keeps it for `beginColumnar`; not for statements that name temporary tables. */
  prepareColumnar(connection: DuckDBConnection, sql: string): Promise<DuckDBPreparedStatement>;
  /** Reads through the fastest way where one heap set is enough: a connection in autocommit, synchronous. Do not keep it. */
  heapReader(setKey: SetKey): Database.Database;

  /** Snapshot of a set as files in `directory`: `heap` database and/or `parquet` for each columnar shard, with the lsn it stands at. */
  exportSet(
    setKey: SetKey,
    directory: string,
    prefix: string,
  ): Promise<{ lsn: Lsn; shards: ShardDef[]; nextRids: [number, number][]; files: MoveFile[] }>;
  /** Installs a set from such files (paths by name); replaces what was there; `applied` of it becomes `lsn`, its move source `src`. Idempotent. */
  importSet(
    lsn: Lsn,
    setKey: SetKey,
    shards: ShardDef[],
    nextRids: [number, number][],
    files: MoveFile[],
    pathOf: (name: string) => string,
    src?: { content: number; lsn: Lsn },
  ): Promise<void>;
  /** Progress of a set that is being moved in: position in the source's log, kept in the same store transaction as `applied`. */
  moveSource(setKey: SetKey): { content: number; lsn: Lsn } | null;
  /** Like apply, for MOVE_APPLY: ignored where `src.lsn` is not above what the set holds. */
  applyMoved(lsn: Lsn, setKey: SetKey, src: { content: number; lsn: Lsn }, txn: TxnBody): Promise<void>;

  checksums(): Promise<{ shards: ShardChecksum[]; applied: Lsn }>;
  sizes(): Promise<ShardSize[]>;
  /** Drops everything (full recovery). */
  wipe(): Promise<void>;
  close(): Promise<void>;
}

/** One transaction's open work in the stores of an instance. Not shared between calls: one statement at a time. */
export interface StoreTxn {
  readonly gid: string;
  readonly hasWrites: boolean;
  /** Opens (once) the set's writer: BEGIN IMMEDIATE. SQLITE_BUSY is XX000: the coordinator holds the locks. */
  heapWriter(setKey: SetKey): Database.Database;
  isWritten(setKey: SetKey): boolean;
  /** Rows into a heap or columnar shard; gives rids. 23505 with the constraint's name and the key's detail on a duplicate. */
  insert(shardId: number, rows: HeapValue[][], firstRid?: number): Promise<number>;
  /** Rows as canonical CSV (see model/task.ts CopyPart). May be called again and again; `finish` comes with freeze. */
  insertCsv(shardId: number, csv: Buffer, rows: number, firstRid?: number): Promise<void>;
  /** Heap: runs `UPDATE/DELETE … RETURNING _rid, c…` (all columns, in order; parameters `?1` …) made by the executor and records the rows. Returns new (update) or old (delete) rows. */
  modifyHeap(shardId: number, op: 'update' | 'delete', sql: string, params: HeapValue[]): { rid: number; row: HeapValue[] }[];
  /** Columnar: deletes rids, inserts rows that `select` yields (`_rid` of the old row first, then all columns) on the transaction's connection. */
  modifyColumnar(shardId: number, op: 'update' | 'delete', select: string): Promise<number>;
  ddl(ddl: StoreDdl[]): Promise<void>;
  /** The transaction's DuckDB connection, with its staging; reads of own columnar changes run on it. */
  duckdb(): Promise<DuckDBConnection>;
  /** Call `duckdb` first, after the last write. SQL of a columnar shard as this transaction sees it: `(shard anti join del union all ins)`, or null where it changed nothing there. Columns `_rid`, `c<attnum>`. */
  overlay(shardId: number): string | null;
  /** Net changes; batch files are durable here when it resolves. After it no more writes. `batches`: those with a file, which the mirror needs. */
  freeze(): Promise<{ ddl: StoreDdl[]; shards: ShardChanges[]; batches: BatchRef[] }>;
  /** After the record is safe: heap sets commit their own SQLite transactions with `applied = lsn`; columnar goes through the applier. */
  publish(lsn: Lsn, txn: TxnBody): Promise<void>;
  rollback(): Promise<void>;
}

/** A statement under way. Call `end`, always; `clean`: its rows have been fetched to the last. */
export interface ColumnarRead {
  readonly connection: DuckDBConnection;
  readonly pending: DuckDBPendingResult;
  end(clean: boolean): void;
}

/** Held read positions. Close it, always. */
export interface StoreSnapshot {
  /** A connection inside a read transaction on the set's file. */
  heap(setKey: SetKey): Database.Database;
  /** A connection inside a read transaction on the columnar database. */
  duckdb(): DuckDBConnection;
  close(): Promise<void>;
}
