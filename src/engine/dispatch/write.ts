import { internalError, SqlError } from '../../core/errors.js';
import type { LockName } from '../../model/log.js';
import type { WriteResult, WriteTask } from '../../model/task.js';
import { FENCED } from '../executor/errors.js';
import type { Connection } from '../txn/types.js';
import { cancelled, isConnectionLost, segmentLost } from './errors.js';
import type { StatementContext } from './types.js';

export interface Written {
  content: number;
  result: WriteResult;
  ms: number;
}

/** Enlists the contents, then sends the tasks of all of them, then waits for all: an error is thrown when none of them runs any more. */
export async function sendWrites(
  ctx: StatementContext,
  contents: readonly number[],
  tasksOf: (content: number) => WriteTask[],
): Promise<Written[]> {
  const connections = await enlistAll(ctx, contents);
  const started = performance.now();
  const sent: Promise<Written>[] = [];
  for (const content of contents) {
    const connection = connections.get(content)!;
    for (const task of tasksOf(content)) {
      sent.push(
        connection.call('write', task, { signal: ctx.signal }).then(
          (result) => ({ content, result, ms: performance.now() - started }),
          (error) => Promise.reject(writeError(ctx, content, error)),
        ),
      );
    }
  }
  const settled = await Promise.allSettled(sent);
  const failed = settled.find((item) => item.status === 'rejected');
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
  return settled.map((item) => (item as PromiseFulfilledResult<Written>).value);
}

export async function enlistAll(ctx: StatementContext, contents: readonly number[]): Promise<Map<number, Connection>> {
  const connections = new Map<number, Connection>();
  for (const content of contents) connections.set(content, await ctx.txn!.enlist(content));
  return connections;
}

/** What a client hears when a write did not come back. The transaction is aborted in any case. */
export function writeError(ctx: StatementContext, content: number, error: unknown): unknown {
  if (ctx.signal.aborted) return cancelled(ctx.signal);
  if (isConnectionLost(error)) return segmentLost(content, error);
  if (error instanceof SqlError && error.sqlstate === FENCED) return segmentLost(content, error);
  return error;
}

/** Takes locks for a statement, honouring lock_timeout and cancel. */
export async function takeLocks(ctx: StatementContext, locks: LockName[]): Promise<void> {
  if (ctx.txn === null) throw internalError('a write came without a transaction');
  await ctx.txn.lock(
    locks,
    ctx.lockTimeoutMs > 0 ? { signal: ctx.signal, timeoutMs: ctx.lockTimeoutMs } : { signal: ctx.signal },
  );
}
