/**
 * The columnar database of an instance: one DuckDB table for each columnar shard, without constraints or indexes, and `_damson`, which is written in the
 * same DuckDB transaction as the rows: ('applied', lsn), ('rid:<shardId>', nextRid), ('src:<setKey>', lsn, content), ('set:<setKey>', lsn): the set was
 * installed from files that stand at this lsn, so older records are in it.
 *
 * Shard tables are written by `ColumnarStore.applyGroup` and `install` alone, which the applier calls, one at a time.
 */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { assert, internalError } from '../../core/errors.js';
import type { BatchRef, Lsn, ShardChanges } from '../../model/log.js';
import { storageOf } from '../../model/storage.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import { DuckConnections, duckRows } from './connections.js';
import type { MoveSource } from './heap.js';
import { csvOptions, temporaryFile } from './heap-duck.js';
import { allColumns, columnName, quoteIdent, quoteText } from './sql.js';

/** What one record does to the columnar database. */
export interface ColumnarWork {
  lsn: Lsn;
  ddl: ColumnarDdl[];
  changes: { shard: ShardDef; changes: ShardChanges }[];
  /** Progress of moves, kept with `applied`. */
  src: { setKey: SetKey; source: MoveSource } | null;
}

export type ColumnarDdl =
  | { op: 'create'; shard: ShardDef }
  | { op: 'drop'; shard: ShardDef }
  | { op: 'truncate'; shard: ShardDef }
  | { op: 'forgetSet'; setKey: SetKey };

/** A set installed from files: its shards here until now, and those that come. */
export interface SetInstall {
  setKey: SetKey;
  lsn: Lsn;
  old: ShardDef[];
  shards: { shard: ShardDef; path: string; rows: number; nextRid: number }[];
  src: MoveSource | null;
}

export interface ColumnarOptions {
  path: string;
  temporaryDirectory: string;
  memoryMb: number;
  threads: number;
  tempLimitMb: number;
}

/** The WAL is folded in by the applier when it is longer than this. */
const CHECKPOINT_BYTES = 2 ** 24;
/** More rids than this are deleted through a file instead of a list in the statement. */
const LISTED_RIDS = 1000;

export class ColumnarStore {
  readonly connections: DuckConnections;
  readonly temporaryDirectory: string;
  applied: Lsn;
  readonly sources = new Map<SetKey, MoveSource>();
  readonly floors = new Map<SetKey, Lsn>();
  readonly nextRids = new Map<number, number>();
  private readonly instance: DuckDBInstance;
  private readonly writer: DuckDBConnection;
  private readonly path: string;

  private constructor(instance: DuckDBInstance, writer: DuckDBConnection, options: ColumnarOptions, rows: BookRow[]) {
    this.instance = instance;
    this.writer = writer;
    this.path = options.path;
    this.temporaryDirectory = options.temporaryDirectory;
    this.connections = new DuckConnections(instance);
    const book = new Map(rows.map((row) => [row.key, row]));
    this.applied = book.get('applied')?.a ?? -1;
    for (const { key, a, b } of rows) {
      if (key.startsWith('rid:')) this.nextRids.set(Number(key.slice(4)), a);
      if (key.startsWith('src:')) this.sources.set(key.slice(4), { content: b ?? 0, lsn: a });
      if (key.startsWith('set:')) this.floors.set(key.slice(4), a);
    }
  }

  static async open(options: ColumnarOptions): Promise<ColumnarStore> {
    const instance = await DuckDBInstance.create(options.path, {
      memory_limit: `${options.memoryMb}MB`,
      threads: String(options.threads),
      temp_directory: join(options.temporaryDirectory, 'duckdb'),
      max_temp_directory_size: `${options.tempLimitMb}MB`,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      // Batches are read once; their pages would only push others out.
      enable_external_file_cache: 'false',
      // The applier decides when (`checkpoint`), never a COMMIT under the publish lock.
      checkpoint_threshold: '1TB',
    });
    const writer = await instance.connect();
    await writer.run("SET GLOBAL TimeZone = 'UTC'");
    await writer.run('CREATE TABLE IF NOT EXISTS _damson (key VARCHAR, a BIGINT, b BIGINT)');
    const rows = (await duckRows(writer, 'SELECT key, a, b FROM _damson')).map(([key, a, b]): BookRow => {
      return { key: String(key), a: Number(a), b: b === null ? null : Number(b) };
    });
    return new ColumnarStore(instance, writer, options, rows);
  }

