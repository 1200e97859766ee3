/** What the tasks of a statement have sent for the coordinator's DuckDB: Parquet files, or blocks of few rows, which stay in memory. */
import { type FileHandle, open, rm } from 'node:fs/promises';
import { type DuckDBPreparedStatement, type DuckDBType, type DuckDBValue, LIST, listValue } from '@duckdb/node-api';
import { storageOf } from '../../model/storage.js';
import type { RunPart } from '../../model/task.js';
import { isBlock, unpackBlock } from '../codec/duck-block.js';
import { quoteLiteral } from '../executor/sql-text.js';
import type { Input } from '../planner/types.js';
import type { FinishingDuckdb } from './duckdb.js';
import type { Running } from './run.js';

interface Column {
  type: DuckDBType;
  values: (DuckDBValue | null)[];
}

export class Pieces {
  /** One file for each task that sent Parquet. */
  private readonly files = new Map<Running, { path: string; handle: Promise<FileHandle> }>();
  /** Rows of each input, by their columns' types. */
  private readonly blocks = new Map<string, Map<string, Column[]>>();
  /** Columns that the statement takes as parameters `$1`, …; in the order in which `relation` named them. */
  private readonly lists: Column[] = [];

  constructor(private readonly duckdb: FinishingDuckdb) {}

  append(running: Running, part: RunPart): Promise<void> | undefined {
    if (this.files.has(running) || !isBlock(part.bytes)) return this.write(running, part.bytes);
    this.addBlock(running.input.name, unpackBlock(part.bytes));
    return undefined;
  }

  /** Everything is in memory: the statement names no file, and is the same the next time. */
  get inMemory(): boolean {
    return this.files.size === 0;
  }

  private addBlock(input: string, columns: Column[]): void {
    const types = columns.map(({ type }) => String(type)).join();
    const ofInput = this.blocks.get(input) ?? new Map<string, Column[]>();
    this.blocks.set(input, ofInput);
    const known = ofInput.get(types);
    if (known === undefined) ofInput.set(types, columns);
    else for (const [i, { values }] of columns.entries()) for (const value of values) known[i]!.values.push(value);
  }

  private async write(running: Running, bytes: Buffer): Promise<void> {
    let file = this.files.get(running);
    if (file === undefined) {
      const path = this.duckdb.filePath(`${running.input.name}_${running.target.content}`);
      file = { path, handle: open(path, 'wx', 0o600) };
      this.files.set(running, file);
    }
    const handle = await file.handle;
    let at = 0;
    while (at < bytes.length) at += (await handle.write(bytes, at)).bytesWritten;
  }

  /** A relation of all rows of an input, with columns `o0`, `o1`, …; its blocks become parameters. */
  relation(input: Input): string {
    const parts: string[] = [];
    const paths = [...this.files].filter(([running]) => running.input.name === input.name).map(([, file]) => file.path);
    if (paths.length > 0) parts.push(`SELECT * FROM read_parquet([${paths.map(quoteLiteral).join(', ')}])`);
    for (const columns of this.blocks.get(input.name)?.values() ?? []) {
      const lists = columns.map((column, i) => `unnest($${this.lists.push(column)}::${column.type}[]) AS o${i}`);
      parts.push(`SELECT ${lists.join(', ')}`);
    }
    return `(${parts.length === 0 ? noRows(input) : parts.join(' UNION ALL ')})`;
  }

  /** Gives the statement, made with `relation`, its rows. */
  bind(statement: DuckDBPreparedStatement): void {
    for (const [i, { type, values }] of this.lists.entries()) statement.bindList(i + 1, listValue(values), LIST(type));
  }

  /** To be called before the files are read. */
  async close(): Promise<void> {
    for (const file of this.files.values()) await (await file.handle).close();
  }

  async remove(): Promise<void> {
    for (const file of this.files.values()) {
      await file.handle.then((handle) => handle.close()).catch(() => undefined);
      await rm(file.path, { force: true });
    }
    this.files.clear();
  }
}

function noRows(input: Input): string {
  const columns = input.fragment.output.map((column, i) => `NULL::${storageOf(column.typeOid, column.typmod).duckdb} AS o${i}`);
  return `SELECT ${columns.join(', ') || 'NULL AS none'} WHERE false`;
}
