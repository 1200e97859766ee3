/** Keeping the log short (protocols, section 1): what every store holds durably, and nobody else needs, is dropped. */
import type { Lsn } from '../../model/log.js';
import { appendAndPublish, type Core } from './core.js';

/** Bytes of a file of the log where `logFileBytes` does not say: a checkpoint is due when the log has grown by so much. */
export const LOG_FILE_BYTES = 16 * 1024 * 1024;
/** The same for the batch files beside it, in files of the log. */
const DUE_BATCHES = 8;
/** The newest files of the log stay, and batch files of their size: recent outcomes, and a mirror's short absence, are answered from them. */
const KEEP_LOG = 4;
const KEEP_BATCHES = 16;
const LOOK_MS = 2000;

export class Checkpoints {
  private last: Lsn;
  private lastBatches = 0;
  private readonly fileBytes: number;
  private readonly timer: NodeJS.Timeout;
  private busy = false;

  constructor(
    private readonly core: Core,
    /** Only a primary that serves writes CHECKPOINT records; a mirror acts on those it gets. */
    private readonly isPrimary: () => boolean,
  ) {
    // What an ended process left counts too: else the log of an instance that is restarted often is never cut.
    this.last = core.log.start;
    this.fileBytes = core.options.logFileBytes ?? LOG_FILE_BYTES;
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    const { core } = this;
    if (this.busy || !this.isPrimary() || !this.due()) return;
    this.busy = true;
    try {
      await this.write();
    } catch (error) {
      core.options.logger.warn({ err: error }, 'checkpoint');
    } finally {
      this.busy = false;
    }
  }

  private due(): boolean {
    const { log } = this.core;
    return log.end - this.last >= this.fileBytes || log.batchBytes - this.lastBatches >= DUE_BATCHES * this.fileBytes;
  }

  /** Primary: logs a CHECKPOINT and drops what is not needed behind it. */
  async write(): Promise<void> {
    const { core } = this;
    this.last = core.log.end;
    this.lastBatches = core.log.batchBytes;
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
    const needs = [core.stores.applied(), core.log.newest(KEEP_LOG * this.fileBytes, KEEP_BATCHES * this.fileBytes)];
    const prepare = core.transactions.oldestPrepare();
    if (prepare !== undefined) needs.push(prepare);
    core.options.settleCatalog?.(lsn);
    const below = Math.min(...needs);
    if (below <= core.log.start) return;
    await core.log.recycle(below);
    core.batches.prune();
  }
}