  /**
   * Executes works in lsn order inside one DuckDB transaction and returns its COMMIT, so that a publisher can run it under its lock.
   * Rows of consecutive works are put together for each shard: rids are never given twice, so "all inserts, then all deletes" has the same end.
   */
  async applyGroup(works: ColumnarWork[], pathOf: (name: string) => string): Promise<() => Promise<void>> {
    assert(works.length > 0 && works[0]!.lsn > this.applied, 'columnar work is above what is applied');
    await this.writer.run('BEGIN');
    const group = new Group(this.writer, this.temporaryDirectory, pathOf);
    try {
      for (const work of works) await group.add(work);
      await group.flush();
      const last = works.at(-1)!.lsn;
      await this.writeBook(works, last, group);
      return () => this.commit(last);
    } finally {
      group.removeFiles();
    }
  }

  private async writeBook(works: ColumnarWork[], last: Lsn, group: Group): Promise<void> {
    const book = new Map<string, BookValue | null>([['applied', [last, null]]]);
    for (const key of group.forgotten) book.set(key, null);
    for (const [shardId, nextRid] of group.nextRids)
      book.set(`rid:${shardId}`, [Math.max(nextRid, this.nextRids.get(shardId) ?? 1), null]);
    for (const { src } of works) if (src !== null) book.set(`src:${src.setKey}`, [src.source.lsn, src.source.content]);
    await this.write(book);
  }

  /** Sets or (null) removes entries of the book, in the open transaction and in memory. */
  private async write(book: Map<string, BookValue | null>): Promise<void> {
    await this.writer.run(`DELETE FROM _damson WHERE key IN (${[...book.keys()].map(quoteText).join(', ')})`);
    const rows: string[] = [];
    for (const [key, value] of book) {
      this.remember(key, value);
      if (value !== null) rows.push(`(${quoteText(key)}, ${value[0]}, ${value[1] ?? 'NULL'})`);
    }
    if (rows.length > 0) await this.writer.run(`INSERT INTO _damson VALUES ${rows.join(', ')}`);
  }

  private remember(key: string, value: BookValue | null): void {
    const name = key.slice(4);
    if (key.startsWith('rid:')) setOrDelete(this.nextRids, Number(name), value?.[0]);
    else if (key.startsWith('set:')) setOrDelete(this.floors, name, value?.[0]);
    else if (key.startsWith('src:'))
      setOrDelete(this.sources, name, value === null ? undefined : { lsn: value[0], content: value[1] ?? 0 });
  }

  /** Replaces a set's shards by the rows of files, in one transaction. */
  async install(install: SetInstall): Promise<void> {
    const { setKey, lsn, src } = install;
    const book = new Map<string, BookValue | null>();
    await this.writer.run('BEGIN');
    try {
      for (const shard of install.old) {
        await this.writer.run(`DROP TABLE IF EXISTS ${quoteIdent(shard.relation)}`);
        book.set(`rid:${shard.shardId}`, null);
      }
      for (const { shard, path, rows, nextRid } of install.shards) {
        await this.writer.run(`DROP TABLE IF EXISTS ${quoteIdent(shard.relation)}`);
        await this.writer.run(createTableSql(shard));
        await insertFiles(this.writer, shard, [path], rows);
        book.set(`rid:${shard.shardId}`, [nextRid, null]);
      }
      book.set(`set:${setKey}`, [lsn, null]);
      if (src !== null) book.set(`src:${setKey}`, [src.lsn, src.content]);
      await this.write(book);
    } catch (error) {
      await this.writer.run('ROLLBACK');
      throw error;
    }
    await this.commitWriter();
    const [row] = await duckRows(this.writer, `SELECT a FROM _damson WHERE key = ${quoteText(`set:${setKey}`)}`);
    if (Number(row?.[0]) !== lsn) throw internalError(`the columnar database did not install set ${setKey}`);
  }

  /** DuckDB's COMMIT of an aborted transaction succeeds, so what was committed is read back. */
  private async commit(lsn: Lsn): Promise<void> {
    await this.commitWriter();
    const [row] = await duckRows(this.writer, "SELECT a FROM _damson WHERE key = 'applied'");
    if (Number(row?.[0]) !== lsn) throw internalError(`the columnar database did not commit lsn ${lsn}`);
    this.applied = lsn;
  }

  private async commitWriter(): Promise<void> {
    this.connections.changed();
    await this.writer.run('COMMIT');
    this.connections.changed();
  }

  /** Folds the WAL into the database where it has grown. False: not possible now (an old reader), to be tried again. */
  async checkpoint(force = false): Promise<boolean> {
    if (!force && this.walBytes() < CHECKPOINT_BYTES) return true;
    try {
      await this.writer.run('CHECKPOINT');
      return true;
    } catch {
      return false;
    }
  }

