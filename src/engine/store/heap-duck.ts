/**
 * The road from heap values to DuckDB. Rows are written as *heap CSV*: `_rid` first, then each column's heap value
 * (model/storage.ts) as text; NULL is an empty field, text is always quoted, bytea is hexadecimal and quoted, a float has 17 digits.
 * DuckDB reads it with explicit types (`heapCsvColumns`), and `duckFromHeap` turns each field into the column's own type, exactly or with an error.
 */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DuckDBConnection } from '@duckdb/node-api';
import type Database from 'better-sqlite3';
import { internalError } from '../../core/errors.js';
import { type HeapValue, type Storage, storageOf } from '../../model/storage.js';
import type { ColumnDef } from '../../model/table.js';
import { columnName, numberedParams, quoteIdent, quoteText } from './sql.js';

/** Microseconds from 1970-01-01 (DuckDB's zero) to 2000-01-01 (PostgreSQL's). */
const EPOCH_SHIFT = '946684800000000';
const INT64_MAX = '9223372036854775807';
/** Written without a literal that overflows before its sign is applied. */
const INT64_MIN = '(-9223372036854775807 - 1)';

/** Type in which a heap value's text is read from CSV, before `duckFromHeap`. */
export function heapCsvType(storage: Storage): string {
  switch (storage.class) {
    case 'int':
      return storage.duckdb;
    case 'float':
      return 'DOUBLE';
    case 'bool':
    case 'decimal':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'timestamptz':
      return 'BIGINT';
    default:
      return 'VARCHAR';
  }
}

/**
 * SQL that turns a heap value as read from CSV (type `heapCsvType`) into the column's DuckDB type. It raises an error where DuckDB cannot hold the value
 * (a timestamp after the year 294247, NaN in a DECIMAL).
 */
export function duckFromHeap(storage: Storage, sql: string): string {
  switch (storage.class) {
    case 'bool':
      return `(${sql} <> 0)`;
    case 'float':
      return `CAST(${sql} AS ${storage.duckdb})`;
    case 'decimal':
      return decimalFromScaled(storage, sql);
    case 'numeric':
      return storage.duckdb === 'VARCHAR' ? sql : `CAST(${sql} AS ${storage.duckdb})`;
    case 'bytea':
      return `unhex(${sql})`;
    case 'date':
      return `CASE ${sql} WHEN 2147483647 THEN DATE 'infinity' WHEN -2147483648 THEN DATE '-infinity' ELSE DATE '2000-01-01' + CAST(${sql} AS INTEGER) END`;
    case 'time':
      return `CASE ${sql} WHEN 86400000000 THEN TIME '24:00:00' ELSE CAST(make_timestamp(${sql}) AS TIME) END`;
    case 'timestamp':
    case 'timestamptz':
      return pointInTime(storage.class, sql);
    case 'uuid':
      return `CAST(${sql} AS UUID)`;
    default:
      return sql;
  }
}

/** DECIMAL(18,0) times 10^-s is exact: 18 + s + 1 digits are at most 37. */
function decimalFromScaled(storage: Storage, sql: string): string {
  const scale = storage.scale ?? 0;
  if (scale === 0) return `CAST(${sql} AS ${storage.duckdb})`;
  const unit = `CAST('${`0.${'0'.repeat(scale - 1)}1`}' AS DECIMAL(${scale + 1},${scale}))`;
  return `CAST(CAST(${sql} AS DECIMAL(18,0)) * ${unit} AS ${storage.duckdb})`;
}

function pointInTime(kind: 'timestamp' | 'timestamptz', sql: string): string {
  const type = kind === 'timestamp' ? 'TIMESTAMP' : 'TIMESTAMPTZ';
  return (
    `CASE ${sql} WHEN ${INT64_MAX} THEN CAST('infinity' AS ${type}) WHEN ${INT64_MIN} THEN CAST('-infinity' AS ${type}) ` +
    `ELSE make_${kind}(${sql} + ${EPOCH_SHIFT}) END`
  );
}

/** Is a heap value of this storage quoted in heap CSV? */
function isQuoted(storage: Storage): boolean {
  return heapCsvType(storage) === 'VARCHAR';
}

