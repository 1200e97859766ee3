/** Fragments that run in DuckDB, over all shards of this instance at once. */
import { createReadStream, rmSync, statSync } from 'node:fs';
import {
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBMaterializedResult,
  type DuckDBPreparedStatement,
  type DuckDBResult,
} from '@duckdb/node-api';
import { internalError } from '../../core/errors.js';
import type { Task } from '../../model/task.js';
import { packBlock } from '../codec/duck-block.js';
import { duckChunkEncoder } from '../codec/encode-duck.js';
import { readError } from './errors.js';
import { type Output, PART_BYTES } from './output.js';
import { duckLiterals, duckParam } from './params.js';
import { putValues, quoteLiteral } from './sql-text.js';

/** Runs a prepared statement (relations put in) and encodes its rows as they come. */
/**
 * Runs a statement inside of the connection's open transaction. The error of a stream that breaks off looks like its end to whoever fetches chunks;
 * only the transaction knows, which is aborted then and takes no other statement.
 */
export async function runDuck(
  task: Task,
  connection: DuckDBConnection,
  statement: DuckDBPreparedStatement,
  output: Output,
): Promise<number> {
  try {
    bindParams(statement, task);
    const rows = await sendRows(task, await statement.stream(), output);
    await connection.run('SELECT 1');
    return rows;
  } catch (error) {
    throw readError(error);
  }
}

/** Encodes a result's rows as they come. */
export async function sendRows(task: Task, result: DuckDBResult, output: Output): Promise<number> {
  if (task.form.kind !== 'datarow') throw new TypeError('rows are encoded for the form datarow only');
  const encode = duckChunkEncoder(task.fragment.output, result.columnTypes(), task.form.formats, task.form.session);
  let rows = 0;
  for (;;) {
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) return rows;
    rows += chunk.rowCount;
    if (output.wrote(encode(chunk, output.writer))) await output.pause();
  }
}

export function bindParams(statement: DuckDBPreparedStatement, task: Task): void {
  for (let index = 1; index <= statement.parameterCount; index++) {
    const n = Number(statement.parameterName(index));
    const spec = task.fragment.params.find((one) => one.n === n);
    if (spec === undefined) throw new TypeError(`$${n} is not described`);
    const value = duckParam(spec, task.params);
    if (value === null) statement.bindNull(index);
    else if (typeof value === 'string') statement.bindVarchar(index, value);
    else statement.bindBlob(index, value);
  }
}

/** Sends a result as blocks of values (codec/duck-block), at least one. Returns the number of rows. */
export async function sendBlocks(result: DuckDBResult, output: Output): Promise<number> {
  if (!(result instanceof DuckDBMaterializedResult)) throw internalError('blocks are made of a result in memory');
  const types = result.columnTypes();
  const { chunkCount } = result;
  if (chunkCount === 0) await output.raw(packBlock(DuckDBDataChunk.create(types, 0), types), 0);
  for (let i = 0; i < chunkCount; i++) {
    const chunk = result.getChunk(i);
    await output.raw(packBlock(chunk, types), chunk.rowCount);
  }
  return result.rowCount;
}

/** Literals in the place of parameters: a COPY cannot be prepared, and plans with values are the better ones. */
export function withLiterals(task: Task, sql: string): string {
  return putValues(sql, duckLiterals(task.fragment.params, task.params));
}

/**
 * Runs the SQL (values put in) into a Parquet file with columns `o0`, `o1`, … and sends the file. `file` is removed in the end.
 * Returns the number of rows.
 */
export async function runDuckToParquet(
  task: Task,
  sql: string,
  connection: DuckDBConnection,
  file: string,
  output: Output,
): Promise<number> {
  try {
    const names = task.fragment.output.map((_, i) => `o${i}`).join(', ');
    const copied = await copyToParquet(connection, `SELECT * FROM (${sql}) AS q(${names})`, file);
    await sendFile(file, copied, output);
    return copied;
  } finally {
    rmSync(file, { force: true });
  }
}

export async function copyToParquet(connection: DuckDBConnection, select: string, file: string): Promise<number> {
  try {
    const result = await connection.run(`COPY (${select}) TO ${quoteLiteral(file)} (FORMAT parquet)`);
    return result.rowsChanged;
  } catch (error) {
    throw readError(error);
  }
}

/** Sends a file in parts; the last one carries the number of rows. */
export async function sendFile(file: string, rows: number, output: Output): Promise<void> {
  let left = statSync(file).size;
  for await (const bytes of createReadStream(file, { highWaterMark: PART_BYTES })) {
    left -= (bytes as Buffer).length;
    await output.raw(bytes as Buffer, left === 0 ? rows : 0);
  }
}
