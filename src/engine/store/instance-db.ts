/**
 * `instance.db`: which stores and shards an instance holds, and since which lsn (protocols, section 1). synchronous=FULL: what it says is durable.
 *
 * A shard is listed before its store creates it and unlisted after its store has dropped it durably, so that whatever a store may hold after a crash is
 * either listed here or made again by replay. Dropped entries stay until the position has passed them: replay of older records skips them.
 */
import Database from 'better-sqlite3';
import type { Lsn } from '../../model/log.js';
import type { SetKey, ShardDef } from '../../model/table.js';

export interface ListedShard {
  def: ShardDef;
  created: Lsn;
}

/** A heap file of a set, by its name under `sets/`. */
export interface ListedFile {
  setKey: SetKey;
  file: string;
  created: Lsn;
}

export class InstanceDb {
  readonly shards = new Map<number, ListedShard>();
  readonly files = new Map<SetKey, ListedFile>();
  private readonly droppedShards = new Map<number, Lsn>();
  private readonly droppedSets = new Map<SetKey, Lsn>();
  private readonly db: Database.Database;
  private current: Lsn;

  constructor(path: string) {
    this.db = new Database(path, { timeout: 0 });
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = FULL');
    this.db.exec(`
      CREATE TABLE IF NOT EXISTS stores (file TEXT PRIMARY KEY, setKey TEXT NOT NULL, created INTEGER NOT NULL, dropped INTEGER) STRICT;
      CREATE TABLE IF NOT EXISTS shards (shardId INTEGER PRIMARY KEY, def TEXT NOT NULL, created INTEGER NOT NULL, dropped INTEGER) STRICT;
      CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;`);
    this.current = (this.db.prepare("SELECT value FROM meta WHERE key = 'position'").pluck().get() as number | undefined) ?? 0;
    this.load();
  }

  /** Every store is durable up to here. */
  get position(): Lsn {
    return this.current;
  }

  private load(): void {
    for (const row of this.db.prepare('SELECT shardId, def, created, dropped FROM shards').all() as ShardRow[]) {
      if (row.dropped === null) this.shards.set(row.shardId, { def: JSON.parse(row.def) as ShardDef, created: row.created });
      else this.droppedShards.set(row.shardId, row.dropped);
    }
    for (const row of this.db.prepare('SELECT file, setKey, created, dropped FROM stores').all() as FileRow[]) {
      if (row.dropped === null) this.files.set(row.setKey, { setKey: row.setKey, file: row.file, created: row.created });
      else this.droppedSets.set(row.setKey, Math.max(row.dropped, this.droppedSets.get(row.setKey) ?? 0));
    }
  }

  /** Lists files and shards in one durable transaction; what is listed already keeps its `created`. */
  list(lsn: Lsn, file: ListedFile | null, shards: ShardDef[]): void {
    const newShards = shards.filter((def) => !this.shards.has(def.shardId));
    const newFile = file !== null && this.files.get(file.setKey)?.file !== file.file ? file : null;
    if (newFile === null && newShards.length === 0) return;
    this.db.transaction(() => {
      if (newFile !== null) {
        this.db.prepare('UPDATE stores SET dropped = ? WHERE setKey = ? AND dropped IS NULL').run(lsn, newFile.setKey);
        this.db
          .prepare('INSERT OR REPLACE INTO stores (file, setKey, created, dropped) VALUES (?, ?, ?, NULL)')
          .run(newFile.file, newFile.setKey, newFile.created);
      }
      for (const def of newShards) this.writeShard(def, lsn);
    })();
    if (newFile !== null) this.files.set(newFile.setKey, newFile);
    for (const def of newShards) {
      this.shards.set(def.shardId, { def, created: lsn });
      this.droppedShards.delete(def.shardId);
    }
  }

  private writeShard(def: ShardDef, created: Lsn): void {
    this.db
      .prepare('INSERT OR REPLACE INTO shards (shardId, def, created, dropped) VALUES (?, ?, ?, NULL)')
      .run(def.shardId, JSON.stringify(def), created);
  }

