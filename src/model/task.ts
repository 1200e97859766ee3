/**
 * What the coordinator asks of one instance: fragments of queries and of writes. Pure data, sent as MessagePack.
 *
 * Conventions for generated SQL:
 * - relations stand as `{{alias}}` and are put in by the executor: for `sqlite` the relation of one shard (a fragment runs
 *   set by set), for `duckdb` one relation over all the task's shards (and the transaction's staged changes);
 * - a column is `c<attnum>`, the stable row id `_rid`; in both engines, in the types that `model/storage.ts` gives;
 * - parameters stand as `$1` … in DuckDB (always wrapped in a cast by the dialect, as in `$1::BIGINT`) and as `?1` … in
 *   SQLite; their values travel as PostgreSQL text with their type OID and are converted to the engine's value by the executor.
 */

import type { Gid, LockName, Lsn } from './log.js';
import type { HeapValue } from './storage.js';
import type { SetKey, ShardDef } from './table.js';

export type Engine = 'sqlite' | 'duckdb';

export interface RelationRef {
  /** `t0`, `t1`, … as it stands in `{{t0}}`. */
  alias: string;
  tableId: number;
  /** attnums that the fragment reads. */
  columns: number[];
  /** Set where `_rid` is read too. */
  withRid?: boolean;
  /** Heap relation of a DuckDB fragment: SQLite condition over `c<attnum>`, applied before rows are carried over. */
  heapFilter?: string;
  /** Types of `columns`: needed where an instance holds no shard of the table, and the relation is empty there. */
  types?: { attnum: number; typeOid: number; typmod: number }[];
}

/** A column of a fragment's result. The engine's value is what `storageOf(typeOid, typmod)` says for that engine,
 *  or wider (DuckDB: HUGEINT, DECIMAL, BIGINT, VARCHAR holding PostgreSQL's text); encoders go by the actual value. */
export interface OutputColumn {
  name: string;
  typeOid: number;
  typmod: number;
}

export interface ParamSpec {
  /** 1-based number in the client's statement: `$n`. */
  n: number;
  typeOid: number;
  typmod: number;
}

export interface Fragment {
  engine: Engine;
  sql: string;
  relations: RelationRef[];
  params: ParamSpec[];
  output: OutputColumn[];
}

/** UPDATE or DELETE on the shards of one table. Expressions are SQL of `engine` over the target's `c<attnum>`. */
export interface ModifyFragment {
  op: 'update' | 'delete';
  /** sqlite for a heap target, duckdb for a columnar one. */
  engine: Engine;
  target: RelationRef;
  assignments: { attnum: number; sql: string }[];
  /** null: all rows. */
  where: string | null;
  params: ParamSpec[];
  /** Over the new row (update) or the old one (delete); null: no RETURNING. */
  returning: { sql: string; output: OutputColumn }[] | null;
  /** attnums that must not become NULL, and how to name them: 23502. */
  notNull: { attnum: number; name: string }[];
  /** For error texts. */
  tableName: string;
}

/** How a fragment's rows come back. */
export type ResultForm =
  /** Concatenated DataRow messages ('D', length, …), ready for the client. One format code for each column: 0 text, 1 binary. */
  | { kind: 'datarow'; formats: number[]; session: OutputSettings }
  /** For DuckDB on the coordinator: the bytes of one Parquet file, columns `o0`, `o1`, …, or, where few rows are expected, blocks (codec/duck-block), one to a part. */
  | { kind: 'parquet' };

/** Session settings that shape text output. */
export interface OutputSettings {
  timeZone: string;
  dateStyle: string;
  intervalStyle: string;
  extraFloatDigits: number;
  byteaOutput: 'hex' | 'escape';
}

export interface Task {
  fragment: Fragment;
  /** alias → shards on this instance. */
  shards: Record<string, number[]>;
  params: (string | null)[];
  form: ResultForm;
  /** The transaction whose own writes are seen; null outside of one. */
  gid: Gid | null;
}

/** Reply of `run`: parts carry rows, the result the figures. */
export interface RunPart {
  bytes: Buffer;
  rows: number;
}
export interface RunResult {
  rows: number;
  bytes: number;
  /** Time on the instance, milliseconds. */
  ms: number;
}

/** A read that is sent often: told once for each connection, and then named by its number. */
export interface KnownRead {
  fragment: Fragment;
  formats: number[];
  session: OutputSettings;
}

/** One execution of a known read, in the order of its parts: stamp, number, a shard for each relation of the fragment, parameters. */
export type QuickRead = [
  timeline: number,
  incarnation: number,
  contentTimeline: number,
  id: number,
  shards: number[],
  params: (string | null)[],
];

/** Its answer: the number of rows and their DataRow messages, or why it is to be sent as `run`. */
export type QuickAnswer = [rows: number, messages: Buffer] | QuickRefusal;
export const QuickRefusal = {
  /** The number is not known here (any more). */
  unknown: 1,
  /** A publication is in the way now. */
  busy: 2,
  /** More rows than one turn should take. */
  large: 3,
} as const;
export type QuickRefusal = (typeof QuickRefusal)[keyof typeof QuickRefusal];

