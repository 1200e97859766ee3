/**
 * Batch files that a record of this log names. A transaction that is rolled back removes its files, but one whose record is
 * in the log leaves them: they die with the record, when the log is recycled, because the record may still be applied here
 * (after this instance has lost its role) or be sent to a mirror.
 */
import type { LogBody, Lsn } from '../../model/log.js';
import type { ChangeLog } from '../changelog/types.js';
import type { BatchFiles } from '../store/types.js';

export class LoggedBatches {
  private readonly records = new Map<string, Lsn>();

  constructor(private readonly log: ChangeLog) {}

  note(lsn: Lsn, body: LogBody): void {
    for (const name of filesOf(body)) this.records.set(name, lsn);
  }

  /** Forgets what the log has dropped with its records. */
  prune(): void {
    for (const [name, lsn] of this.records) if (lsn < this.log.start) this.records.delete(name);
  }

  /** The log as the stores see it. */
  files(): BatchFiles {
    return {
      batchPath: (name) => this.log.batchPath(name),
      syncBatch: (name) => this.log.syncBatch(name),
      removeBatch: (name) => {
        if (!this.records.has(name)) this.log.removeBatch(name);
      },
    };
  }
}

/** Files, not inline content, that a record names. */
function filesOf(body: LogBody): string[] {
  if (body.k === 'MOVE_LOAD') return body.files.map((file) => file.name);
  if (!('txn' in body) || body.txn === null) return [];
  return body.txn.shards
    .flatMap((shard) => shard.batches)
    .filter((ref) => ref.inline === undefined)
    .map((ref) => ref.name);
}
