/**
 * A transaction's changes to one columnar shard before they are decided: new rows as Parquet files in the temporary directory, deleted rids in a
 * temporary table of the transaction's DuckDB connection. Statements read the overlay: the shard without the deleted rows, and the new rows.
 *
 * Rows arrive as CSV, in the canonical form of COPY or as heap CSV; they wait in a file and are turned into Parquet when they are many or are needed.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  createReadStream,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import type { DuckDBConnection } from '@duckdb/node-api';
import { internalError, SqlError } from '../../core/errors.js';
import type { BatchRef, ShardChanges } from '../../model/log.js';
import { type HeapValue, type Storage, storageOf } from '../../model/storage.js';
import type { ShardDef } from '../../model/table.js';
import { duckNumber, duckRows } from './connections.js';
import { syncEarly } from './converter.js';
import { csvOptions, heapCsvRow, selectHeapCsv, temporaryFile } from './heap-duck.js';
import { INLINE_BYTES } from './rows-batch.js';
import { allColumns, columnName, quoteIdent, quoteText } from './sql.js';
import { duplicateKey, keyPart, type UniqueKey, uniqueKeys } from './unique.js';

/** Waiting CSV of a shard is converted while more comes when it is longer than this, and than its share of what was converted before. */
const CONVERT_BYTES = 2 ** 22;
const CONVERT_SHARE = 1 / 8;
/** A file stays below this, which bounds what its conversion takes in memory. */
const MOST_CONVERT_BYTES = 2 ** 25;
/** So many staged files are put together, so that the overlay and the record stay short. */
const MERGE_FILES = 32;

export interface StagingContext {
  directory: string;
  /** The transaction's connection, which holds the temporary tables. */
  conn(): Promise<DuckDBConnection>;
  /** Runs a conversion on a connection of its own, a few at a time. */
  convert<T>(work: (conn: DuckDBConnection) => Promise<T>): Promise<T>;
  /** Reserves rids; the first of them. */
  reserve(shardId: number, rows: number, firstRid: number | undefined): number;
  nextRid(shardId: number): number;
}

interface PendingCsv {
  form: 'canonical' | 'heap';
  path: string;
  fd: number;
  rows: number;
  bytes: number;
  /** Longest piece written, which bounds a line. */
  longest: number;
  /** Canonical rows have consecutive rids from here; undefined: not given yet. Heap CSV has them in it. */
  firstRid: number | undefined;
}

interface StagedFile {
  path: string;
  rows: number;
}

export class ColumnarStaging {
  readonly shard: ShardDef;
  private readonly context: StagingContext;
  private readonly storages: Storage[];
  private pending: PendingCsv | null = null;
  /** Conversion under way; awaited before the next begins. */
  private converting: Promise<void> = Promise.resolve();
  private files: StagedFile[] = [];
  private deletes = false;
  private base: boolean;
  /** CSV that was given to conversion. */
  private converted = 0;
  private failure: unknown;

  /** @param base does the shard's table exist outside of this transaction? */
  constructor(shard: ShardDef, base: boolean, context: StagingContext) {
    this.shard = shard;
    this.base = base;
    this.context = context;
    this.storages = shard.columns.map((column) => storageOf(column.typeOid, column.typmod));
  }

  get isEmpty(): boolean {
    return this.pending === null && this.files.length === 0 && !this.deletes && this.base;
  }

  /** Heap values; the number of rows. Checked for uniqueness at once. */
  async insert(rows: HeapValue[][], firstRid: number | undefined): Promise<number> {
    if (rows.length === 0) return 0;
    const rid = this.context.reserve(this.shard.shardId, rows.length, firstRid);
    const text = rows.map((row, i) => heapCsvRow(this.storages, rid + i, row)).join('');
    await this.append('heap', Buffer.from(text, 'utf8'), rows.length, undefined);
    if (uniqueKeys(this.shard).length > 0) await this.settle();
    return rows.length;
  }

  /** Canonical CSV of whole rows. */
  async insertCsv(csv: Buffer, rows: number, firstRid: number | undefined): Promise<void> {
    if (rows === 0) return;
    await this.append('canonical', csv, rows, firstRid);
  }