/** A write inside transaction `gid`; the transaction begins on the instance with its first write. */
export type WriteTask =
  | {
      op: 'insert';
      gid: Gid;
      shardId: number /** heap values in the order of the table's columns */;
      rows: HeapValue[][] /** reference tables: first rid, given by the coordinator */;
      firstRid?: number;
    }
  | {
      op: 'modify';
      gid: Gid;
      fragment: ModifyFragment;
      shards: number[];
      params: (string | null)[];
      returning: { formats: number[]; session: OutputSettings } | null;
    }
  | { op: 'ddl'; gid: Gid; ddl: import('./log.js').StoreDdl[] };

export interface WriteResult {
  rows: number;
  /** DataRow messages of RETURNING. */
  returned?: Buffer;
}

/**
 * Bulk insert. Upload parts of the call `copy`: for one shard at a time, whole rows as CSV: fields in the order of the
 * table's columns, `,` between, `\n` after each row, `"` quoted with `""` inside, NULL unquoted and empty, the empty string `""`.
 * Each value is canonical PostgreSQL text (ISO dates, `t`/`f`, UTC offset `+00` for timestamptz, `\x…` for bytea, char(n) trimmed).
 */
export interface CopyPart {
  shardId: number;
  csv: Buffer;
  rows: number;
}
export interface CopyResult {
  rows: number;
}

/** Who speaks, with every message between members (protocols, section 4). */
export interface CoordinatorStamp {
  timeline: number;
  incarnation: number;
  /** Content timeline that the sender believes in. */
  contentTimeline: number;
}

export interface PreparedTxn {
  gid: Gid;
  lsn: Lsn;
  participants: number[];
  locks: LockName[];
}

/** Answer of an instance to `hello`. */
export interface HelloResult {
  dbid: number;
  content: number;
  version: string;
  pid: number;
  role: 'p' | 'm';
  timeline: number;
  /** End of its log, durable. */
  end: Lsn;
  safe: Lsn;
  applied: Lsn;
  prepared: PreparedTxn[];
  sets: SetKey[];
}

/** Answer to `probe` (FTS). */
export interface ProbeResult {
  dbid: number;
  content: number;
  pid: number;
  role: 'p' | 'm';
  timeline: number;
  end: Lsn;
  safe: Lsn;
  applied: Lsn;
  /** Primary: what its mirror has; null without one. */
  mirror: { dbid: number; durable: Lsn; connected: boolean; stalledMs: number } | null;
  /** Primary's way of acknowledging. */
  pairState: import('./topology.js').PairState;
  /** The disk was written and read. */
  diskMs: number;
  rssBytes: number;
}

/** Orders of the coordinator about an instance's role (protocols, section 7). Idempotent. */
export interface RoleOrder {
  stamp: CoordinatorStamp;
  role: 'p' | 'm';
  timeline: number;
  state: import('./topology.js').PairState;
  /** The pair's other instance, where there is one to speak to. */
  peer: { dbid: number; address: string; port: number; datadir: string } | null;
  /** To a primary: make the peer's stores and log anew, whatever it still has (recovery asked for in full). */
  full?: boolean;
}

/** Count and checksum of one shard, for comparing mirror and primary. */
export interface ShardChecksum {
  shardId: number;
  rows: number;
  checksum: string;
}

/** Size of one shard on disk (an estimate for columnar), and its rows. */
export interface ShardSize {
  shardId: number;
  setKey: SetKey;
  bytes: number;
  rows: number;
}

export type { ShardDef };

