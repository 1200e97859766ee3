/** Heap rows on their way into DuckDB, in exact types. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import type { DuckDBConnection } from '@duckdb/node-api';
import type Database from 'better-sqlite3';
import { storageOf } from '../../model/storage.js';
import type { ColumnDef, SetKey } from '../../model/table.js';
import type { Task } from '../../model/task.js';
import { heapCsvRow, heapRowsToDuckTable, selectHeapCsv } from '../store/heap-duck.js';
import { copyToParquet, sendFile } from './duck-run.js';
import { readError } from './errors.js';
import { readsWide, rowsOf, type SetRun, sqlOfSet } from './heap-run.js';
import { type Output, PART_BYTES } from './output.js';
import { sqliteLiterals, sqliteParams } from './params.js';
import type { Placed } from './relations.js';
import { putSqliteLiterals } from './statements.js';

let nextTable = 1;

/**
 * Carries a heap relation's rows, filtered, into temporary tables, one for each shard.
 * @param carried gets each table's name as soon as it may exist, for `dropCarried`.
 * @returns a relation over all of them.
 */
export async function carryHeap(
  placed: Placed,
  task: Task,
  heap: (setKey: SetKey) => Database.Database,
  connection: DuckDBConnection,
  directory: string,
  carried: string[],
): Promise<string> {
  const { ref } = placed;
  const filter =
    ref.heapFilter === undefined ? null : putSqliteLiterals(ref.heapFilter, sqliteLiterals(task.fragment.params, task.params));
  const names = ref.columns.map((attnum) => `c${attnum}`);
  if (ref.withRid === true) names.push('_rid');
  const list = names.length === 0 ? '1 AS _one' : names.join(', ');
  const parts: string[] = [];
  for (const shard of placed.shards) {
    const table = `_carried_${nextTable++}`;
    carried.push(table);
    const columns = ref.columns.map((attnum) => {
      const column = shard.columns.find((one) => one.attnum === attnum);
      if (column === undefined) throw new TypeError(`${shard.relation} has no column ${attnum}`);
      return column;
    });
    await heapRowsToDuckTable(connection, heap(shard.setKey), shard.relation, columns, filter, table, directory);
    parts.push(`SELECT ${list} FROM ${table}`);
  }
  return `(${parts.join(' UNION ALL ')})`;
}

export async function dropCarried(connection: DuckDBConnection, tables: readonly string[]): Promise<void> {
  for (const table of tables) {
    // In an aborted transaction this fails too, and the table goes with the transaction.
    await connection.run(`DROP TABLE IF EXISTS ${table}`).catch(() => undefined);
  }
}

/** A SQLite fragment's rows as one Parquet file, by way of CSV, sent in parts. */
export async function heapResultToParquet(
  task: Task,
  runs: readonly SetRun[],
  heap: (setKey: SetKey) => Database.Database,
  connection: DuckDBConnection,
  file: string,
  output: Output,
): Promise<void> {
  const columns: ColumnDef[] = task.fragment.output.map(({ name, typeOid, typmod }, i) => ({
    attnum: i,
    name,
    typeOid,
    typmod,
    notNull: false,
  }));
  const csv = `${file}.csv`;
  try {
    const longest = await writeHeapCsv(task, runs, heap, columns, csv, output);
    const names = columns.map(({ attnum }) => `c${attnum} AS o${attnum}`).join(', ');
    const rows = await copyToParquet(connection, `SELECT ${names} FROM (${selectHeapCsv(csv, columns, longest)}) AS q`, file);
    await sendFile(file, rows, output);
  } finally {
    rmSync(csv, { force: true });
    rmSync(file, { force: true });
  }
}

/** Returns the length of the longest line in bytes. */
async function writeHeapCsv(
  task: Task,
  runs: readonly SetRun[],
  heap: (setKey: SetKey) => Database.Database,
  columns: readonly ColumnDef[],
  csv: string,
  output: Output,
): Promise<number> {
  const storages = columns.map(({ typeOid, typmod }) => storageOf(typeOid, typmod));
  const wide = readsWide(task.fragment.output);
  const params = sqliteParams(task.fragment.params, task.params);
  const fd = openSync(csv, 'w', 0o600);
  let longest = 0;
  let text = '';
  try {
    for (const run of runs) {
      for (const row of rowsOf(heap(run.setKey), sqlOfSet(task, run), wide, params)) {
        const line = heapCsvRow(storages, 0, row);
        // At most three bytes for each UTF-16 unit.
        longest = Math.max(longest, line.length * 3);
        text += line;
        if (text.length < PART_BYTES) continue;
        writeAll(fd, text);
        text = '';
        await output.pause();
      }
    }
    writeAll(fd, text);
    return longest;
  } catch (error) {
    throw readError(error);
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text, 'utf8');
  for (let offset = 0; offset < bytes.length; ) offset += writeSync(fd, bytes, offset);
}
