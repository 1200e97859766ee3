import { SqlError } from '../../core/errors.js';
import type { ResultForm, RunPart, RunResult, Task } from '../../model/task.js';
import type { OpenCall } from '../../rpc/types.js';
import type { Input } from '../planner/types.js';
import type { Connection, ReadToken } from '../txn/types.js';
import { cancelled, isConnectionLost, segmentLost } from './errors.js';
import { readTargets, type Target } from './targets.js';
import type { DispatchDeps, StatementContext, TaskFigures } from './types.js';

/** A task that was sent. */
export interface Running {
  input: Input;
  target: Target;
  call: OpenCall<RunResult>;
}

/** The tasks of a statement, all sent in one turn: the order of sending is the snapshot (protocols, section 6). */
export interface Reading {
  tasks: Running[];
  /** Always called, once: cancels what still runs and lets moved sets go. */
  end(): void;
}

/**
 * Sends the tasks of all inputs. Placements are read in the turn of sending; where a link is missing it is waited for, and
 * placements are read again.
 */
export async function startReading(
  deps: DispatchDeps,
  ctx: StatementContext,
  inputs: readonly Input[],
  form: ResultForm,
): Promise<Reading> {
  const own = await ownConnections(ctx);
  for (;;) {
    if (ctx.signal.aborted) throw cancelled(ctx.signal);
    const view = ctx.view();
    const plan = inputs.map((input) => ({
      input,
      targets: readTargets(view, input.fragment.relations, input.where, ctx.params),
    }));
    const missing = missingLinks(deps, own, plan);
    if (missing.length === 0) return send(deps, ctx, own, plan, form);
    await deps.links.all(missing);
  }
}

/** Contents that the transaction has written: read on the same stream, so that its own rows are seen. */
async function ownConnections(ctx: StatementContext): Promise<Map<number, Connection>> {
  const own = new Map<number, Connection>();
  for (const content of ctx.txn?.participants ?? []) own.set(content, await ctx.txn!.enlist(content));
  return own;
}

type Planned = { input: Input; targets: Target[] }[];

function missingLinks(deps: DispatchDeps, own: Map<number, Connection>, plan: Planned): number[] {
  const missing: number[] = [];
  for (const { targets } of plan) {
    for (const { content } of targets) {
      if (!own.has(content) && deps.links.now(content) === null) missing.push(content);
    }
  }
  return missing;
}

function send(deps: DispatchDeps, ctx: StatementContext, own: Map<number, Connection>, plan: Planned, form: ResultForm): Reading {
  const token = deps.links.reads.begin();
  const tasks: Running[] = [];
  try {
    for (const { input, targets } of plan) {
      const params = input.fragment.params.length === 0 ? [] : ctx.params;
      for (const target of targets) {
        const connection = own.get(target.content) ?? deps.links.now(target.content)!;
        const gid = own.has(target.content) ? ctx.txn!.gid : null;
        const task: Task = { fragment: input.fragment, shards: target.shards, params, form, gid };
        const call = connection.open('run', task);
        // Whoever ends the reading early does not look at the result any more.
        call.result.catch(() => undefined);
        tasks.push({ input, target, call });
      }
    }
  } catch (error) {
    endReading(tasks, token);
    throw error;
  }
  return watch(ctx, tasks, token);
}

function watch(ctx: StatementContext, tasks: Running[], token: ReadToken): Reading {
  const cancel = () => {
    for (const task of tasks) task.call.cancel();
  };
  ctx.signal.addEventListener('abort', cancel, { once: true });
  let ended = false;
  return {
    tasks,
    end: () => {
      if (ended) return;
      ended = true;
      ctx.signal.removeEventListener('abort', cancel);
      endReading(tasks, token);
    },
  };
}

function endReading(tasks: Running[], token: ReadToken): void {
  for (const task of tasks) task.call.cancel();
  token.end();
}

/** Reads one task to its end, part by part; each is waited for, so that nothing is kept. */
export async function drain(
  ctx: StatementContext,
  running: Running,
  take: (part: RunPart) => Promise<void> | undefined,
): Promise<TaskFigures> {
  const { call, target, input } = running;
  try {
    for await (const part of call.parts) {
      const waiting = take(part as RunPart);
      if (waiting !== undefined) await waiting;
    }
    const result = await call.result;
    const shards = new Set(Object.values(target.shards).flat()).size;
    return { input: input.name, content: target.content, shards, rows: result.rows, bytes: result.bytes, ms: result.ms };
  } catch (error) {
    if (ctx.signal.aborted) throw cancelled(ctx.signal);
    throw error instanceof SqlError ? error : isConnectionLost(error) ? segmentLost(target.content, error) : error;
  }
}

/** Drains all tasks at once. The first error ends the others. */
export async function drainAll(
  ctx: StatementContext,
  reading: Reading,
  take: (running: Running, part: RunPart) => Promise<void> | undefined,
): Promise<TaskFigures[]> {
  try {
    if (reading.tasks.length === 1) return [await drain(ctx, reading.tasks[0]!, (part) => take(reading.tasks[0]!, part))];
    return await Promise.all(reading.tasks.map((task) => drain(ctx, task, (part) => take(task, part))));
  } finally {
    reading.end();
  }
}