  /** A set installed anew: its file (if it has heap shards) and shards take the place of those it had, in one durable transaction. */
  replaceSet(lsn: Lsn, setKey: SetKey, file: string | null, shards: ShardDef[]): void {
    const old = [...this.shards.values()].flatMap(({ def }) => (def.setKey === setKey ? [def.shardId] : []));
    this.db.transaction(() => {
      for (const id of old) this.db.prepare('DELETE FROM shards WHERE shardId = ?').run(id);
      this.db.prepare('DELETE FROM stores WHERE setKey = ?').run(setKey);
      if (file !== null)
        this.db.prepare('INSERT INTO stores (file, setKey, created, dropped) VALUES (?, ?, ?, NULL)').run(file, setKey, lsn);
      for (const def of shards) this.writeShard(def, lsn);
    })();
    for (const id of old) this.shards.delete(id);
    this.files.delete(setKey);
    if (file !== null) this.files.set(setKey, { setKey, file, created: lsn });
    for (const def of shards) {
      this.shards.set(def.shardId, { def, created: lsn });
      this.droppedShards.delete(def.shardId);
    }
  }

  /** Replaces definitions (indexes). */
  redefine(defs: ShardDef[]): void {
    if (defs.length === 0) return;
    this.db.transaction(() => {
      for (const def of defs) this.writeShard(def, this.shards.get(def.shardId)!.created);
    })();
    for (const def of defs) this.shards.set(def.shardId, { def, created: this.shards.get(def.shardId)!.created });
  }

  /** Unlists; the stores have dropped them durably. `sets`: those whose heap file goes. */
  unlist(lsn: Lsn, shardIds: number[], sets: SetKey[]): void {
    const shards = shardIds.filter((id) => this.shards.has(id));
    const files = sets.filter((key) => this.files.has(key));
    if (shards.length === 0 && files.length === 0) return;
    this.db.transaction(() => {
      for (const id of shards) this.db.prepare('UPDATE shards SET dropped = ? WHERE shardId = ?').run(lsn, id);
      for (const key of files)
        this.db.prepare('UPDATE stores SET dropped = ? WHERE setKey = ? AND dropped IS NULL').run(lsn, key);
    })();
    for (const id of shards) {
      this.shards.delete(id);
      this.droppedShards.set(id, lsn);
    }
    for (const key of files) {
      this.files.delete(key);
      this.droppedSets.set(key, lsn);
    }
  }

  /** Was the shard dropped by a record that is not before `lsn`? Then that record's changes to it are void. */
  isShardDroppedAfter(shardId: number, lsn: Lsn): boolean {
    return (this.droppedShards.get(shardId) ?? -1) >= lsn;
  }

  isSetDroppedAfter(setKey: SetKey, lsn: Lsn): boolean {
    return (this.droppedSets.get(setKey) ?? -1) >= lsn;
  }

  /** Every store is durable up to `lsn`; entries dropped below are forgotten. */
  advance(lsn: Lsn): void {
    if (lsn <= this.current) return;
    this.db.transaction(() => {
      this.db
        .prepare("INSERT INTO meta (key, value) VALUES ('position', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
        .run(lsn);
      this.db.prepare('DELETE FROM shards WHERE dropped < ?').run(lsn);
      this.db.prepare('DELETE FROM stores WHERE dropped < ?').run(lsn);
    })();
    this.current = lsn;
    for (const [id, dropped] of this.droppedShards) if (dropped < lsn) this.droppedShards.delete(id);
    for (const [key, dropped] of this.droppedSets) if (dropped < lsn) this.droppedSets.delete(key);
  }

  close(): void {
    this.db.close();
  }
}

interface ShardRow {
  shardId: number;
  def: string;
  created: number;
  dropped: number | null;
}

interface FileRow {
  file: string;
  setKey: string;
  created: number;
  dropped: number | null;
}
