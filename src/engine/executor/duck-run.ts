/** Fragments that run in DuckDB, over all shards of this instance at once. */
import { createReadStream, rmSync, statSync } from 'node:fs';
import type { DuckDBConnection, DuckDBPreparedStatement } from '@duckdb/node-api';
import type { Task } from '../../model/task.js';
import { duckChunkEncoder } from '../codec/encode-duck.js';
import { readError } from './errors.js';
import { type Output, PART_BYTES } from './output.js';
import { duckLiterals, duckParam } from './params.js';
import { putValues, quoteLiteral } from './sql-text.js';

/** Runs the finished SQL (relations put in) and encodes its rows as they come. */
export async function runDuck(task: Task, sql: string, connection: DuckDBConnection, output: Output): Promise<void> {
  if (task.form.kind !== 'datarow') throw new TypeError('rows are encoded for the form datarow only');
  let statement: DuckDBPreparedStatement | undefined;
  try {
    statement = await connection.prepare(sql);
    bind(statement, task);
    const result = await statement.stream();
    const encode = duckChunkEncoder(task.fragment.output, result.columnTypes(), task.form.formats, task.form.session);
    for (;;) {
      const chunk = await result.fetchChunk();
      if (chunk === null || chunk.rowCount === 0) break;
      if (output.wrote(encode(chunk, output.writer))) await output.pause();
    }
  } catch (error) {
    throw readError(error);
  } finally {
    statement?.destroySync();
  }
}

function bind(statement: DuckDBPreparedStatement, task: Task): void {
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

/** Runs the SQL into a Parquet file with columns `o0`, `o1`, … and sends the file. `file` is removed in the end. */
export async function runDuckToParquet(
  task: Task,
  sql: string,
  connection: DuckDBConnection,
  file: string,
  output: Output,
): Promise<void> {
  try {
    const names = task.fragment.output.map((_, i) => `o${i}`).join(', ');
    const valued = putValues(sql, duckLiterals(task.fragment.params, task.params));
    const copied = await copyToParquet(connection, `SELECT * FROM (${valued}) AS q(${names})`, file);
    await sendFile(file, copied, output);
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