/** SQLite expression for the heap CSV text of one column. */
function sqliteCsv(storage: Storage, column: string): string {
  if (storage.class === 'bytea') return `iif(${column} IS NULL, '', '"' || hex(${column}) || '"')`;
  if (isQuoted(storage)) return `ifnull('"' || replace(${column}, '"', '""') || '"', '')`;
  if (storage.class !== 'float') return `ifnull(${column}, '')`;
  // printf drops the sign of -0, so atan2 looks at it; NaN is text.
  return (
    `CASE typeof(${column}) WHEN 'real' THEN iif(${column} = 0, iif(atan2(${column}, -1) < 0, '-0', '0'), printf('%!.17g', ${column})) ` +
    `WHEN 'null' THEN '' ELSE ${column} END`
  );
}

/** Appends one row in heap CSV, with its line end. */
export function heapCsvRow(storages: Storage[], rid: number, row: HeapValue[]): string {
  let line = String(rid);
  for (let i = 0; i < storages.length; i++) line += `,${heapCsvField(storages[i]!, row[i] ?? null)}`;
  return `${line}\n`;
}

function heapCsvField(storage: Storage, value: HeapValue): string {
  if (value === null) return '';
  if (storage.class === 'bytea') return `"${(value as Buffer).toString('hex')}"`;
  if (isQuoted(storage)) return `"${String(value).replaceAll('"', '""')}"`;
  if (Object.is(value, -0)) return '-0';
  return String(value);
}

/** How DuckDB reads CSV that we have written; `bytes` is the file's length, which bounds a line's. */
export function csvOptions(columns: [name: string, type: string][], bytes: number): string {
  const spec = columns.map(([name, type]) => `${quoteText(name)}: ${quoteText(type)}`).join(', ');
  const line = Math.max(2 ** 21, bytes + 1);
  return (
    `columns={${spec}}, auto_detect=false, header=false, delim=',', quote='"', escape='"', nullstr='', allow_quoted_nulls=false, ` +
    `new_line='\\n', max_line_size=${line}, buffer_size=${2 * line}`
  );
}

/** `SELECT _rid, c1, …` in DuckDB's types from a file of heap CSV with these columns. */
export function selectHeapCsv(path: string, columns: ColumnDef[], bytes: number): string {
  const storages = columns.map((column) => storageOf(column.typeOid, column.typmod));
  const spec: [string, string][] = [
    ['_rid', 'BIGINT'],
    ...columns.map((c, i): [string, string] => [columnName(c), heapCsvType(storages[i]!)]),
  ];
  const list = ['_rid', ...columns.map((c, i) => `${duckFromHeap(storages[i]!, columnName(c))} AS ${columnName(c)}`)];
  return `SELECT ${list.join(', ')} FROM read_csv(${quoteText(path)}, ${csvOptions(spec, bytes)})`;
}

const CHUNK_BYTES = 2 ** 22;
const FIRST_CHUNK_ROWS = 64;
const MAX_CHUNK_ROWS = 20_000;
/** Rows are read by DuckDB in files of about this size, so that temporary space and line buffers stay bounded. */
const FILE_BYTES = 2 ** 23;

let fileCounter = 0;

/** A name for a temporary file that no other caller of this process has. */
export function temporaryFile(directory: string, extension: string): string {
  return join(directory, `${process.pid}-${++fileCounter}.${extension}`);
}

/**
 * Carries heap rows into a new DuckDB temporary table `tableName` with columns `_rid BIGINT` and `c<attnum>` in DuckDB's types.
 * SQLite itself writes the CSV, some thousand rows at a time; the event loop gets its turn between.
 * @param db inside a read (or write) transaction, so that all chunks see one snapshot.
 * @param columns those to carry, of the heap relation.
 * @param filter SQLite condition over `c<attnum>`, or null; may hold parameters `?1` …, then `params`.
 * @param directory for temporary files, which are removed.
 * @returns rows carried.
 * @throws SqlError XX000 where db holds no transaction; DuckDB's own error where it cannot hold a value.
 */
