import type { Logger } from '../../core/log.js';
import type { Gid } from '../../model/log.js';
import type { HelloResult } from '../../model/task.js';
import type { Catalog } from '../catalog/types.js';
import type { InstanceEngine } from '../executor/types.js';
import { abortTransaction, type CommitDeps, type CommitParts, commitTransaction } from './commit.js';
import type { ClusterLinks } from './links.js';
import { LockManager } from './lock-manager.js';
import { Outstanding } from './outstanding.js';
import { ClusterTransaction } from './transaction.js';
import type { Connection, Transaction, TransactionManager, TxnState } from './types.js';

/** A hello that lists such a transaction as prepared leaves it to its commit. */
const MAY_STILL_DECIDE: ReadonlySet<TxnState> = new Set(['ACTIVE', 'PREPARING', 'COMMITTING', 'DECIDED']);

export interface ManagerOptions {
  catalog: Catalog;
  engine: Pick<InstanceEngine, 'decide' | 'state' | 'forget'>;
  /** Durable before the manager is made: its gids are never given again. */
  coordinator: { timeline: number; incarnation: number };
  logger: Logger;
  outcomeLimitMs?: number;
}

/** Gives transactions their numbers, ends them, and settles what earlier incarnations left in doubt. Links are set once they exist. */
export class ClusterTransactions implements TransactionManager {
  readonly locks = new LockManager();
  private readonly live = new Map<Gid, ClusterTransaction>();
  private readonly outstandingOnes: Outstanding;
  private links: ClusterLinks | null = null;
  private number = 0;

  constructor(private readonly options: ManagerOptions) {
    this.outstandingOnes = new Outstanding({
      catalog: options.catalog,
      engine: options.engine,
      locks: this.locks,
      links: () => this.theLinks(),
      isActive: (gid) => MAY_STILL_DECIDE.has(this.live.get(gid)?.state ?? 'ABORTED'),
      logger: options.logger,
    });
  }

  useLinks(links: ClusterLinks): void {
    this.links = links;
  }

  begin(): Transaction {
    const { timeline, incarnation } = this.options.coordinator;
    this.number += 1;
    const gid = `${timeline}.${incarnation}.${this.number}`;
    const txn = new ClusterTransaction(gid, this.parts());
    this.live.set(gid, txn);
    return txn;
  }

  shared(names: readonly string[]): boolean {
    for (const name of names) if (!this.locks.shared(name)) return false;
    return true;
  }

  active(): Transaction[] {
    return [...this.live.values()];
  }

  /** Transactions that have written at the content and have not ended. */
  writersOf(content: number): Transaction[] {
    return this.active().filter((txn) => txn.participants.includes(content));
  }

  outstanding(): { gid: Gid; participants: number[] }[] {
    return this.outstandingOnes.list();
  }

  /** For ClusterLinks. */
  onReady(connection: Connection, hello: HelloResult): void {
    this.outstandingOnes.onReady(connection, hello);
  }

  async close(): Promise<void> {
    await Promise.all(this.active().map((txn) => txn.abort()));
    await this.outstandingOnes.close();
  }

  private theLinks(): ClusterLinks {
    if (this.links === null) throw new Error('links are not set');
    return this.links;
  }

  private deps(): CommitDeps {
    const { catalog, engine, logger, outcomeLimitMs } = this.options;
    const deps: CommitDeps = {
      catalog,
      locks: this.locks,
      links: this.theLinks(),
      engine,
      outstanding: this.outstandingOnes,
      logger,
    };
    return outcomeLimitMs === undefined ? deps : { ...deps, outcomeLimitMs };
  }

  private parts(): CommitParts {
    const deps = this.deps();
    const ended = (txn: ClusterTransaction) => this.live.delete(txn.gid);
    return {
      locks: this.locks,
      links: deps.links,
      logger: deps.logger,
      commit: (txn) => commitTransaction(deps, txn).finally(() => ended(txn)),
      abort: (txn) => abortTransaction(deps, txn).finally(() => ended(txn)),
    };
  }
}
