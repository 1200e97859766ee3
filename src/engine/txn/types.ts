/**
 * What sessions and dispatch use of transactions, locks and links. The rules are in the protocols (sections 3 to 6);
 * here is who calls what, and when:
 *
 * - write: `txn.lock(...)` first, *then* look the placement up, then `await txn.enlist(content)` for each content, then send;
 * - read: `links.now(content)` and the placement in one turn with sending; `links.reads.begin()` in that turn, `end()` when
 *   the last row has come, so that a moved set is not dropped under a reader;
 * - DDL: `table:<id>` X; every other use of a table (reads included) takes `table:<id>` S.
 */
import type { CatalogOp } from '../../model/catalog.js';
import type { Gid, LockName } from '../../model/log.js';
import type { CoordinatorStamp, KnownRead, QuickAnswer, SegmentMethods } from '../../model/task.js';
import type { OpenCall } from '../../rpc/types.js';

export type SegmentMethodName = keyof SegmentMethods;
/** What goes in, without the stamp: the connection adds it. */
export type MethodInput<M extends SegmentMethodName> = WithoutStamp<SegmentMethods[M]['in']>;
/** Of each member of a union by itself. */
type WithoutStamp<Input> = Input extends unknown ? Omit<Input, 'stamp'> : never;
export type MethodOutput<M extends SegmentMethodName> = SegmentMethods[M]['out'];

/** One FIFO stream to the primary of a content (or to this process's own engine, content -1), of one connection generation. */
export interface Connection {
  readonly content: number;
  readonly dbid: number;
  /** Raised with each new connection to the content. */
  readonly generation: number;
  readonly closed: boolean;
  /** Written to the stream in the turn of the call. Rejects with ConnectionLost when the connection goes. */
  call<M extends SegmentMethodName>(
    method: M,
    body: MethodInput<M>,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<MethodOutput<M>>;
  open<M extends SegmentMethodName>(method: M, body: MethodInput<M>): OpenCall<MethodOutput<M>>;
  /**
   * Sends a known read, told to the instance first where this connection has not named it yet. `done` once, in a later turn; the answer
   * may be a refusal: then the read is to be sent as `run`.
   */
  quick(
    read: KnownRead,
    shards: number[],
    params: (string | null)[],
    done: (error: unknown, answer: QuickAnswer | undefined) => void,
  ): void;
  onClose(listener: (reason: Error) => void): void;
}

/** Links to the current primary of each content. */
export interface Links {
  /** The link, or null where none is ready at this moment. Never waits: for sending to several in one turn. */
  now(content: number): Connection | null;
  /** Waits (bounded) while a connection is made or a failover is being decided. 57P03 with a hint when the segment is down. */
  of(content: number): Promise<Connection>;
  /** All of them ready in the same turn in which it resolves. */
  all(contents: Iterable<number>): Promise<Map<number, Connection>>;
  stamp(content: number): CoordinatorStamp;
  readonly reads: ReadRegistry;
}

/** Open readings of shards, oldest first. */
export interface ReadRegistry {
  begin(): ReadToken;
  /** Resolves when every reading that is open now has ended. */
  drained(signal?: AbortSignal): Promise<void>;
  /** Milliseconds since the oldest open one began; null without any. */
  oldestMs(): number | null;
}

export interface ReadToken {
  end(): void;
}

export interface LockOptions {
  /** lock_timeout in ms, 0 or absent: no limit. 55P03. */
  timeoutMs?: number;
  /** Cancel request: 57014 unless the reason is an Error, which is thrown then. */
  signal?: AbortSignal;
  /** A short try that gives up by itself: nobody else is refused with 40P01 because of it. */
  yields?: boolean;
}

/** ACTIVE → PREPARING → DECIDED → COMMITTED, or COMMITTING (one-phase) → COMMITTED | ABORTED | UNKNOWN; ABORTED from the first two. */
export type TxnState = 'ACTIVE' | 'PREPARING' | 'COMMITTING' | 'DECIDED' | 'COMMITTED' | 'ABORTED' | 'UNKNOWN';

/** A client's transaction on the cluster. Not for concurrent use: one statement at a time. */
export interface Transaction {
  readonly gid: Gid;
  readonly state: TxnState;
  readonly startedMs: number;
  /** Contents that have been enlisted for writing, -1 included. */
  readonly participants: readonly number[];
  /** Catalog changes so far; `catalog.overlay(txn.catalogOps)` shows them. */
  readonly catalogOps: readonly CatalogOp[];
  /** True when it wrote anything: rows or catalog. */
  readonly hasWrites: boolean;

  /** All or none, in a fixed order. Held until the transaction has ended everywhere. 40P01, 55P03, 57014. */
  lock(names: LockName[], options?: LockOptions): Promise<void>;
  /** Lets go of locks that were taken since (a statement that failed before it wrote anything, a read in READ COMMITTED). */
  unlock(names: LockName[]): void;
  /** The connection on which it writes at `content`. 40001 when that of an earlier write of this transaction is gone. */
  enlist(content: number): Promise<Connection>;
  /** Changes that take effect with the commit, in its one record. */
  addCatalog(ops: CatalogOp[]): void;
  /** Drops catalog changes behind the first `length` (ROLLBACK TO SAVEPOINT). */
  truncateCatalog(length: number): void;
  /** Run, in order, after the decision is safe and the catalog shows it: the front commits here. An error in it is logged, never an abort. */
  onDecided(action: () => Promise<void>): void;
  /** Run once when it did not commit. */
  onAborted(action: () => Promise<void>): void;

  /** One-phase or two-phase. After it resolves the commit is durable on every in-sync member. 40001 when it did not happen, 08007 when nobody can say. */
  commit(): Promise<void>;
  /** Idempotent; never throws. */
  abort(): Promise<void>;
}

export interface TransactionManager {
  begin(): Transaction;
  /** True where a reader in this turn would get these locks (shared) at once. */
  shared(names: readonly string[]): boolean;
  /** Active ones, for `damson state` and pg_stat_activity. */
  active(): Transaction[];
  /** Gids that are decided but not acknowledged by all, or in doubt. */
  outstanding(): { gid: Gid; participants: number[] }[];
}
