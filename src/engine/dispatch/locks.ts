import type { LockName } from '../../model/log.js';
import type { Shard, TableDef } from '../../model/table.js';
import { internalError } from '../../core/errors.js';
import type { StatementContext } from './types.js';

/** The lock that a use of a table's definition takes: compatible with other uses, not with DDL. */
export function tableUse(tableIds: Iterable<number>): LockName[] {
  return [...new Set(tableIds)].sort((a, b) => a - b).map((id) => ({ name: `table:${id}`, mode: 'S' as const }));
}

/** The lock of DDL. */
export function tableDdl(tableIds: Iterable<number>): LockName[] {
  return [...new Set(tableIds)].sort((a, b) => a - b).map((id) => ({ name: `table:${id}`, mode: 'X' as const }));
}

/** Locks of a write (protocols, section 3): heap: the set; columnar: the shard, A for inserts without unique constraint, W for all else. */
export function writeLocks(table: TableDef, shards: readonly Shard[], op: 'insert' | 'modify'): LockName[] {
  if (table.accessMethod === 'heap') {
    return [...new Set(shards.map((shard) => shard.setKey))].sort().map((setKey) => ({ name: `set:${setKey}`, mode: 'X' as const }));
  }
  const mode = op === 'insert' && table.uniques.length === 0 ? 'A' : 'W';
  return shards
    .map((shard) => shard.shardId)
    .sort((a, b) => a - b)
    .map((id) => ({ name: `shard:${id}`, mode }));
}

/** Takes locks for a statement, honouring lock_timeout and cancel. */
export async function takeLocks(ctx: StatementContext, locks: LockName[]): Promise<void> {
  const options: { timeoutMs?: number; signal: AbortSignal } = { signal: ctx.signal };
  if (ctx.lockTimeoutMs > 0) options.timeoutMs = ctx.lockTimeoutMs;
  await ctx.txn.lock(locks, options);
}