  private walBytes(): number {
    return statSync(`${this.path}.wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  bytes(): number {
    return (statSync(this.path, { throwIfNoEntry: false })?.size ?? 0) + this.walBytes();
  }

  close(): void {
    this.connections.close();
    this.writer.closeSync();
    this.instance.closeSync();
  }
}

type BookValue = [a: number, b: number | null];

function setOrDelete<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

interface BookRow {
  key: string;
  a: number;
  b: number | null;
}

interface Pending {
  shard: ShardDef;
  batches: BatchRef[];
  deleted: number[];
}

/** Works of one DuckDB transaction. */
class Group {
  readonly nextRids = new Map<number, number>();
  /** Keys of the book that go. */
  readonly forgotten: string[] = [];
  private readonly pending = new Map<number, Pending>();
  private readonly files: string[] = [];
  private readonly conn: DuckDBConnection;
  private readonly directory: string;
  private readonly pathOf: (name: string) => string;

  constructor(conn: DuckDBConnection, directory: string, pathOf: (name: string) => string) {
    this.conn = conn;
    this.directory = directory;
    this.pathOf = pathOf;
  }

  async add(work: ColumnarWork): Promise<void> {
    if (work.ddl.length > 0) await this.flush();
    for (const ddl of work.ddl) await this.runDdl(ddl);
    for (const { shard, changes } of work.changes) {
      let pending = this.pending.get(shard.shardId);
      if (pending === undefined) {
        pending = { shard, batches: [], deleted: [] };
        this.pending.set(shard.shardId, pending);
      }
      pending.batches.push(...changes.batches);
      for (const rid of changes.deleted) pending.deleted.push(rid);
      this.raise(shard.shardId, changes.nextRid);
    }
  }

  private raise(shardId: number, nextRid: number): void {
    this.nextRids.set(shardId, Math.max(nextRid, this.nextRids.get(shardId) ?? 1));
  }

  private async runDdl(ddl: ColumnarDdl): Promise<void> {
    if (ddl.op === 'forgetSet') {
      this.forgotten.push(`src:${ddl.setKey}`, `set:${ddl.setKey}`);
      return;
    }
    const { shard } = ddl;
    const table = quoteIdent(shard.relation);
    if (ddl.op === 'truncate') {
      await this.conn.run(`DELETE FROM ${table}`);
    } else if (ddl.op === 'drop') {
      await this.conn.run(`DROP TABLE ${table}`);
      this.forgotten.push(`rid:${shard.shardId}`);
      this.nextRids.delete(shard.shardId);
    } else {
      await this.conn.run(createTableSql(shard));
      this.raise(shard.shardId, 1);
    }
  }

  async flush(): Promise<void> {
    for (const { shard, batches, deleted } of this.pending.values()) {
      if (batches.length > 0) {
        const rows = batches.reduce((sum, batch) => sum + batch.rows, 0);
        const paths = batches.map((batch) => this.fileOf(batch));
        await insertFiles(this.conn, shard, paths, rows);
      }
      if (deleted.length > 0) await this.delete(shard, deleted);
    }
    this.pending.clear();
  }

  /** DuckDB reads files only, so inline content becomes one for as long as the group runs. */
  private fileOf(batch: BatchRef): string {
    assert(batch.format === 'parquet', `batch ${batch.name} of a columnar shard is Parquet`);
    if (batch.inline === undefined) return this.pathOf(batch.name);
    const path = temporaryFile(this.directory, 'parquet');
    this.files.push(path);
    writeFileSync(path, batch.inline);
    return path;
  }

  private async delete(shard: ShardDef, rids: number[]): Promise<void> {
    let list = rids.join(', ');
    if (rids.length > LISTED_RIDS) {
      const path = temporaryFile(this.directory, 'csv');
      this.files.push(path);
      list = `SELECT rid FROM read_csv(${quoteText(path)}, ${csvOptions([['rid', 'BIGINT']], 0)})`;
      writeFileSync(path, `${rids.join('\n')}\n`);
    }
    const result = await this.conn.run(`DELETE FROM ${quoteIdent(shard.relation)} WHERE _rid IN (${list})`);
    if (result.rowsChanged !== rids.length)
      throw internalError(`${result.rowsChanged} rows of ${rids.length} were deleted from ${shard.relation}`);
  }

  removeFiles(): void {
    for (const path of this.files) rmSync(path, { force: true });
  }
}

function createTableSql(shard: ShardDef): string {
  const columns = shard.columns.map((column) => `${columnName(column)} ${storageOf(column.typeOid, column.typmod).duckdb}`);
  return `CREATE TABLE ${quoteIdent(shard.relation)} (${['_rid BIGINT', ...columns].join(', ')})`;
}

async function insertFiles(conn: DuckDBConnection, shard: ShardDef, paths: string[], rows: number): Promise<void> {
  const columns = allColumns(shard);
  const files = paths.map(quoteText).join(', ');
  const result = await conn.run(
    `INSERT INTO ${quoteIdent(shard.relation)} (${columns}) SELECT ${columns} FROM read_parquet([${files}])`,
  );
  if (result.rowsChanged !== rows)
    throw internalError(`${result.rowsChanged} rows of ${rows} were inserted into ${shard.relation}`);
}
