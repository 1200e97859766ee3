import Database from 'better-sqlite3';
import type { CatalogOp } from '../../model/catalog.js';
import { applyOp, emptyMaps } from './view.js';

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS rows (kind TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS applied (one INTEGER PRIMARY KEY CHECK (one = 1), lsn INTEGER NOT NULL);
  INSERT OR IGNORE INTO applied VALUES (1, -1);
`;

/**
 * `catalog.db`: one row for each row of the catalog, as JSON, and `applied`, the position of the last log record that is in.
 * The log is the truth: synchronous=NORMAL, because what a power cut takes from this file is applied again from the log.
 */
export class CatalogFile {
  private readonly db: Database.Database;
  private position: number;

  constructor(path: string) {
    this.db = new Database(path, { timeout: 0 });
    this.db.pragma('journal_mode = WAL');
    this.db.pragma('synchronous = NORMAL');
    this.db.exec(SCHEMA);
    this.position = this.db.prepare<[], { lsn: number }>('SELECT lsn FROM applied').get()?.lsn ?? -1;
  }

  get applied(): number {
    return this.position;
  }

  rows(): CatalogOp[] {
    const rows = this.db.prepare<[], { kind: string; key: string; json: string }>('SELECT kind, key, json FROM rows').all();
    return rows.map((row) => ({ kind: row.kind, key: row.key, row: JSON.parse(row.json) }) as CatalogOp);
  }

  /** One SQLite transaction: the changes and the position. */
  apply(ops: CatalogOp[], lsn: number): void {
    const put = this.db.prepare('INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET json = excluded.json');
    const remove = this.db.prepare('DELETE FROM rows WHERE kind = ? AND key = ?');
    const known = this.db.prepare<[string], { json: string }>("SELECT json FROM rows WHERE kind = 'counter' AND key = ?");
    this.db.transaction(() => {
      for (const op of ops) {
        if (op.row === null) remove.run(op.kind, op.key);
        else put.run(op.kind, op.key, JSON.stringify(op.kind === 'counter' ? notBelow(op, known.get(op.key)?.json) : op.row));
      }
      this.db.prepare('UPDATE applied SET lsn = ?').run(lsn);
    })();
    this.position = lsn;
  }

  /** Makes what was applied durable, and notes that nothing is missing up to `lsn`. */
  settle(lsn: number): void {
    const position = Math.max(this.position, lsn);
    // With FULL the commit syncs the whole WAL, so what NORMAL left is durable too.
    this.db.pragma('synchronous = FULL');
    try {
      this.db.prepare('UPDATE applied SET lsn = ?').run(position);
    } finally {
      this.db.pragma('synchronous = NORMAL');
    }
    this.position = position;
  }

  close(): void {
    this.db.close();
  }
}

/** The counter's row that memory has too: it never goes back. */
function notBelow(op: CatalogOp, before: string | undefined): unknown {
  const maps = emptyMaps();
  if (before !== undefined) maps.counter.set(op.key, JSON.parse(before));
  applyOp(maps, op);
  return maps.counter.get(op.key);
}
