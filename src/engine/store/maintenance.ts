/**
 * What makes the stores durable without anybody waiting for it: fsync of WALs, PASSIVE checkpoints, and the position in `instance.db` up to which every
 * store is durable. Runs each second; nobody else checkpoints.
 */
import { internalError } from '../../core/errors.js';
import type { Lsn } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';
import type { StoreCore } from './core.js';
import type { HeapSet } from './heap.js';
import { SqliteWorker } from './sqlite-worker.js';

const INTERVAL_MS = 1000;
/** A WAL is folded in when it is longer; earlier where there are so many that they would take more than WALS_BYTES together. */
const CHECKPOINT_BYTES = 2 ** 22;
const WALS_BYTES = 2 ** 26;
const MIN_CHECKPOINT_BYTES = 2 ** 18;

export class Maintenance {
  readonly worker = new SqliteWorker();
  private readonly core: StoreCore;
  private readonly timer: NodeJS.Timeout;
  /** First commit of each set whose fsync is under way. */
  private readonly syncing = new Map<SetKey, Lsn>();
  /** What each set held when its WAL was last folded in as a whole: the file stays as long as it was. */
  private readonly folded = new WeakMap<HeapSet, Lsn>();
  private running: Promise<void> | null = null;
  private closed = false;

  constructor(core: StoreCore) {
    this.core = core;
    this.timer = setInterval(() => {
      if (this.running === null) this.run().catch((error: unknown) => this.core.options.onFatal(error));
    }, INTERVAL_MS);
    this.timer.unref();
  }

  /** Lowest lsn that all stores hold durably. */
  durable(): Lsn {
    const { position } = this.core.instance;
    let lsn = Math.max(this.core.columnar.applied, position);
    for (const set of this.core.heaps.values()) lsn = Math.min(lsn, this.durableOf(set));
    return lsn;
  }

  durableOf(set: HeapSet): Lsn {
    const dirty = this.syncing.get(set.setKey) ?? set.firstDirty;
    return dirty === null ? Math.max(set.applied, this.core.instance.position) : dirty - 1;
  }

  /** Makes everything committed until now durable and advances the position. */
  async run(): Promise<void> {
    while (this.running !== null) await this.running;
    this.running = this.round().finally(() => {
      this.running = null;
    });
    await this.running;
  }

  private async round(): Promise<void> {
    const position = this.core.committedUpTo();
    const sets = [...this.core.heaps.values()];
    const limit = Math.min(CHECKPOINT_BYTES, Math.max(MIN_CHECKPOINT_BYTES, WALS_BYTES / Math.max(1, sets.length)));
    for (const set of sets) {
      if (set.firstDirty !== null) await this.sync(set);
      if (set.holds === 0 && set.walBytes() > limit) await this.checkpoint(set);
    }
    await this.core.applier.checkpointWhenIdle();
    if (!this.closed) this.core.instance.advance(position);
  }

  private async sync(set: HeapSet): Promise<void> {
    this.syncing.set(set.setKey, set.firstDirty!);
    set.firstDirty = null;
    try {
      await this.worker.call('sync', { path: set.path });
    } catch (error) {
      if (this.isCurrent(set))
        throw internalError(`the WAL of set ${set.setKey} cannot be made durable: ${(error as Error).message}`, error);
    } finally {
      this.syncing.delete(set.setKey);
    }
  }

  /** Readers may hold it back; the next round tries again. */
  private async checkpoint(set: HeapSet): Promise<void> {
    const { applied } = set;
    if (this.folded.get(set) === applied) return;
    try {
      const { log, checkpointed } = await this.worker.call('checkpoint', { path: set.path });
      if (checkpointed >= log) this.folded.set(set, applied);
    } catch (error) {
      this.core.options.logger.warn({ set: set.setKey, error: (error as Error).message }, 'checkpoint failed');
    }
  }

  private isCurrent(set: HeapSet): boolean {
    return this.core.heaps.get(set.setKey) === set;
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.run();
    this.closed = true;
    await this.worker.close();
  }
}
