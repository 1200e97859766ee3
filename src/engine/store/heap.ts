/**
 * The heap file of one set: connections, the one open write transaction, and the bookkeeping kept in the same SQLite transaction as the rows
 * (`_damson`: applied, source of a move; `_damson_shard`: nextRid and number of rows of each shard).
 *
 * Connections have no busy timeout (a segment never waits) and never checkpoint by themselves. The files must not be opened by other means in this
 * process: closing any descriptor of an SQLite file drops the process's locks on it.
 */
import { existsSync, rmSync, statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { assert, internalError } from '../../core/errors.js';
import type { Lsn } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';

export type MoveSource = { content: number; lsn: Lsn };
export type ConfigureHeap = (db: Database.Database) => void;

const IDLE_READERS = 2;
const CACHED_STATEMENTS = 256;

export interface HeapShardState {
  shardId: number;
  nextRid: number;
  rows: number;
}

export class HeapSet {
  readonly setKey: SetKey;
  readonly file: string;
  readonly path: string;
  /** lsn of the last transaction committed here. */
  applied: Lsn;
  src: MoveSource | null = null;
  /** lsn of the first commit that no fsync of the WAL has covered; null: all are durable. */
  firstDirty: Lsn | null = null;
  /** Checkpoints are held while the file is being copied. */
  holds = 0;
  private writer: Database.Database | null = null;
  private writing = false;
  private readonly statements = new Map<string, Database.Statement>();
  private readonly idle: Database.Database[] = [];
  private auto: Database.Database | null = null;
  private retired = false;
  private readonly configure: ConfigureHeap;

  /** Opens the file, or makes it where it is missing. `floor`: what `applied` is at least. */
  constructor(setKey: SetKey, file: string, path: string, floor: Lsn, configure: ConfigureHeap) {
    this.setKey = setKey;
    this.file = file;
    this.path = path;
    this.configure = configure;
    const db = this.connectWriter();
    db.exec(`
      CREATE TABLE IF NOT EXISTS _damson (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS _damson_shard (shardId INTEGER PRIMARY KEY, nextRid INTEGER NOT NULL, rows INTEGER NOT NULL) STRICT;`);
    const values = new Map(
      (db.prepare('SELECT key, value FROM _damson').all() as { key: string; value: number }[]).map((r) => [r.key, r.value]),
    );
    this.applied = Math.max(values.get('applied') ?? -1, floor);
    const content = values.get('srcContent');
    if (content !== undefined) this.src = { content, lsn: values.get('srcLsn') ?? 0 };
  }

  shardStates(): HeapShardState[] {
    return this.connectWriter().prepare('SELECT shardId, nextRid, rows FROM _damson_shard').all() as HeapShardState[];
  }

  private connect(): Database.Database {
    const db = new Database(this.path, { timeout: 0 });
    db.pragma('wal_autocheckpoint = 0');
    db.pragma('synchronous = NORMAL');
    db.pragma('temp_store = MEMORY');
    this.configure(db);
    return db;
  }

  private connectWriter(): Database.Database {
    if (this.writer === null) {
      this.writer = this.connect();
      this.writer.pragma('journal_mode = WAL');
      this.writer.pragma('cache_size = -8192');
      // What readers made longer is cut when the WAL begins anew.
      this.writer.pragma('journal_size_limit = 8388608');
    }
    return this.writer;
  }

  /** A reader in autocommit. */
  autoReader(): Database.Database {
    this.auto ??= this.connectReader();
    return this.auto;
  }

  private connectReader(): Database.Database {
    const db = this.connect();
    db.pragma('query_only = ON');
    return db;
  }

  /** A connection inside a read transaction that has its snapshot; give it back with `releaseReader`. */
  acquireReader(): Database.Database {
    const db = this.idle.pop() ?? this.connectReader();
    db.exec('BEGIN');
    db.prepare('SELECT 1 FROM _damson LIMIT 1').get();
    return db;
  }

  releaseReader(db: Database.Database): void {
    if (db.inTransaction) db.exec('ROLLBACK');
    if (this.retired || this.idle.length >= IDLE_READERS) db.close();
    else this.idle.push(db);
  }

  get isWriting(): boolean {
    return this.writing;
  }

  /** BEGIN IMMEDIATE on the set's writer. There is one; a second caller is a defect of the lock manager above. */
  beginWrite(): Database.Database {
    if (this.writing) throw internalError(`set ${this.setKey} is being written by another transaction`);
    const db = this.connectWriter();
    db.exec('BEGIN IMMEDIATE');
    this.writing = true;
    return db;
  }

  writeConnection(): Database.Database {
    assert(this.writing && this.writer !== null, `set ${this.setKey} has a write transaction`);
    return this.writer;
  }

  /** A prepared statement of the writer, kept. */
  prepare(sql: string): Database.Statement {
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      if (this.statements.size >= CACHED_STATEMENTS) this.statements.clear();
      statement = this.connectWriter().prepare(sql);
      this.statements.set(sql, statement);
    }
    return statement;
  }

  /** Writes `applied` (and the move's source) into the open transaction. */
  stamp(lsn: Lsn, src: MoveSource | null): void {
    this.setValue('applied', lsn);
    if (src !== null) {
      this.setValue('srcContent', src.content);
      this.setValue('srcLsn', src.lsn);
    }
  }

  private setValue(key: string, value: number): void {
    this.prepare('INSERT INTO _damson (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value').run(
      key,
      BigInt(value),
    );
  }

  /** Writes a shard's counters into the open transaction; `nextRid` never falls. */
  stampShard(shardId: number, nextRid: number, rowsAdded: number): void {
    this.prepare('UPDATE _damson_shard SET nextRid = max(nextRid, ?), rows = rows + ? WHERE shardId = ?').run(
      BigInt(nextRid),
      BigInt(rowsAdded),
      shardId,
    );
  }

  /** Commits the open write transaction, which carries `applied = lsn`. */
  commitWrite(lsn: Lsn, src: MoveSource | null): void {
    this.writeConnection().exec('COMMIT');
    this.writing = false;
    this.applied = lsn;
    if (src !== null) this.src = src;
    this.firstDirty ??= lsn;
  }

  rollbackWrite(): void {
    if (!this.writing) return;
    const db = this.writeConnection();
    if (db.inTransaction) db.exec('ROLLBACK');
    this.writing = false;
  }

  walBytes(): number {
    return fileBytes(`${this.path}-wal`);
  }

  /** Bytes of the file and its WAL. */
  bytes(): number {
    return fileBytes(this.path) + this.walBytes();
  }

  /** Closes what is not in use; readers in use are closed when they are given back. */
  close(): void {
    this.retired = true;
    this.rollbackWrite();
    this.statements.clear();
    for (const db of this.idle.splice(0)) db.close();
    this.auto?.close();
    this.auto = null;
    this.writer?.close();
    this.writer = null;
  }

  /** Closes and removes the file. Snapshots that are open keep reading what they have. */
  remove(): void {
    // Unlinked first: closing the last connection would checkpoint for nothing.
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${this.path}${suffix}`, { force: true });
    this.close();
  }
}

function fileBytes(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}