/** RPC methods of a segment's (and, in process, the coordinator's own) executor. Calls of one connection begin in order of arrival. */
export interface SegmentMethods {
  hello: { in: { stamp: CoordinatorStamp; dbid: number }; out: HelloResult };
  /** Streamed reply: RunPart. */
  run: { in: Task & { stamp: CoordinatorStamp }; out: RunResult };
  /** Makes a read known on this connection under a number of the caller's. */
  know: { in: KnownRead & { stamp: CoordinatorStamp; id: number }; out: Record<string, never> };
  /** A known read of one heap set outside of a transaction, answered in the turn of its arrival or refused. */
  quick: { in: QuickRead; out: QuickAnswer };
  write: { in: WriteTask & { stamp: CoordinatorStamp }; out: WriteResult };
  /** Streamed request: CopyPart. `tableId` names the table, all shards are its. */
  copy: { in: { stamp: CoordinatorStamp; gid: Gid; tableId: number; firstRid?: number }; out: CopyResult };
  prepare: { in: { stamp: CoordinatorStamp; gid: Gid; participants: number[]; locks: LockName[] }; out: { readOnly: boolean } };
  commit1: { in: { stamp: CoordinatorStamp; gid: Gid; locks: LockName[] }; out: { lsn: Lsn } };
  commit2: { in: { stamp: CoordinatorStamp; gid: Gid }; out: { known: boolean } };
  abort: { in: { stamp: CoordinatorStamp; gid: Gid }; out: Record<string, never> };
  /** Is this one-phase gid in the log? */
  outcome: { in: { stamp: CoordinatorStamp; gid: Gid }; out: { committed: boolean } };
  forget: { in: { stamp: CoordinatorStamp; gids: Gid[] }; out: Record<string, never> };
  probe: { in: { stamp: CoordinatorStamp }; out: ProbeResult };
  role: { in: RoleOrder; out: HelloResult };
  checksums: { in: { stamp: CoordinatorStamp; barrier: string | null }; out: { shards: ShardChecksum[]; applied: Lsn } };
  /** Primary: write a BARRIER record; its lsn. Both members then answer `checksums` at that barrier. */
  barrier: { in: { stamp: CoordinatorStamp; id: string }; out: { lsn: Lsn } };
  sizes: { in: { stamp: CoordinatorStamp }; out: { shards: ShardSize[] } };
  stop: { in: { mode: 'smart' | 'fast' | 'immediate' }; out: Record<string, never> };
  /** Source of a move: snapshot of a set. Streamed reply: MovePart; the files, then the result. The log is pinned for `move` until `moveEnd`. */
  moveCopy: {
    in: { stamp: CoordinatorStamp; move: string; setKey: SetKey };
    out: { lsn: Lsn; shards: ShardDef[]; nextRids: [number, number][]; files: import('./log.js').MoveFile[] };
  };
  /** Target: install. Streamed request: MovePart (files), and before or behind them the shapes (moveCopy's result as it is). Logged as MOVE_LOAD, durable on the pair. */
  moveLoad: { in: { stamp: CoordinatorStamp; move: string; setKey: SetKey; source: number }; out: Record<string, never> };
  /** Source: decided transactions of the set after `from`, up to safe. Streamed reply: { lsn, txn }, and before it MovePart (`name`, `offset`, `bytes`) of each batch file too large to be inline; result: the lsn read up to. */
  moveTail: { in: { stamp: CoordinatorStamp; move: string; setKey: SetKey; from: Lsn }; out: { upTo: Lsn } };
  /** Target: apply them as MOVE_APPLY; answered when safe and applied. */
  moveApply: {
    in: {
      stamp: CoordinatorStamp;
      move: string;
      setKey: SetKey;
      source: number;
      txns: { lsn: Lsn; txn: import('./log.js').TxnBody }[] /** all of the source up to here is in */;
      upTo: Lsn /** MovePart parts of larger batch files (those that moveTail streamed) follow as streamed request, before the end */;
      files?: boolean;
    };
    out: { src: Lsn };
  };
  /** Target: how far is it? null: nothing installed. */
  moveState: { in: { stamp: CoordinatorStamp; move: string; setKey: SetKey }; out: { src: Lsn | null } };
  /** Unpin. */
  moveEnd: { in: { stamp: CoordinatorStamp; move: string }; out: Record<string, never> };
  /** Drop a set's files and shards, logged. */
  dropSet: { in: { stamp: CoordinatorStamp; setKey: SetKey }; out: Record<string, never> };
}

/** Chunk of a file of a move or a full recovery. */
export interface MovePart {
  name: string;
  offset: number;
  bytes: Buffer;
}

/** RPC methods between the two instances of a pair, on the primary's own connection to its mirror. */
export interface ReplicationMethods {
  /** Mirror's position. The primary compares, sends what is missing, cuts what was never safe. */
  replHello: {
    in: { dbid: number; content: number; timeline: number; history: [timeline: number, start: Lsn][]; end: Lsn; safe: Lsn };
    out: {
      end: Lsn;
      timeline: number;
      history: [number, Lsn][] /** highest of any store */;
      applied: Lsn;
      lastCrc: number /** a full recovery was not finished */;
      incomplete: boolean /** highest position of the sets that the last full recovery brought; the log reaches it later */;
      imported: Lsn;
    };
  };
  /** Log bytes from `lsn` on; records whole. Answered with the durable end, after fdatasync. */
  replAppend: { in: { timeline: number; lsn: Lsn; bytes: Buffer; safe: Lsn }; out: { durable: Lsn; applied: Lsn } };
  replBatch: {
    in: { timeline: number; name: string; offset: number; bytes: Buffer; last: boolean; checksum: string };
    out: Record<string, never>;
  };
  replCut: { in: { timeline: number; end: Lsn }; out: Record<string, never> };
  /** Full recovery: the mirror's stores and log are made anew. */
  replReset: {
    in: { timeline: number; history: [number, Lsn][]; from: Lsn /** CRC of the record before `from` */; crc: number };
    out: Record<string, never>;
  };
  replFile: {
    in: {
      timeline: number;
      setKey: SetKey;
      applied: Lsn;
      shards: ShardDef[];
      nextRids: [number, number][];
      part: MovePart | null;
      last: boolean;
      files: import('./log.js').MoveFile[];
    };
    out: Record<string, never>;
  };
  /** Full recovery: what an instance holds beside shard stores (the standby: the catalog), as its primary exported it at `lsn`. */
  replState: { in: { timeline: number; lsn: Lsn; bytes: Buffer }; out: Record<string, never> };
  /** Full recovery: everything has been sent. */
  replDone: { in: { timeline: number; imported: Lsn }; out: Record<string, never> };
}