  private async append(form: PendingCsv['form'], bytes: Buffer, rows: number, firstRid: number | undefined): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    const open = this.pending;
    const follows =
      open !== null &&
      open.form === form &&
      (firstRid === undefined ? open.firstRid === undefined : firstRid === open.firstRid! + open.rows);
    if (open !== null && !follows) await this.convertPending();
    this.pending ??= this.startPending(form, firstRid);
    for (let offset = 0; offset < bytes.length; ) offset += writeSync(this.pending.fd, bytes, offset);
    this.pending.rows += rows;
    this.pending.bytes += bytes.length;
    this.pending.longest = Math.max(this.pending.longest, bytes.length);
    const enough = Math.min(Math.max(CONVERT_BYTES, this.converted * CONVERT_SHARE), MOST_CONVERT_BYTES);
    if (this.pending.bytes >= enough) await this.convertInBackground();
  }

  private startPending(form: PendingCsv['form'], firstRid: number | undefined): PendingCsv {
    const path = temporaryFile(this.context.directory, 'csv');
    return { form, path, fd: openSync(path, 'w', 0o600), rows: 0, bytes: 0, longest: 0, firstRid };
  }

  /** One conversion runs while the next rows arrive; an error comes with the next call. */
  private async convertInBackground(): Promise<void> {
    await this.converting;
    if (this.failure !== undefined) throw this.failure;
    const pending = this.pending!;
    this.pending = null;
    this.converted += pending.bytes;
    this.converting = this.convert(pending).catch((error: unknown) => {
      this.failure = error;
    });
  }

  /** Everything that was given is in staged files. Unlike `settle` it may run for many shards at once. */
  async convertPending(): Promise<void> {
    if (this.pending !== null) await this.convertInBackground();
    await this.converting;
    if (this.failure !== undefined) throw this.failure;
  }

  private async convert(pending: PendingCsv): Promise<void> {
    closeSync(pending.fd);
    try {
      const select =
        pending.form === 'heap'
          ? selectHeapCsv(pending.path, this.shard.columns, pending.longest)
          : this.selectCanonical(pending);
      await this.context.convert((conn) => this.stage(conn, select, pending.rows));
    } catch (error) {
      throw pending.form === 'canonical' ? unreadable(error) : unstorable(error);
    } finally {
      rmSync(pending.path, { force: true });
    }
  }

  /** Canonical text casts to DuckDB's types as it is, bytea excepted. Rids follow the rows' order. */
  private selectCanonical(pending: PendingCsv): string {
    const first = this.context.reserve(this.shard.shardId, pending.rows, pending.firstRid);
    const spec = this.shard.columns.map((column, i): [string, string] => [
      columnName(column),
      canonicalCsvType(this.storages[i]!),
    ]);
    const list = this.shard.columns.map(
      (column, i) => `${duckFromCanonical(this.storages[i]!, columnName(column))} AS ${columnName(column)}`,
    );
    const rid = `CAST(row_number() OVER () + ${first - 1} AS BIGINT) AS _rid`;
    return `SELECT ${[rid, ...list].join(', ')} FROM read_csv(${quoteText(pending.path)}, ${csvOptions(spec, pending.longest)})`;
  }

  /** Writes the rows of a query to a new staged file. */
  private async stage(conn: DuckDBConnection, select: string, rows: number): Promise<void> {
    const path = temporaryFile(this.context.directory, 'parquet');
    const result = await conn.run(`COPY (${select}) TO ${quoteText(path)} (FORMAT parquet)`);
    this.files.push({ path, rows });
    const copied = Number((await result.getRows())[0]?.[0]);
    if (copied !== rows) throw internalError(`${copied} rows of ${rows} were staged for ${this.shard.relation}`);
    if (statSync(path).size > INLINE_BYTES) await syncEarly(path);
  }

  /** All that was given is in staged files and unique; after it `overlay` is true. */
  async settle(): Promise<void> {
    const before = this.files.length;
    await this.convertPending();
    const added = this.files.slice(before);
    if (added.length > 0) await this.checkUnique(added);
    if (this.files.length >= MERGE_FILES) await this.merge();
  }

  /** UPDATE and DELETE: `select` yields `_rid` of the old row and, for an update, all columns of the new one. */
  async modify(op: 'update' | 'delete', select: string): Promise<number> {
    await this.settle();
    const conn = await this.context.conn();
    const table = quoteIdent(`mod_${this.shard.shardId}`);
    await conn.run(`CREATE OR REPLACE TEMP TABLE ${table} AS ${select}`);
    try {
      const rows = await duckNumber(conn, `SELECT count(*) FROM ${table}`);
      if (rows === 0) return 0;
      const distinct = await duckNumber(conn, `SELECT count(DISTINCT _rid) FROM ${table}`);
      if (distinct !== rows) throw internalError(`a row of ${this.shard.relation} would be changed twice by one statement`);
      await this.markDeleted(conn, table);
      if (op === 'update') await this.stageUpdated(conn, table, rows);
      return rows;
    } finally {
      await conn.run(`DROP TABLE IF EXISTS ${table}`);
    }
  }

  private async markDeleted(conn: DuckDBConnection, table: string): Promise<void> {
    await conn.run(`CREATE TEMP TABLE IF NOT EXISTS ${this.deleteTable()} (rid BIGINT)`);
    await conn.run(`INSERT INTO ${this.deleteTable()} SELECT _rid FROM ${table}`);
    this.deletes = true;
  }

  private async stageUpdated(conn: DuckDBConnection, table: string, rows: number): Promise<void> {
    const first = this.context.reserve(this.shard.shardId, rows, undefined);
    const columns = this.shard.columns.map(
      (column, i) => `CAST(${columnName(column)} AS ${this.storages[i]!.duckdb}) AS ${columnName(column)}`,
    );
    try {
      const rid = `CAST(row_number() OVER () + ${first - 1} AS BIGINT) AS _rid`;
      await this.stage(conn, `SELECT ${[rid, ...columns].join(', ')} FROM ${table}`, rows);
    } catch (error) {
      throw unstorable(error);
    }
    await this.checkUnique(this.files.slice(-1));
    if (this.files.length >= MERGE_FILES) await this.merge();
  }

  private deleteTable(): string {
    return quoteIdent(`del_${this.shard.shardId}`);
  }

  /** TRUNCATE (or the shard is new): nothing of before is seen. */
  async truncate(): Promise<void> {
    await this.discard();
    if (this.deletes) await (await this.context.conn()).run(`DROP TABLE ${this.deleteTable()}`);
    this.deletes = false;
    this.base = false;
  }

  /** The shard as the transaction sees it, in parentheses; null where it has changed nothing. Call `settle` before. */
  overlay(): string | null {
    if (this.pending !== null) throw internalError(`staged rows of ${this.shard.relation} are not settled`);
    if (this.base && this.files.length === 0 && !this.deletes) return null;
    const parts: string[] = [];
    if (this.base) parts.push(this.withoutDeleted(quoteIdent(this.shard.relation)));
    if (this.files.length > 0) parts.push(this.withoutDeleted(readParquet(this.files)));
    if (parts.length === 0) return `(${this.emptyRows()})`;
    return `(${parts.join(' UNION ALL ')})`;
  }

  private withoutDeleted(source: string): string {
    const anti = this.deletes ? ` ANTI JOIN ${this.deleteTable()} d ON s._rid = d.rid` : '';
    return `SELECT ${allColumns(this.shard, 's.')} FROM ${source} s${anti}`;
  }

  private emptyRows(): string {
    const columns = this.shard.columns.map((column, i) => `CAST(NULL AS ${this.storages[i]!.duckdb}) AS ${columnName(column)}`);
    return `SELECT ${['CAST(NULL AS BIGINT) AS _rid', ...columns].join(', ')} WHERE false`;
  }

  /** Keys of the added rows must be unique among all that the transaction sees; the lock W keeps others away. */
  private async checkUnique(added: StagedFile[]): Promise<void> {
    const overlay = this.overlay() ?? quoteIdent(this.shard.relation);
    for (const key of uniqueKeys(this.shard)) {
      const conn = await this.context.conn();
      const parts = key.columns.map(keyPart);
      const given = key.columns.map((column) => `${columnName(column)} IS NOT NULL`).join(' AND ');
      const names = parts.map((_, i) => `k${i}`).join(', ');
      const keys = parts.map((part, i) => `${part} AS k${i}`).join(', ');
      const [found] = await duckRows(
        conn,
        `WITH n AS (SELECT DISTINCT ${keys} FROM ${readParquet(added)} WHERE ${given}), ` +
          `o AS (SELECT _rid, ${keys} FROM ${overlay} x WHERE ${given}) ` +
          `SELECT max(_rid) FROM o WHERE (${names}) IN (SELECT (${names}) FROM n) GROUP BY ${names} HAVING count(*) > 1 LIMIT 1`,
      );
      if (found !== undefined) throw await this.duplicate(conn, overlay, key, String(found[0]));
    }
  }

  private async duplicate(conn: DuckDBConnection, overlay: string, key: UniqueKey, rid: string): Promise<SqlError> {
    const texts = key.columns.map((column) => `CAST(${columnName(column)} AS VARCHAR)`).join(', ');
    const [row] = await duckRows(conn, `SELECT ${texts} FROM ${overlay} x WHERE _rid = ${rid} LIMIT 1`);
    const error = duplicateKey(this.shard, key, null);
    const names = key.columns.map((column) => column.name).join(', ');
    error.fields.detail = `Key (${names})=(${(row ?? []).map(String).join(', ')}) already exists.`;
    return error;
  }

  /** Puts all staged files into one, without the rows that were deleted again. */
  private async merge(): Promise<void> {
    const conn = await this.context.conn();
    const old = this.files;
    const rows = await duckNumber(conn, `SELECT count(*) FROM (${this.withoutDeleted(readParquet(old))})`);
    this.files = [];
    if (rows > 0) await this.stage(conn, this.withoutDeleted(readParquet(old)), rows);
    if (this.deletes) {
      await conn.run(`DELETE FROM ${this.deleteTable()} WHERE rid IN (SELECT _rid FROM ${readParquet(old)})`);
    }
    for (const file of old) rmSync(file.path, { force: true });
  }

  /**
   * Net changes; the files get their names as batches or stand inline.
   * @param newBatch name and path of a new batch file.
   */
  async freeze(newBatch: () => { name: string; path: string }): Promise<ShardChanges> {
    await this.settle();
    const conn = this.deletes ? await this.context.conn() : null;
    if (this.files.length > 0 && (conn !== null || this.files.length > 1) && (conn !== null || this.isSmall()))
      await this.merge();
    let deleted: number[] = [];
    if (conn !== null)
      deleted = (await duckRows(conn, `SELECT rid FROM ${this.deleteTable()} ORDER BY rid`)).map(([rid]) => Number(rid));
    const batches: BatchRef[] = [];
    for (const file of this.files) batches.push(await toBatch(file, newBatch));
    this.files = [];
    return { shardId: this.shard.shardId, nextRid: this.context.nextRid(this.shard.shardId), deleted, inserted: [], batches };
  }

  /** Files of many short statements are put together, those of a bulk load are not. */
  private isSmall(): boolean {
    return this.files.reduce((sum, file) => sum + statSync(file.path).size, 0) < this.files.length * INLINE_BYTES;
  }

  /** Removes what is staged in files. */
  async discard(): Promise<void> {
    await this.converting;
    if (this.pending !== null) {
      closeSync(this.pending.fd);
      rmSync(this.pending.path, { force: true });
    }
    this.pending = null;
    for (const file of this.files) rmSync(file.path, { force: true });
    this.files = [];
  }
}

