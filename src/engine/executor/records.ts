/**
 * The effects of log records on stores, catalog and memory, in lsn order and never beyond safe: what a mirror does all the
 * time, and every instance when it starts or is promoted.
 */
import { DamsonError } from '../../core/errors.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { LogRecord, Lsn, TxnBody } from '../../model/log.js';
import type { ChangeLog } from '../changelog/types.js';
import type { Stores } from '../store/types.js';
import type { Transactions } from './transactions.js';

/** Longest time for which applied columnar changes stay gathered, milliseconds. */
const GATHER_MS = 2000;

export interface RecordHooks {
  onCatalog(ops: CatalogOp[], lsn: Lsn): void;
  /** Everything before the barrier is applied; nothing behind it is until this resolves. */
  onBarrier(id: string): Promise<void>;
  onCheckpoint(lsn: Lsn): Promise<void>;
  onFatal(error: Error): void;
}

export class RecordApplier {
  /** End of the last record whose effects are in. */
  position: Lsn;
  /** What every store holds durably: records up to here are read for their gids alone. */
  private floor: Lsn;
  /** The safe position up to which the log has been read. */
  private seen = -1;
  private running: Promise<void> | null = null;
  private unsubscribe: (() => void) | null = null;
  private lastFlush = performance.now();
  private waiters: { upTo: Lsn; resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(
    private readonly log: ChangeLog,
    private readonly stores: Stores,
    private readonly transactions: Transactions,
    private readonly hooks: RecordHooks,
  ) {
    this.position = log.start;
    this.floor = stores.applied();
  }

  /** Starts again at the oldest record: memory is rebuilt, stores skip what they have. */
  restart(): void {
    this.position = this.log.start;
    this.floor = this.stores.applied();
    this.seen = -1;
    this.transactions.clearRead();
  }

  /** Applies what is safe, now and whenever more is, until `stop`. */
  follow(): void {
    this.unsubscribe ??= this.log.onProgress(() => this.wake());
    this.wake();
  }

  /** Ends after the record in hand; no more is applied. */
  async stop(): Promise<void> {
    this.unsubscribe?.();
    this.unsubscribe = null;
    const stopped = new DamsonError('applying was stopped');
    for (const waiter of this.waiters.splice(0)) waiter.reject(stopped);
    await this.running?.catch(() => undefined);
    await this.stores.flush();
  }

  /** Resolves when all records that end at or before `upTo` are in and flushed. Only while it follows. */
  async reached(upTo: Lsn): Promise<void> {
    if (this.position < upTo) {
      await new Promise<void>((resolve, reject) => {
        this.waiters.push({ upTo, resolve, reject });
        this.wake();
      });
    }
    await this.stores.flush();
  }

  private wake(): void {
    // After a restart safe may stand inside a record, at a store's `applied`: then there is nothing to do until it rises.
    if (this.running !== null || this.unsubscribe === null || this.log.safe <= this.seen) return;
    this.running = this.applySafe()
      .catch((error: unknown) => this.hooks.onFatal(error instanceof Error ? error : new Error(String(error))))
      .finally(() => {
        this.running = null;
        this.wake();
      });
  }

  private async applySafe(): Promise<void> {
    const upTo = this.log.safe;
    this.seen = upTo;
    for await (const record of this.log.read(this.position, upTo)) {
      if (record.end > upTo) break;
      if (this.unsubscribe === null) {
        this.seen = this.position;
        break;
      }
      await this.apply(record);
      this.stores.passed(record.lsn);
      this.position = record.end;
      if (performance.now() - this.lastFlush > GATHER_MS) await this.flush();
      this.settle();
    }
    if (performance.now() - this.lastFlush > GATHER_MS) await this.flush();
    this.settle();
  }

  private async flush(): Promise<void> {
    await this.stores.flush();
    this.lastFlush = performance.now();
  }

  private settle(): void {
    this.waiters = this.waiters.filter((waiter) => {
      if (waiter.upTo > this.position) return true;
      waiter.resolve();
      return false;
    });
  }

  private async apply(record: LogRecord): Promise<void> {
    const { body, lsn } = record;
    // New stores say 0, which is the first record's lsn too; they skip what they have.
    const inStores = this.floor > 0 && lsn <= this.floor;
    switch (body.k) {
      case 'TXN':
        this.transactions.remember(body.gid, lsn);
        return inStores ? undefined : this.stores.apply(lsn, body.txn);
      case 'PREPARE': {
        const { participants, locks } = body.txn;
        // Its rids are given, though no store has its rows.
        for (const { shardId, nextRid } of body.txn.shards) this.stores.raiseNextRid(shardId, nextRid);
        this.transactions.prepared.set(body.gid, { gid: body.gid, lsn, participants, locks, txn: body.txn, owner: null });
        return;
      }
      case 'COMMIT': {
        this.transactions.remember(body.gid, lsn);
        const txn = this.transactions.prepared.get(body.gid)?.txn;
        this.transactions.prepared.delete(body.gid);
        // A PREPARE that the log no longer reaches is one whose COMMIT is in every store.
        return inStores ? undefined : this.stores.apply(lsn, txn ?? (await preparedBody(this.log, body.prepareLsn)));
      }
      case 'ABORT':
        this.transactions.prepared.delete(body.gid);
        return;
      case 'DECISION':
        if (body.txn !== null && !inStores) await this.stores.apply(lsn, body.txn);
        if (body.catalog.length > 0) this.hooks.onCatalog(body.catalog, lsn);
        return;
      case 'STATE':
        return this.hooks.onCatalog(body.catalog, lsn);
      case 'FORGET':
        return;
      case 'BARRIER':
        return this.hooks.onBarrier(body.id);
      case 'MOVE_LOAD':
        if (inStores) return;
        return this.stores.importSet(
          lsn,
          body.setKey,
          body.shards,
          body.nextRids,
          body.files,
          (name) => this.log.batchPath(name),
          body.src,
        );
      case 'MOVE_APPLY':
        return inStores ? undefined : this.stores.applyMoved(lsn, body.setKey, body.src, body.txn);
      case 'CHECKPOINT':
        return this.hooks.onCheckpoint(lsn);
    }
  }
}

/** The rows of a PREPARE, from the log. */
export async function preparedBody(log: ChangeLog, lsn: Lsn): Promise<TxnBody> {
  for await (const record of log.read(lsn)) {
    if (record.lsn === lsn && record.body.k === 'PREPARE') return record.body.txn;
    break;
  }
  throw new DamsonError(`the log holds no PREPARE at ${lsn}`, { hint: 'The instance needs a full recovery: damson recover -F.' });
}
