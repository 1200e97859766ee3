import { SqlError } from '../../core/errors.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { Gid, LockName } from '../../model/log.js';
import { COORDINATOR_CONTENT } from '../../model/topology.js';
import { ConnectionLost } from '../../rpc/errors.js';
import type { CommitParts } from './commit.js';
import { nextTxnState } from './states.js';
import type { Connection, LockOptions, Transaction, TxnState } from './types.js';

/** A client's transaction; its commit is in commit.ts. */
export class ClusterTransaction implements Transaction {
  readonly startedMs = Date.now();
  private phase: TxnState = 'ACTIVE';
  private readonly writers = new Map<number, Connection>();
  private readonly ops: CatalogOp[] = [];
  private readonly decidedActions: (() => Promise<void>)[] = [];
  private readonly abortedActions: (() => Promise<void>)[] = [];
  private ending: Promise<void> | null = null;

  constructor(
    readonly gid: Gid,
    private readonly parts: CommitParts,
  ) {}

  get state(): TxnState {
    return this.phase;
  }

  get participants(): readonly number[] {
    return [...this.writers.keys()];
  }

  get catalogOps(): readonly CatalogOp[] {
    return this.ops;
  }

  get hasWrites(): boolean {
    return this.writers.size > 0 || this.ops.length > 0;
  }

  /** Contents and the connections on which they were written. */
  get connections(): ReadonlyMap<number, Connection> {
    return this.writers;
  }

  lock(names: LockName[], options: LockOptions = {}): Promise<void> {
    this.mustBeActive();
    return this.parts.locks.acquire(this.gid, names, options);
  }

  unlock(names: LockName[]): void {
    this.parts.locks.release(this.gid, names);
  }

  async enlist(content: number): Promise<Connection> {
    this.mustBeActive();
    const known = this.writers.get(content);
    if (known !== undefined) {
      // Its writes went with the connection, whatever is connected now.
      if (known.closed) throw writesLost(content);
      return known;
    }
    const connection =
      content === COORDINATOR_CONTENT ? this.parts.links.evenPaused(content) : await this.parts.links.of(content);
    if (connection === null) throw writesLost(content);
    this.mustBeActive();
    this.writers.set(content, connection);
    return connection;
  }

  addCatalog(ops: CatalogOp[]): void {
    this.mustBeActive();
    this.ops.push(...ops);
  }

  truncateCatalog(length: number): void {
    this.ops.length = Math.min(this.ops.length, length);
  }

  onDecided(action: () => Promise<void>): void {
    this.decidedActions.push(action);
  }

  onAborted(action: () => Promise<void>): void {
    this.abortedActions.push(action);
  }

  commit(): Promise<void> {
    this.mustBeActive();
    this.ending = this.parts.commit(this);
    return this.ending;
  }

  async abort(): Promise<void> {
    if (this.phase === 'ACTIVE') {
      this.to('ABORTED');
      this.ending = this.parts.abort(this);
    }
    await this.ending?.catch(() => undefined);
  }

  to(state: TxnState): void {
    this.phase = nextTxnState(this.gid, this.phase, state);
  }

  /** The front and its kin, after the decision: what fails there is made again from the journal, and never undoes it. */
  async runDecided(): Promise<void> {
    await this.runAll(this.decidedActions, 'after the decision');
  }

  async runAborted(): Promise<void> {
    await this.runAll(this.abortedActions, 'after an abort');
  }

  private async runAll(actions: (() => Promise<void>)[], when: string): Promise<void> {
    for (const action of actions.splice(0)) {
      try {
        await action();
      } catch (error) {
        this.parts.logger.error({ gid: this.gid, err: error }, `an action ${when} failed`);
      }
    }
  }

  private mustBeActive(): void {
    if (this.phase !== 'ACTIVE') throw new SqlError('25000', `transaction ${this.gid} is ${this.phase}`);
  }
}

function writesLost(content: number): SqlError {
  return new SqlError('40001', `the connection to segment ${content} was lost, and with it this transaction's changes`, {
    hint: 'Run the transaction again; `damson state` shows the segments.',
  });
}

export function isConnectionLost(error: unknown): boolean {
  return error instanceof ConnectionLost || (error instanceof Error && error.name === 'ConnectionLost');
}
