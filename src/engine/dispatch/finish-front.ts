import { internalError, SqlError } from '../../core/errors.js';
import type { TableDef } from '../../model/table.js';
import type { ResultForm } from '../../model/task.js';
import { CANONICAL_OUTPUT } from '../codec/heap.js';
import type { FallbackRequest } from '../front/types.js';
import type { Finish, ReadPlan } from '../planner/types.js';
import { csvOfRows, frontMessages, readAnswer } from './datarow.js';
import { cancelled } from './errors.js';
import { drainAll, startReading } from './run.js';
import { tableOf } from './targets.js';
import type { DispatchDeps, Executed, StatementContext } from './types.js';

/** Rows that one statement may load into the fallback executor, as CSV. PGlite holds them in memory. */
const MAX_LOAD_BYTES = 256 * 1024 * 1024;

/** Runs the statement as written in the second PGlite, over the rows that the inputs gather. */
export async function finishInFront(
  deps: DispatchDeps,
  ctx: StatementContext,
  plan: ReadPlan,
  finish: Finish & { engine: 'pglite' },
): Promise<Executed> {
  const { request, tasks } = await gathered(deps, ctx, plan, finish);
  const answer = readAnswer(await running(ctx, () => ctx.computing.fallback(request)));
  if (answer.count > 0) {
    const waiting = ctx.sink.rows(answer.rows, answer.count);
    if (waiting !== undefined) await waiting;
  }
  return { rows: answer.count, tag: answer.tag, tasks, finish: 'front' };
}

/** The rows that an INSERT … SELECT as written would store, in the table's columns. */
export async function insertInFront(
  deps: DispatchDeps,
  ctx: StatementContext,
  plan: ReadPlan,
  table: TableDef,
): Promise<{ csv: Buffer; rows: number; tasks: Executed['tasks'] }> {
  const { finish } = plan;
  if (finish?.engine !== 'pglite') throw internalError('a fallback is finished by PostgreSQL');
  const { request, tasks } = await gathered(deps, ctx, plan, finish);
  const target = { schema: table.schema, name: table.name, columns: table.columns.map((column) => column.attnum) };
  return { ...(await running(ctx, () => ctx.computing.fallbackInsert(request, target))), tasks };
}

async function gathered(
  deps: DispatchDeps,
  ctx: StatementContext,
  plan: ReadPlan,
  finish: Finish & { engine: 'pglite' },
): Promise<{ request: FallbackRequest; tasks: Executed['tasks'] }> {
  const { load, tasks } = await gather(deps, ctx, plan, finish);
  const messages = frontMessages(ctx.sql, ctx.params, ctx.paramTypes, ctx.formats);
  return { request: { messages, settings: ctx.front, load, deadlineMs: ctx.deadlineMs, signal: ctx.signal }, tasks };
}

async function running<T>(ctx: StatementContext, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw ctx.signal.aborted ? cancelled(ctx.signal) : error;
  }
}

async function gather(
  deps: DispatchDeps,
  ctx: StatementContext,
  plan: ReadPlan,
  finish: Finish & { engine: 'pglite' },
): Promise<{ load: FallbackRequest['load']; tasks: Executed['tasks'] }> {
  const loads = new Map(finish.load.map((item) => [item.input, { ...item, csv: [] as Buffer[] }]));
  if (plan.inputs.length === 0) return { load: [], tasks: [] };
  let bytes = 0;
  // The canonical text of each value is read back by PostgreSQL's own input functions.
  const width = Math.max(...plan.inputs.map((input) => input.fragment.output.length));
  const form: ResultForm = { kind: 'datarow', formats: new Array<number>(width).fill(0), session: CANONICAL_OUTPUT };
  const reading = await startReading(deps, ctx, plan.inputs, form);
  const tasks = await drainAll(ctx, reading, (running, part) => {
    const target = loads.get(running.input.name);
    if (target === undefined) throw internalError(`input ${running.input.name} is loaded nowhere`);
    const csv = csvOfRows(part.bytes);
    bytes += csv.length;
    if (bytes > MAX_LOAD_BYTES) throw tooMuch(plan);
    target.csv.push(csv);
    return undefined;
  });
  const view = ctx.view();
  const load = [...loads.values()].map((item) => {
    const table = tableOf(view, item.tableId);
    const names = item.columns.map((attnum) => table.columns.find((column) => column.attnum === attnum)!.name);
    return { schema: table.schema, name: table.name, columns: names, csv: item.csv };
  });
  return { load, tasks };
}

function tooMuch(plan: ReadPlan): SqlError {
  const reasons = plan.declined.map((item) => `${item.tier}: ${item.reason}`).join('; ');
  return new SqlError('54000', 'the statement needs too many rows on the coordinator', {
    detail: `It cannot run on the segments (${reasons || 'no reason given'}), and PostgreSQL on the coordinator takes ${MAX_LOAD_BYTES / 1024 / 1024} MB.`,
    hint: 'Filter more rows, or write the expression that EXPLAIN VERBOSE names in another way.',
  });
}
