/**
 * The one writer of DuckDB's shard tables. It takes decided transactions in lsn order and puts as many as wait into one DuckDB transaction; rows are
 * written first, and only the COMMIT (with the heap commits of the same transactions) happens under the publish lock.
 */
import { internalError } from '../../core/errors.js';
import type { Lsn } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';
import type { ColumnarStore, ColumnarWork, SetInstall } from './columnar.js';
import type { PublishLock } from './publish-lock.js';

interface Queued {
  work: ColumnarWork;
  bytes: number;
  /** Commits the transaction's other stores, in the same publication. */
  commitOthers: () => void;
  done: () => void;
  fail: (error: unknown) => void;
}

const GROUP_WORKS = 1000;
const GROUP_BYTES = 2 ** 26;
/** Works that wait without anybody waiting for them (a mirror's) are written when they are this many, or after LINGER_MS. */
const LINGER_WORKS = 1000;
const LINGER_BYTES = 2 ** 24;
const LINGER_MS = 200;

export class Applier {
  private readonly store: ColumnarStore;
  private readonly lock: PublishLock;
  private readonly pathOf: (name: string) => string;
  private readonly onFatal: (error: unknown) => void;
  private queue: Queued[] = [];
  private queuedBytes = 0;
  private running: Promise<void> | null = null;
  private lingering: NodeJS.Timeout | null = null;
  private lastLsn: Lsn;
  private active: Queued[] = [];
  private failed = false;

  constructor(store: ColumnarStore, lock: PublishLock, pathOf: (name: string) => string, onFatal: (error: unknown) => void) {
    this.store = store;
    this.lock = lock;
    this.pathOf = pathOf;
    this.onFatal = onFatal;
    this.lastLsn = store.applied;
  }

  /** lsn of the last work taken, committed or not. */
  get taken(): Lsn {
    return this.lastLsn;
  }

  /** lsn of the oldest work that is not committed yet. */
  get oldestPending(): Lsn | null {
    return this.active[0]?.work.lsn ?? this.queue[0]?.work.lsn ?? null;
  }

  hasPending(setKey: SetKey): boolean {
    return [...this.active, ...this.queue].some(
      ({ work }) => work.changes.some(({ shard }) => shard.setKey === setKey) || work.src?.setKey === setKey,
    );
  }

  /** Resolves when the work is published. Written as soon as possible. */
  publish(work: ColumnarWork, commitOthers: () => void = () => {}): Promise<void> {
    const published = this.take(work, commitOthers);
    this.start();
    return published;
  }

  /** Takes a work that may wait to be grouped; resolves at once while the queue is short. */
  async defer(work: ColumnarWork): Promise<void> {
    // A failure ends the process through onFatal; nobody waits for this one.
    this.take(work, () => {}).catch(() => {});
    if (this.queue.length >= LINGER_WORKS || this.queuedBytes >= LINGER_BYTES) {
      await this.flush();
    } else if (this.lingering === null && this.running === null) {
      this.lingering = setTimeout(() => this.start(), LINGER_MS);
      this.lingering.unref();
    }
  }

  private take(work: ColumnarWork, commitOthers: () => void): Promise<void> {
    if (work.lsn <= this.lastLsn) throw internalError(`columnar work at lsn ${work.lsn} comes after ${this.lastLsn}`);
    this.lastLsn = work.lsn;
    const bytes = work.changes.reduce(
      (sum, { changes }) => sum + changes.deleted.length * 8 + changes.batches.reduce((s, b) => s + b.bytes, 0),
      0,
    );
    this.queuedBytes += bytes;
    return new Promise((resolve, reject) => this.queue.push({ work, bytes, commitOthers, done: resolve, fail: reject }));
  }

  /** Everything taken until now is published when it resolves. */
  async flush(): Promise<void> {
    while (this.queue.length > 0 || this.running !== null) {
      this.start();
      await this.running;
      if (this.failed) throw internalError('the columnar store has failed');
    }
  }

  /** Replaces a set's shards by the rows of files, after all that was taken before. `applied` stays: only the set's floor rises. */
  async install(install: SetInstall): Promise<void> {
    // A flush that has resolved may find the next group begun already.
    do await this.flush();
    while (this.running !== null || this.queue.length > 0);
    this.running = this.store.install(install).finally(() => {
      this.running = null;
    });
    try {
      await this.running;
    } finally {
      this.start();
    }
  }

  /** Tries a CHECKPOINT that is due while nothing is to be written. */
  async checkpointWhenIdle(): Promise<void> {
    if (this.running !== null || this.queue.length > 0 || this.failed) return;
    this.running = this.store
      .checkpoint()
      .then(() => {})
      .finally(() => {
        this.running = null;
        this.start();
      });
    await this.running;
  }

  private start(): void {
    if (this.lingering !== null) clearTimeout(this.lingering);
    this.lingering = null;
    if (this.running !== null || this.queue.length === 0 || this.failed) return;
    this.running = this.run().finally(() => {
      this.running = null;
      // A work that came between the last look at the queue and this turn has found it running.
      this.start();
    });
  }

  private async run(): Promise<void> {
    // Works that arrive in the same turn join the first group.
    await Promise.resolve();
    try {
      while (this.queue.length > 0) {
        this.active = this.nextGroup();
        await this.writeGroup(this.active);
        for (const one of this.active) one.done();
        this.active = [];
        // A reader older than a DROP makes it fail; the next group tries again.
        await this.store.checkpoint();
      }
    } catch (error) {
      this.failed = true;
      this.onFatal(error);
      for (const one of [...this.active, ...this.queue.splice(0)]) one.fail(error);
    }
  }

  private nextGroup(): Queued[] {
    let bytes = 0;
    let count = 0;
    while (count < this.queue.length && count < GROUP_WORKS && bytes < GROUP_BYTES) bytes += this.queue[count++]!.bytes;
    this.queuedBytes -= bytes;
    return this.queue.splice(0, count);
  }

  private async writeGroup(group: Queued[]): Promise<void> {
    const commit = await this.store.applyGroup(
      group.map((one) => one.work),
      this.pathOf,
    );
    await this.lock.hold('publish', async () => {
      await commit();
      for (const one of group) one.commitOthers();
    });
  }
}