export async function heapRowsToDuckTable(
  conn: DuckDBConnection,
  db: Database.Database,
  relation: string,
  columns: ColumnDef[],
  filter: string | null,
  tableName: string,
  directory: string,
  params: HeapValue[] = [],
): Promise<number> {
  if (!db.inTransaction) throw internalError('heap rows are carried over inside a transaction only');
  const table = quoteIdent(tableName);
  const definitions = columns.map((c) => `${columnName(c)} ${storageOf(c.typeOid, c.typmod).duckdb}`);
  await conn.run(`CREATE TEMP TABLE ${table} (${['_rid BIGINT', ...definitions].join(', ')})`);
  const chunks = heapCsvChunks(db, relation, columns, filter, params);
  const insert = async (path: string, part: CsvPart) => {
    if (part.rows > 0) await conn.run(`INSERT INTO ${table} ${selectHeapCsv(path, columns, part.longest)}`);
  };
  // Two files by turns: DuckDB reads one while SQLite writes the other.
  const paths = [temporaryFile(directory, 'csv'), temporaryFile(directory, 'csv')];
  let inserting: Promise<void> = Promise.resolve();
  let rows = 0;
  try {
    for (let turn = 0; ; turn++) {
      const path = paths[turn % 2]!;
      const part = await writeChunks(path, chunks);
      await inserting;
      inserting = insert(path, part);
      // Awaited on the next turn; a failure meanwhile must not count as unhandled.
      inserting.catch(() => {});
      rows += part.rows;
      if (!part.end) continue;
      await inserting;
      return rows;
    }
  } finally {
    await inserting.catch(() => {});
    for (const path of paths) rmSync(path, { force: true });
  }
}

interface CsvChunk {
  text: string;
  rows: number;
}

interface CsvPart {
  rows: number;
  bytes: number;
  /** Bytes of the longest chunk, which bounds every line. */
  longest: number;
  end: boolean;
}

/** Writes chunks to a new file until they end or the file is long enough. */
async function writeChunks(path: string, chunks: Iterator<CsvChunk>): Promise<CsvPart> {
  const fd = openSync(path, 'w', 0o600);
  const done = { rows: 0, bytes: 0, longest: 0, end: false };
  try {
    while (done.bytes < FILE_BYTES) {
      const next = chunks.next();
      if (next.done) {
        done.end = true;
        break;
      }
      const bytes = Buffer.from(next.value.text, 'utf8');
      for (let offset = 0; offset < bytes.length; ) offset += writeSync(fd, bytes, offset);
      done.rows += next.value.rows;
      done.bytes += bytes.length;
      done.longest = Math.max(done.longest, bytes.length);
      await nextTurn();
    }
  } finally {
    closeSync(fd);
  }
  return done;
}

/** Heap CSV of a relation in rid order. A chunk grows to some MB; one that is too long for SQLite is tried again with fewer rows. */
function* heapCsvChunks(
  db: Database.Database,
  relation: string,
  columns: ColumnDef[],
  filter: string | null,
  params: HeapValue[],
): Generator<CsvChunk> {
  const names = ['_rid', ...columns.map(columnName)];
  const line = ['_rid', ...columns.map((c) => sqliteCsv(storageOf(c.typeOid, c.typmod), columnName(c)))].join(" || ',' || ");
  const after = `?${params.length + 1}`;
  const limit = `?${params.length + 2}`;
  const inner =
    `SELECT ${names.join(', ')} FROM ${quoteIdent(relation)} WHERE _rid > ${after} ` +
    `${filter === null ? '' : `AND (${filter}) `}ORDER BY _rid LIMIT ${limit}`;
  const statement = db
    .prepare(`SELECT group_concat(${line}, char(10)) || char(10), max(_rid), count(*) FROM (${inner})`)
    .raw(true);
  const values = numberedParams(params);
  let last: number | bigint = -(2n ** 63n);
  let count = FIRST_CHUNK_ROWS;
  for (;;) {
    let row: [string | null, number | bigint | null, number | bigint];
    try {
      row = statement.get({ ...values, [params.length + 1]: last, [params.length + 2]: BigInt(count) }) as typeof row;
    } catch (error) {
      if (count === 1 || !isTooBig(error)) throw error;
      count = Math.max(1, count >> 2);
      continue;
    }
    const rows = Number(row[2]);
    if (rows === 0) return;
    last = row[1]!;
    yield { text: row[0]!, rows };
    count = nextCount(count, row[0]!.length / rows);
  }
}

function isTooBig(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return code === 'SQLITE_TOOBIG' || code === 'ERR_STRING_TOO_LONG' || code === 'SQLITE_NOMEM';
}

function nextCount(count: number, averageBytes: number): number {
  return Math.max(1, Math.min(count * 8, MAX_CHUNK_ROWS, Math.floor(CHUNK_BYTES / averageBytes)));
}
