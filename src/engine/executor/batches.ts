/** Which record each batch file belongs to: a batch file dies with its record. */
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from '../../core/log.js';
import type { BatchRef, LogBody, Lsn } from '../../model/log.js';
import type { ChangeLog } from '../changelog/types.js';

/** A file that no record names may be on its way to one; after this time it is left over from a crash. */
const ORPHAN_MS = 60 * 60 * 1000;

export class BatchTable {
  private readonly records = new Map<string, Lsn>();

  constructor(
    private readonly log: ChangeLog,
    private readonly logger: Logger,
  ) {}

  /** Notes the files that a record names. */
  note(lsn: Lsn, body: LogBody): void {
    for (const name of batchNames(body)) this.records.set(name, lsn);
  }

  /** Removes files of records that the log has dropped, and old ones that no record names. */
  sweep(): void {
    for (const [name, lsn] of this.records) {
      if (lsn >= this.log.start) continue;
      this.records.delete(name);
      this.log.removeBatch(name);
    }
    const directory = dirname(this.log.batchPath('x'));
    for (const name of readNames(directory)) {
      if (this.records.has(name)) continue;
      const stat = statSync(join(directory, name), { throwIfNoEntry: false });
      if (stat === undefined || Date.now() - stat.mtimeMs < ORPHAN_MS) continue;
      this.logger.info({ name }, 'a batch file without a record is removed');
      this.log.removeBatch(name);
    }
  }
}

function readNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Files (not inline content) that a record names. */
export function batchNames(body: LogBody): string[] {
  switch (body.k) {
    case 'TXN':
    case 'PREPARE':
    case 'MOVE_APPLY':
      return outside(body.txn.shards.flatMap((shard) => shard.batches));
    case 'DECISION':
      return outside(body.txn?.shards.flatMap((shard) => shard.batches) ?? []);
    case 'MOVE_LOAD':
      return body.files.map((file) => file.name);
    default:
      return [];
  }
}

function outside(refs: readonly BatchRef[]): string[] {
  return refs.filter((ref) => ref.inline === undefined).map((ref) => ref.name);
}
