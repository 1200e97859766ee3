/** Keeping the log short (protocols, section 1): what every store holds durably, and nobody else needs, is dropped. */
import type { Lsn } from '../../model/log.js';
import { appendAndPublish, type Core } from './core.js';

/** A checkpoint is due when the log has grown by this, bytes. */
export const CHECKPOINT_BYTES = 16 * 1024 * 1024;
/** The newest bytes of the log stay: recent outcomes, and a mirror's short absence, are answered from them. */
const KEEP_BYTES = 64 * 1024 * 1024;
const LOOK_MS = 10_000;

export class Checkpoints {
  private last: Lsn;
  private readonly timer: NodeJS.Timeout;
  private busy = false;

  constructor(
    private readonly core: Core,
    /** Only a primary that serves writes CHECKPOINT records; a mirror acts on those it gets. */
    private readonly isPrimary: () => boolean,
  ) {
    this.last = core.log.end;
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    const { core } = this;
    if (this.busy || !this.isPrimary() || core.log.end - this.last < CHECKPOINT_BYTES) return;
    this.busy = true;
    try {
      await this.write();
    } catch (error) {
      core.options.logger.warn({ err: error }, 'checkpoint');
    } finally {
      this.busy = false;
    }
  }

  /** Primary: logs a CHECKPOINT and drops what is not needed behind it. */
  async write(): Promise<void> {
    const { core } = this;
    this.last = core.log.end;
    const openPrepares = core.transactions.preparedList().map(({ gid, lsn }) => ({ gid, lsn }));
    const { published } = appendAndPublish(
      core,
      { k: 'CHECKPOINT', openPrepares },
      { heapSets: new Set(), columnar: false, publish: (lsn) => this.passed(lsn) },
    );
    await published;
  }

  /** Everything up to this CHECKPOINT is in the stores. */
  async passed(lsn: Lsn): Promise<void> {
    const { core } = this;
    core.stores.passed(lsn);
    await core.stores.settle();
    const needs = [core.stores.applied(), lsn - KEEP_BYTES];
    const prepare = core.transactions.oldestPrepare();
    if (prepare !== undefined) needs.push(prepare);
    if (core.options.catalogApplied !== undefined) needs.push(core.options.catalogApplied());
    const below = Math.min(...needs);
    if (below <= core.log.start) return;
    await core.log.recycle(below);
    core.batches.prune();
  }
}
