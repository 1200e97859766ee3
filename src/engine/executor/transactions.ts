/** Transactions of sessions on this instance, by gid, and the outcomes of those that have ended. */
import { internalError, SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { Gid, LockName, Lsn, StoreDdl, TxnBody } from '../../model/log.js';
import type { ShardDef } from '../../model/table.js';
import type { PreparedTxn } from '../../model/task.js';
import type { ServerConnection } from '../../rpc/types.js';
import type { Stores, StoreTxn } from '../store/types.js';
import { writeError } from './errors.js';
import { nextPhase, type TxnEvent, type TxnPhase } from './txn-states.js';

/** One-phase outcomes that are remembered when nobody forgets them: far more than a coordinator can have in flight. */
const MAX_OUTCOMES = 200_000;

export class InstanceTxn {
  phase: TxnPhase = 'ACTIVE';
  /** Settles with the publication of its COMMIT or TXN. */
  publication: Promise<unknown> | null = null;
  private tail: Promise<unknown> = Promise.resolve();
  /** Shards that it has made; nobody else sees them yet. */
  private readonly made = new Map<number, ShardDef>();

  constructor(
    readonly gid: Gid,
    readonly store: StoreTxn,
    readonly connection: ServerConnection,
  ) {}

  noteDdl(ddl: readonly StoreDdl[]): void {
    for (const one of ddl) if (one.op === 'createShard') this.made.set(one.shard.shardId, one.shard);
  }

  /** A shard as this transaction sees it. */
  shard(stores: Stores, shardId: number): ShardDef {
    return this.made.get(shardId) ?? stores.shard(shardId);
  }

  go(event: TxnEvent): void {
    this.phase = nextPhase(this.gid, this.phase, event);
  }

  /** One statement at a time: begins when those before it have ended, however they ended. */
  queue<T>(work: () => Promise<T>): Promise<T> {
    const next = this.tail.then(work, work);
    this.tail = next.catch(() => undefined);
    return next;
  }

  /** A write: one that fails half done leaves only abort. */
  write<T>(work: () => Promise<T>): Promise<T> {
    return this.queue(async () => {
      if (this.phase !== 'ACTIVE') throw this.notActive();
      try {
        return await work();
      } catch (error) {
        if (this.phase === 'ACTIVE') this.go('fail');
        throw writeError(error);
      }
    });
  }

  notActive(): SqlError {
    if (this.phase === 'FAILED') {
      return new SqlError('25P02', 'current transaction is aborted, commands ignored until end of transaction block');
    }
    return new SqlError('40001', `transaction ${this.gid} has ended on this instance (${this.phase})`);
  }
}

/** A vote that was given: its PREPARE is in the log. `store` is missing after a restart or promotion. */
export interface PreparedHere extends PreparedTxn {
  txn: TxnBody;
  owner: InstanceTxn | null;
}

export class Transactions {
  private readonly live = new Map<Gid, InstanceTxn>();
  readonly prepared = new Map<Gid, PreparedHere>();
  /** gid of each TXN and COMMIT in the log, oldest first. */
  private readonly committed = new Map<Gid, Lsn>();

  constructor(
    private readonly stores: Stores,
    private readonly logger: Logger,
  ) {}

  find(gid: Gid): InstanceTxn | undefined {
    return this.live.get(gid);
  }

  /** The transaction of a write; begins with its first one. */
  begin(gid: Gid, connection: ServerConnection): InstanceTxn {
    const found = this.live.get(gid);
    if (found !== undefined) {
      if (found.connection !== connection) throw internalError(`transaction ${gid} belongs to another connection`);
      return found;
    }
    if (this.prepared.has(gid) || this.committed.has(gid)) throw internalError(`transaction ${gid} has ended already`);
    const txn = new InstanceTxn(gid, this.stores.openTxn(gid), connection);
    this.live.set(gid, txn);
    this.watch(connection);
    return txn;
  }

  /** A transaction that must have written here: after a lost connection or a restart it is gone. */
  need(gid: Gid): InstanceTxn {
    const txn = this.live.get(gid);
    if (txn === undefined) {
      throw new SqlError('40001', 'the transaction was lost on a segment', { hint: 'Run the transaction again.' });
    }
    return txn;
  }

  ended(txn: InstanceTxn): void {
    if (this.live.get(txn.gid) === txn) this.live.delete(txn.gid);
  }

  /** A lost connection aborts what is not prepared on it. */
  private watch(connection: ServerConnection): void {
    if (connection.state.has('transactions')) return;
    connection.state.set('transactions', true);
    connection.onClose(() => {
      void this.abortWhere((txn) => txn.connection === connection);
    });
  }

  /** Aborts what matches and is not in the log yet. */
  async abortWhere(matches: (txn: InstanceTxn) => boolean): Promise<void> {
    const aborting = [...this.live.values()].filter(matches).map((txn) => this.abortUnprepared(txn));
    for (const result of await Promise.allSettled(aborting)) {
      if (result.status === 'rejected') this.logger.error({ err: result.reason }, 'a transaction could not be rolled back');
    }
  }

  /** Rolls back unless the log has it. What runs sees the phase and stops; the rollback comes behind it. */
  async abortUnprepared(txn: InstanceTxn): Promise<void> {
    if (txn.phase !== 'ACTIVE' && txn.phase !== 'FAILED' && txn.phase !== 'FREEZING') return;
    txn.go('abort');
    await txn.queue(() => txn.store.rollback());
    this.ended(txn);
  }

  committedAt(gid: Gid): Lsn | undefined {
    return this.committed.get(gid);
  }

  remember(gid: Gid, lsn: Lsn): void {
    this.committed.set(gid, lsn);
    if (this.committed.size > MAX_OUTCOMES) this.committed.delete(this.committed.keys().next().value as Gid);
  }

  forget(gids: Iterable<Gid>): void {
    for (const gid of gids) this.committed.delete(gid);
  }

  /** Lowest PREPARE that is not decided: the log is kept from there. */
  oldestPrepare(): Lsn | undefined {
    let oldest: Lsn | undefined;
    for (const { lsn } of this.prepared.values()) if (oldest === undefined || lsn < oldest) oldest = lsn;
    return oldest;
  }

  preparedList(): PreparedTxn[] {
    return [...this.prepared.values()].map(({ gid, lsn, participants, locks }) => ({ gid, lsn, participants, locks }));
  }

  all(): InstanceTxn[] {
    return [...this.live.values()];
  }

  /** Refuses a write to what a prepared transaction without an open store transaction has locked (protocols, section 3). */
  checkRestoredLocks(names: readonly LockName[]): void {
    for (const prepared of this.prepared.values()) {
      if (prepared.owner !== null) continue;
      for (const held of prepared.locks) {
        if (names.some((wanted) => wanted.name === held.name && !compatible(wanted.mode, held.mode))) {
          throw new SqlError('55P03', `${held.name} is locked by the prepared transaction ${prepared.gid}`, {
            hint: 'It is decided when all of its participants can be reached.',
          });
        }
      }
    }
  }

  /** The role is lost, or the instance ends: nothing here goes on. What the log has is left to whoever reads it. */
  async abandon(): Promise<void> {
    for (const txn of this.all()) {
      if (txn.phase !== 'COMMITTED' && txn.phase !== 'ABORTED') txn.go('loseRole');
      await txn
        .queue(() => txn.store.rollback())
        .catch((error: unknown) => {
          this.logger.error({ err: error, gid: txn.gid }, 'rollback failed');
        });
      this.ended(txn);
    }
  }

  /** Before the log is read again from its start. */
  clearRead(): void {
    this.prepared.clear();
    this.committed.clear();
  }
}

/** A with A and W, S with S and A; else exclusive. */
export function compatible(a: LockName['mode'], b: LockName['mode']): boolean {
  const pair = a < b ? `${a}${b}` : `${b}${a}`;
  return pair === 'AA' || pair === 'AW' || pair === 'SS' || pair === 'AS';
}
