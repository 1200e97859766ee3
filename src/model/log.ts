/** Bodies of change log records (protocols, section 1). Encoded with MessagePack by `engine/changelog`. */

import type { CatalogOp } from './catalog.js';
import type { HeapValue } from './storage.js';
import type { IndexDef, SetKey, ShardDef } from './table.js';

/** Byte position in a change log; goes on over promotions and restarts. */
export type Lsn = number;

/** `<coordinator timeline>.<incarnation>.<number>`, never reused. */
export type Gid = string;

/** A file of rows that a record refers to, durable on both members before the record is written; small ones are inline. */
export interface BatchRef {
  /** File name under `batches/` of the instance's log directory; unique on the instance. */
  name: string;
  /** parquet: hidden column `_rid` BIGINT, then one column for each attnum, named `c<attnum>`. rows: MessagePack arrays of StoreRow, one after the other. */
  format: 'parquet' | 'rows';
  rows: number;
  bytes: number;
  /** SHA-256, hex. */
  checksum: string;
  /** The file's content where it is small (≤ 256 KiB): no file exists then. */
  inline?: Buffer;
}

/** `[rid, value of the first column, …]` in the order of the shard's columns, heap values. */
export type StoreRow = [rid: number, ...values: HeapValue[]];

/** Net changes of one shard: rids deleted, then rows inserted. Complete rows, never statements. */
export interface ShardChanges {
  shardId: number;
  /** First rid that is not given yet, after this transaction. */
  nextRid: number;
  deleted: number[];
  inserted: StoreRow[];
  batches: BatchRef[];
}

/** Changes to what stores hold; applied before the row changes of the same transaction. */
export type StoreDdl =
  | { op: 'createShard'; shard: ShardDef }
  | { op: 'dropShard'; shardId: number }
  | { op: 'truncateShard'; shardId: number }
  | { op: 'createIndex'; shardId: number; index: IndexDef }
  | { op: 'dropIndex'; shardId: number; name: string }
  /** The set has moved away, or never arrived: file and shards go. */
  | { op: 'dropSet'; setKey: SetKey };

/** Lock on the coordinator: `set:<key>` for heap, `shard:<id>` for columnar, `table:<id>` for DDL. */
export interface LockName {
  name: string;
  mode: 'X' | 'A' | 'W' | 'S';
}

export interface TxnBody {
  /** Contents that take part; one for a one-phase transaction. */
  participants: number[];
  locks: LockName[];
  ddl: StoreDdl[];
  shards: ShardChanges[];
}

export type LogBody =
  | { k: 'TXN'; gid: Gid; txn: TxnBody }
  | { k: 'PREPARE'; gid: Gid; txn: TxnBody }
  /** With the lsn of its PREPARE. */
  | { k: 'COMMIT'; gid: Gid; prepareLsn: Lsn }
  | { k: 'ABORT'; gid: Gid }
  /** The coordinator's, the commit of a two-phase transaction, with its own rows and catalog changes. */
  | { k: 'DECISION'; gid: Gid; participants: number[]; txn: TxnBody | null; catalog: CatalogOp[] }
  | { k: 'FORGET'; gid: Gid }
  | { k: 'STATE'; catalog: CatalogOp[] }
  | { k: 'BARRIER'; id: string }
  /** A moved set is installed from files that are durable on target and mirror. */
  | {
      k: 'MOVE_LOAD';
      move: string;
      setKey: SetKey;
      src: { content: number; lsn: Lsn };
      shards: ShardDef[];
      nextRids: [shardId: number, nextRid: number][];
      files: MoveFile[];
    }
  /** A transaction of the source, caught up. Repeats (src lsn not above what the set holds) are ignored. */
  | { k: 'MOVE_APPLY'; move: string; setKey: SetKey; src: { content: number; lsn: Lsn }; txn: TxnBody }
  | { k: 'CHECKPOINT'; openPrepares: { gid: Gid; lsn: Lsn }[] };

/** A file of a set's snapshot, under `batches/` of the log directory. */
export interface MoveFile {
  name: string;
  /** heap: the set's SQLite database (with its WAL folded in). parquet: one columnar shard, as BatchRef says. */
  kind: 'heap' | 'parquet';
  shardId?: number;
  rows?: number;
  bytes: number;
  checksum: string;
}

export interface LogRecord {
  /** Position of the record's first byte. */
  lsn: Lsn;
  /** Position after its last byte: "durable up to end" covers it. */
  end: Lsn;
  timeline: number;
  body: LogBody;
}
