import { internalError, SqlError } from '../../core/errors.js';
import { FENCED } from '../executor/errors.js';
import type { ReadPlan } from '../planner/types.js';
import type { FinishingDuckdb } from './duckdb.js';
import { cancelled, wantsFallback } from './errors.js';
import { finishInDuckdb } from './finish-duckdb.js';
import { finishInFront } from './finish-front.js';
import { drainAll, startReading } from './run.js';
import type { DispatchDeps, Executed, RowSink, StatementContext } from './types.js';

/** The plan of the same statement that PostgreSQL finishes; `bare`: over all rows of its tables. */
export type MakeFallback = (bare?: boolean) => ReadPlan;

/** Rows are held back up to this size: until then a read can be answered in another way, unseen by the client. */
const HOLD_BYTES = 64 * 1024;
/** A read that lost a segment before any row went out is sent again this often. */
const MAX_RETRIES = 3;

/**
 * Answers a read.
 * @param fallback the plan that PostgreSQL finishes, made when an engine cannot answer exactly (or raises an error of its own).
 */
export async function executeRead(
  deps: DispatchDeps,
  duckdb: FinishingDuckdb,
  ctx: StatementContext,
  plan: ReadPlan,
  fallback: MakeFallback,
): Promise<Executed> {
  if (plan.finish?.engine === 'pglite') return await byFront(plan, fallback, (whole) => inFront(deps, ctx, whole));
  const hold = new HeldSink(ctx.sink);
  try {
    return await retried(deps, { ...ctx, sink: hold }, (held) => runOnce(deps, duckdb, held, plan), hold);
  } catch (error) {
    if (!wantsFallback(error)) throw error;
    deps.logger.debug({ err: error, sql: ctx.sql }, 'a read falls back to the front');
    return await answerByFallback(deps, ctx, fallback, hold);
  }
}

async function runOnce(deps: DispatchDeps, duckdb: FinishingDuckdb, ctx: StatementContext, plan: ReadPlan): Promise<Executed> {
  const executed =
    plan.finish?.engine === 'duckdb'
      ? await finishInDuckdb(deps, duckdb, ctx, plan, plan.finish)
      : await passThrough(deps, ctx, plan);
  const waiting = (ctx.sink as HeldSink).release();
  if (waiting !== undefined) await waiting;
  return executed;
}

/** The segments' DataRow bytes go to the client unread. */
async function passThrough(deps: DispatchDeps, ctx: StatementContext, plan: ReadPlan): Promise<Executed> {
  const reading = await startReading(deps, ctx, plan.inputs, { kind: 'datarow', formats: ctx.formats, session: ctx.output });
  const tasks = await drainAll(ctx, reading, (_, part) => ctx.sink.rows(part.bytes, part.rows));
  let rows = 0;
  for (const task of tasks) rows += task.rows;
  return { rows, tag: null, tasks, finish: null };
}

async function answerByFallback(
  deps: DispatchDeps,
  ctx: StatementContext,
  fallback: MakeFallback,
  hold: HeldSink,
): Promise<Executed> {
  if (!hold.released) return await byFront(fallback(), fallback, (plan) => inFront(deps, ctx, plan));
  // The client has rows already: what is left to tell is PostgreSQL's own error, which the fallback finds.
  await byFront(fallback(), fallback, (plan) => inFront(deps, { ...ctx, sink: { rows: () => undefined } }, plan));
  throw new SqlError('40001', 'the answer could not be completed where it was begun', {
    detail: 'A value met later in it needs PostgreSQL on the coordinator, and rows had been sent by then.',
    hint: 'Filter the rows or simplify the expressions; EXPLAIN VERBOSE shows where each part runs.',
  });
}

async function inFront(deps: DispatchDeps, ctx: StatementContext, plan: ReadPlan): Promise<Executed> {
  const { finish } = plan;
  if (finish?.engine !== 'pglite') throw internalError('a fallback is finished by PostgreSQL');
  return await retried(deps, ctx, (held) => finishInFront(deps, held, plan, finish));
}

/** Runs a plan of the fallback; over all rows of its tables where a condition on them raises an error too. */
export async function byFront<T>(plan: ReadPlan, fallback: MakeFallback, run: (plan: ReadPlan) => Promise<T>): Promise<T> {
  try {
    return await run(plan);
  } catch (error) {
    if (!wantsFallback(error)) throw error;
    return await run(fallback(true));
  }
}

async function retried(
  deps: DispatchDeps,
  ctx: StatementContext,
  run: (ctx: StatementContext) => Promise<Executed>,
  hold?: HeldSink,
): Promise<Executed> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run(ctx);
    } catch (error) {
      if (ctx.signal.aborted) throw cancelled(ctx.signal);
      if (attempt > MAX_RETRIES || !mayRetry(ctx, error) || hold?.released === true) throw hidden(error);
      deps.logger.info({ err: error, attempt }, 'a read is sent again');
      hold?.reset();
    }
  }
}

/** Lost or fenced before a row was seen, in a transaction that has written nothing: reading anew is the same. */
function mayRetry(ctx: StatementContext, error: unknown): boolean {
  if (!(error instanceof SqlError) || (ctx.txn?.participants.length ?? 0) > 0) return false;
  return error.sqlstate === '40001' || error.sqlstate === FENCED;
}

/** Marks between members are not SQLSTATEs. */
function hidden(error: unknown): unknown {
  if (!(error instanceof SqlError) || error.sqlstate !== FENCED) return error;
  return new SqlError('40001', 'the segment changed its role while the statement ran', {
    hint: 'Run the transaction again.',
    cause: error,
  });
}

class HeldSink implements RowSink {
  released = false;
  private parts: Buffer[] = [];
  private count = 0;
  private bytes = 0;

  constructor(private readonly target: RowSink) {}

  rows(messages: Buffer, count: number): Promise<void> | undefined {
    if (this.released) return this.target.rows(messages, count);
    this.parts.push(messages);
    this.count += count;
    this.bytes += messages.length;
    return this.bytes > HOLD_BYTES ? this.release() : undefined;
  }

  release(): Promise<void> | undefined {
    if (this.released) return undefined;
    this.released = true;
    const { parts, count } = this;
    this.parts = [];
    if (count === 0) return undefined;
    return this.target.rows(parts.length === 1 ? parts[0]! : Buffer.concat(parts), count);
  }

  reset(): void {
    this.parts = [];
    this.count = 0;
    this.bytes = 0;
  }
}
