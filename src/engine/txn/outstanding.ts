import type { Logger } from '../../core/log.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { Gid } from '../../model/log.js';
import type { HelloResult } from '../../model/task.js';
import type { CatalogView } from '../catalog/types.js';
import type { InstanceEngine } from '../executor/types.js';
import type { ClusterLinks } from './links.js';
import type { LockManager } from './lock-manager.js';
import { isConnectionLost } from './transaction.js';
import type { Connection } from './types.js';

/** Outcomes that a segment may forget are told in batches. */
const FORGET_BATCH = 256;
const FORGET_IDLE_MS = 2000;

export interface OutstandingDeps {
  catalog: CatalogView;
  engine: Pick<InstanceEngine, 'state' | 'forget'>;
  locks: LockManager;
  links: () => Pick<ClusterLinks, 'evenPaused'>;
  /** Transactions of this incarnation that may still be decided. */
  isActive(gid: Gid): boolean;
  logger: Logger;
}

/**
 * Decisions until every participant has acknowledged its second phase, and what a `hello` brings up: prepared transactions of
 * which this coordinator knows a decision are committed, those that it does not know and that are not active are aborted.
 */
export class Outstanding {
  private readonly open = new Map<Gid, Set<number>>();
  private readonly undetermined = new Set<Gid>();
  private readonly forgettable: Gid[] = [];
  private readonly told = new Map<number, Gid[]>();
  private timer: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(private readonly deps: OutstandingDeps) {
    for (const { gid, participants } of deps.catalog.rowsOf('decision')) this.open.set(gid, new Set(participants));
  }

  list(): { gid: Gid; participants: number[] }[] {
    return [...this.open].map(([gid, participants]) => ({ gid, participants: [...participants] }));
  }

  /** Catalog changes that go along with a decision: its own row, and the rows of those that all have acknowledged. */
  decisionOps(gid: Gid, voters: number[]): CatalogOp[] {
    const ops = this.forgetOps();
    if (voters.length > 0) ops.push({ kind: 'decision', key: gid, row: { gid, participants: voters } });
    return ops;
  }

  /** From here on a hello must not abort it. */
  deciding(gid: Gid): void {
    this.undetermined.add(gid);
  }

  undecided(gid: Gid): void {
    this.undetermined.delete(gid);
  }

  /** DECISION is safe: sends the second phase to all in this turn. Locks go when all have acknowledged. */
  decided(gid: Gid, voters: number[]): void {
    this.undetermined.delete(gid);
    if (voters.length === 0) {
      this.deps.locks.releaseAll(gid);
      return;
    }
    this.open.set(gid, new Set(voters));
    for (const content of voters) this.send(gid, content);
  }

  /** A one-phase commit was answered: the segment need not keep its outcome. */
  oneDone(content: number, gid: Gid): void {
    const gids = this.told.get(content) ?? [];
    gids.push(gid);
    this.told.set(content, gids);
    if (gids.length >= FORGET_BATCH) this.tell(content);
    this.later();
  }

  /** In the turn in which a link becomes ready, before anybody else uses it. */
  onReady(connection: Connection, hello: HelloResult): void {
    const { content } = connection;
    for (const [gid, participants] of this.open) if (participants.has(content)) this.send(gid, content);
    for (const prepared of hello.prepared) {
      if (this.open.get(prepared.gid)?.has(content)) {
        this.deps.locks.import(prepared.gid, prepared.locks);
      } else if (!this.undetermined.has(prepared.gid) && !this.deps.isActive(prepared.gid)) {
        this.deps.locks.import(prepared.gid, prepared.locks);
        void this.abortInDoubt(connection, prepared.gid);
      }
    }
  }

  /** Writes down what is forgotten, so that a restart does not ask again. */
  async close(): Promise<void> {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.flush();
  }

  private send(gid: Gid, content: number): void {
    const connection = this.deps.links().evenPaused(content);
    if (connection === null) return;
    connection.call('commit2', { gid }).then(
      () => this.acknowledged(gid, content),
      (error) => {
        // Sent again on the next connection.
        if (!isConnectionLost(error)) this.deps.logger.error({ gid, content, err: error }, 'second phase failed');
      },
    );
  }

  private acknowledged(gid: Gid, content: number): void {
    const left = this.open.get(gid);
    if (left === undefined || !left.delete(content) || left.size > 0) return;
    this.open.delete(gid);
    this.deps.locks.releaseAll(gid);
    this.deps.engine.forget(gid);
    this.forgettable.push(gid);
    this.later();
  }

  private async abortInDoubt(connection: Connection, gid: Gid): Promise<void> {
    this.deps.logger.info({ gid, content: connection.content }, 'prepared, and never decided: aborted');
    try {
      await connection.call('abort', { gid });
      this.deps.locks.releaseAll(gid);
    } catch (error) {
      if (!isConnectionLost(error)) this.deps.logger.error({ gid, err: error }, 'abort of a transaction in doubt failed');
      // The next hello lists it again; until then nobody can write there anyway.
      this.deps.locks.releaseAll(gid);
    }
  }

  private forgetOps(): CatalogOp[] {
    return this.forgettable.splice(0).map((gid) => ({ kind: 'decision', key: gid, row: null }));
  }

  private tell(content: number): void {
    const gids = this.told.get(content);
    if (gids === undefined || gids.length === 0) return;
    this.told.delete(content);
    const connection = this.deps.links().evenPaused(content);
    // Where the link is gone, the segment drops outcomes of older connections by its own limit.
    connection?.call('forget', { gids }).catch((error) => {
      if (!isConnectionLost(error)) this.deps.logger.warn({ content, err: error }, 'forget failed');
    });
  }

  private later(): void {
    if (this.timer !== null || this.closed) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.flush().catch((error) => this.deps.logger.error({ err: error }, 'forgotten decisions could not be noted'));
    }, FORGET_IDLE_MS);
    this.timer.unref();
  }

  private async flush(): Promise<void> {
    for (const content of [...this.told.keys()]) this.tell(content);
    const ops = this.forgetOps();
    if (ops.length > 0) await this.deps.engine.state(ops);
  }
}