function readParquet(files: StagedFile[]): string {
  return `read_parquet([${files.map((file) => quoteText(file.path)).join(', ')}])`;
}

async function toBatch(file: StagedFile, newBatch: () => { name: string; path: string }): Promise<BatchRef> {
  const bytes = statSync(file.path).size;
  const { name, path } = newBatch();
  const batch: BatchRef = { name, format: 'parquet', rows: file.rows, bytes, checksum: '' };
  if (bytes <= INLINE_BYTES) {
    batch.inline = readFileSync(file.path);
    batch.checksum = createHash('sha256').update(batch.inline).digest('hex');
    rmSync(file.path);
  } else {
    batch.checksum = await fileChecksum(file.path);
    moveFile(file.path, path);
  }
  return batch;
}

/** The log may lie on another disk than the stores. */
function moveFile(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    copyFileSync(from, to);
    rmSync(from);
  }
}

/** SHA-256 of a file, hex. */
export async function fileChecksum(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Type in which a field of canonical CSV is read. */
function canonicalCsvType(storage: Storage): string {
  switch (storage.class) {
    case 'bytea':
    case 'bool':
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return 'VARCHAR';
    default:
      return storage.duckdb;
  }
}

/** DuckDB's type of a canonical text. PostgreSQL writes `0001-01-01 00:00:00 BC`, DuckDB `0001-01-01 (BC) 00:00:00`. */
function duckFromCanonical(storage: Storage, sql: string): string {
  switch (storage.class) {
    case 'bytea':
      return `unhex(substr(${sql}, 3))`;
    case 'bool':
      return `(${sql} = 't')`;
    case 'date':
    case 'timestamp':
    case 'timestamptz': {
      const beforeChrist = `regexp_replace(${sql}, '^([0-9-]+)(.*) BC$', '\\1 (BC)\\2')`;
      return `CAST(CASE WHEN ends_with(${sql}, ' BC') THEN ${beforeChrist} ELSE ${sql} END AS ${storage.duckdb})`;
    }
    default:
      return sql;
  }
}

/** The coordinator has validated the text, so an error here is about what DuckDB cannot read. */
function unreadable(error: unknown): unknown {
  if (error instanceof SqlError) return error;
  return outOfSpace(error) ?? refused(`columnar storage cannot read a value: ${firstLine(error)}`, error);
}

/** PostgreSQL has such values, DuckDB has not. */
function refused(message: string, cause: unknown): SqlError {
  return new SqlError('0A000', message, { hint: 'Use a table USING heap for such values.', cause });
}

function unstorable(error: unknown): unknown {
  if (error instanceof SqlError) return error;
  const message = firstLine(error);
  const isRange = /out of range|overflow|Could not cast|Could not convert/i.test(message);
  return outOfSpace(error) ?? (isRange ? refused(`columnar storage cannot hold a value: ${message}`, error) : error);
}

function outOfSpace(error: unknown): SqlError | undefined {
  const message = firstLine(error);
  if (/No space left|max_temp_directory_size/i.test(message)) return new SqlError('53100', message, { cause: error });
  if (/Out of Memory/i.test(message))
    return new SqlError('53200', message, { cause: error, hint: 'Raise damson.segment_memory.' });
  return undefined;
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}
