import {
  type DuckDBDataChunk,
  DuckDBMaterializedResult,
  type DuckDBPreparedStatement,
  type DuckDBResult,
} from '@duckdb/node-api';
import { SqlError } from '../../core/errors.js';
import { duckChunkEncoder } from '../codec/encode-duck.js';
import { RowWriter } from '../codec/rowwriter.js';
import { RUN_BY_FALLBACK } from '../executor/errors.js';
import { duckLiterals } from '../executor/params.js';
import { putRelations, putValues } from '../executor/sql-text.js';
import type { Finish, ReadPlan } from '../planner/types.js';
import type { FinishingDuckdb } from './duckdb.js';
import { cancelled } from './errors.js';
import { Pieces } from './pieces.js';
import { drainAll, startReading } from './run.js';
import type { DispatchDeps, Executed, StatementContext } from './types.js';

type DuckFinish = Finish & { engine: 'duckdb' };

/** Rows go to the client in pieces of about this size. */
const FLUSH_BYTES = 64 * 1024;

/** The inputs' rows come as Parquet files, or as blocks of few rows, into `{{in0}}`, … of one statement of the coordinator's DuckDB. */
export async function finishInDuckdb(
  deps: DispatchDeps,
  duckdb: FinishingDuckdb,
  ctx: StatementContext,
  plan: ReadPlan,
  finish: DuckFinish,
): Promise<Executed> {
  const pieces = new Pieces(duckdb);
  try {
    const reading = await startReading(deps, ctx, plan.inputs, { kind: 'parquet' });
    const tasks = await drainAll(ctx, reading, (running, part) => pieces.append(running, part));
    if (!pieces.inMemory) await pieces.close();
    const rows = await runFinish(duckdb, ctx, plan, finish, pieces);
    return { rows, tag: null, tasks, finish: 'duckdb' };
  } finally {
    if (!pieces.inMemory) await pieces.remove();
  }
}

async function runFinish(
  duckdb: FinishingDuckdb,
  ctx: StatementContext,
  plan: ReadPlan,
  finish: DuckFinish,
  pieces: Pieces,
): Promise<number> {
  const sql = putRelations(putValues(finish.sql, duckLiterals(finish.params, ctx.params)), (name) => {
    const input = plan.inputs.find((candidate) => candidate.name === name);
    return input === undefined ? undefined : pieces.relation(input);
  });
  const one = await duckdb.connect(ctx.output.timeZone, pieces.inMemory);
  const interrupt = () => one.connection.interrupt();
  ctx.signal.addEventListener('abort', interrupt, { once: true });
  let clean = false;
  let statement: DuckDBPreparedStatement | undefined;
  try {
    statement = pieces.inMemory ? await duckdb.prepare(one, sql) : await one.connection.prepare(sql);
    pieces.bind(statement);
    // A merge of few rows gives no more than these, so its answer may stay in memory; anything else is streamed.
    if (pieces.inMemory && plan.tier === 'pushdown') {
      const rows = await encodeRows(ctx, finish, await statement.run());
      clean = true;
      return rows;
    }
    // The error of a stream that breaks off looks like its end; only the transaction knows, which takes no other statement then.
    await one.connection.run('BEGIN');
    const rows = await encodeRows(ctx, finish, await statement.stream());
    await one.connection.run('SELECT 1');
    await one.connection.run('COMMIT');
    clean = true;
    return rows;
  } catch (error) {
    if (ctx.signal.aborted) throw cancelled(ctx.signal);
    throw error instanceof SqlError ? error : engineError(error);
  } finally {
    ctx.signal.removeEventListener('abort', interrupt);
    if (!pieces.inMemory) statement?.destroySync();
    duckdb.release(one, clean);
  }
}

async function* chunksOf(result: DuckDBResult): AsyncGenerator<DuckDBDataChunk> {
  if (result instanceof DuckDBMaterializedResult) {
    for (let i = 0; i < result.chunkCount; i++) yield result.getChunk(i);
    return;
  }
  for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk())
    yield chunk;
}

async function encodeRows(ctx: StatementContext, finish: DuckFinish, result: DuckDBResult): Promise<number> {
  const encode = duckChunkEncoder(finish.output, result.columnTypes(), ctx.formats, ctx.output);
  const writer = new RowWriter();
  let total = 0;
  for await (const chunk of chunksOf(result)) {
    if (ctx.signal.aborted) throw cancelled(ctx.signal);
    encode(chunk, writer);
    total += chunk.rowCount;
    if (writer.length >= FLUSH_BYTES) await flush(ctx, writer);
  }
  if (writer.rows > 0) await flush(ctx, writer);
  return total;
}

async function flush(ctx: StatementContext, writer: RowWriter): Promise<void> {
  const count = writer.rows;
  await ctx.sink.rows(writer.take(), count);
}

/** Whatever DuckDB raises in a read is answered by PostgreSQL instead (front, section 6). */
function engineError(error: unknown): SqlError {
  const text = error instanceof Error ? error.message : String(error);
  return new SqlError(RUN_BY_FALLBACK, 'the statement cannot be finished in DuckDB', {
    detail: text.slice(0, 2000),
    cause: error,
  });
}
