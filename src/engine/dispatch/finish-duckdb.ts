import { type FileHandle, open, rm } from 'node:fs/promises';
import type { DuckDBConnection } from '@duckdb/node-api';
import { SqlError } from '../../core/errors.js';
import { storageOf } from '../../model/storage.js';
import type { RunPart } from '../../model/task.js';
import { duckChunkEncoder } from '../codec/encode-duck.js';
import { RowWriter } from '../codec/rowwriter.js';
import { RUN_BY_FALLBACK } from '../executor/errors.js';
import { duckLiterals } from '../executor/params.js';
import { putRelations, putValues, quoteLiteral } from '../executor/sql-text.js';
import type { Finish, Input, ReadPlan } from '../planner/types.js';
import type { FinishingDuckdb } from './duckdb.js';
import { cancelled } from './errors.js';
import { drainAll, type Running, startReading } from './run.js';
import type { DispatchDeps, Executed, StatementContext } from './types.js';

/** Rows go to the client in pieces of about this size. */
const FLUSH_BYTES = 64 * 1024;

/** The inputs' rows come as Parquet files into `{{in0}}`, … of one statement of the coordinator's DuckDB. */
export async function finishInDuckdb(
  deps: DispatchDeps,
  duckdb: FinishingDuckdb,
  ctx: StatementContext,
  plan: ReadPlan,
  finish: Finish & { engine: 'duckdb' },
): Promise<Executed> {
  const files = new Files(duckdb);
  try {
    const reading = await startReading(deps, ctx, plan.inputs, { kind: 'parquet' });
    const tasks = await drainAll(ctx, reading, (running, part) => files.append(running, part));
    await files.close();
    const sql = putRelations(putValues(finish.sql, duckLiterals(finish.params, ctx.params)), (name) =>
      relationOf(plan.inputs, files, name),
    );
    const rows = await runFinish(duckdb, ctx, finish, sql);
    return { rows, tag: null, tasks, finish: 'duckdb' };
  } finally {
    await files.remove();
  }
}

function relationOf(inputs: readonly Input[], files: Files, name: string): string | undefined {
  const input = inputs.find((candidate) => candidate.name === name);
  if (input === undefined) return undefined;
  const paths = files.pathsOf(name);
  if (paths.length > 0) return `read_parquet([${paths.map(quoteLiteral).join(', ')}])`;
  const columns = input.fragment.output.map((column, i) => `NULL::${storageOf(column.typeOid, column.typmod).duckdb} AS o${i}`);
  return `(SELECT ${columns.join(', ') || 'NULL AS none'} WHERE false)`;
}

async function runFinish(
  duckdb: FinishingDuckdb,
  ctx: StatementContext,
  finish: Finish & { engine: 'duckdb' },
  sql: string,
): Promise<number> {
  const connection = await duckdb.connect(ctx.output.timeZone);
  const interrupt = () => connection.interrupt();
  ctx.signal.addEventListener('abort', interrupt, { once: true });
  try {
    return await streamRows(connection, ctx, finish, sql);
  } catch (error) {
    if (ctx.signal.aborted) throw cancelled(ctx.signal);
    throw error instanceof SqlError ? error : engineError(error);
  } finally {
    ctx.signal.removeEventListener('abort', interrupt);
    connection.closeSync();
  }
}

async function streamRows(
  connection: DuckDBConnection,
  ctx: StatementContext,
  finish: Finish & { engine: 'duckdb' },
  sql: string,
): Promise<number> {
  const result = await connection.stream(sql);
  const encode = duckChunkEncoder(finish.output, result.columnTypes(), ctx.formats, ctx.output);
  const writer = new RowWriter();
  let total = 0;
  for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
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

/** One file for each task that sent rows. */
class Files {
  private readonly open = new Map<Running, { path: string; handle: Promise<FileHandle> }>();

  constructor(private readonly duckdb: FinishingDuckdb) {}

  async append(running: Running, part: RunPart): Promise<void> {
    let file = this.open.get(running);
    if (file === undefined) {
      const path = this.duckdb.filePath(`${running.input.name}_${running.target.content}`);
      file = { path, handle: open(path, 'wx', 0o600) };
      this.open.set(running, file);
    }
    const handle = await file.handle;
    let at = 0;
    while (at < part.bytes.length) at += (await handle.write(part.bytes, at)).bytesWritten;
  }

  pathsOf(input: string): string[] {
    return [...this.open].filter(([running]) => running.input.name === input).map(([, file]) => file.path);
  }

  async close(): Promise<void> {
    for (const file of this.open.values()) await (await file.handle).close();
  }

  async remove(): Promise<void> {
    for (const file of this.open.values()) {
      await file.handle.then((handle) => handle.close()).catch(() => undefined);
      await rm(file.path, { force: true });
    }
    this.open.clear();
  }
}
