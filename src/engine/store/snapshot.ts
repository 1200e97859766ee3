/** Held read positions over several stores, between which no publication falls (protocols, section 6). */
import type { DuckDBConnection, DuckDBPreparedStatement } from '@duckdb/node-api';
import type Database from 'better-sqlite3';
import { internalError } from '../../core/errors.js';
import type { SetKey } from '../../model/table.js';
import type { StoreCore } from './core.js';
import type { HeapSet } from './heap.js';
import type { ColumnarRead, StoreSnapshot } from './types.js';

/** @param atCut called when all positions are held and before anything is published after them. */
export async function openSnapshot(
  core: StoreCore,
  need: { heapSets: SetKey[]; columnar: boolean },
  atCut: (snapshot: StoreSnapshot) => void = () => {},
): Promise<StoreSnapshot> {
  const sets = [...new Set(need.heapSets)].map((setKey) => core.heap(setKey));
  // Taken before the lock: connecting may be slow.
  const conn = need.columnar ? await core.columnar.connections.acquire() : null;
  if (!core.lock.tryAcquire('open')) await core.lock.acquire('open');
  const snapshot = new Snapshot(core, conn);
  try {
    await snapshot.begin(sets);
    atCut(snapshot);
    return snapshot;
  } catch (error) {
    await snapshot.close();
    throw error;
  } finally {
    core.lock.release();
  }
}

/**
 * One statement, in a transaction of its own. DuckDB fixes the snapshot of a prepared statement where it is started, not where it is executed, because it
 * compares the catalog's version then; so the reading stands in the order of publications in the turn of this call, without a wait.
 */
export function beginColumnar(
  core: StoreCore,
  sql: string,
  bind: (statement: DuckDBPreparedStatement) => void,
  stream: boolean,
): ColumnarRead | undefined {
  const { connections } = core.columnar;
  if (!core.lock.tryAcquire('open')) return undefined;
  try {
    const ready = connections.ready(sql);
    if (ready === undefined) return undefined;
    const { conn, statement } = ready;
    try {
      bind(statement);
      const pending = stream ? statement.startStream() : statement.start();
      return {
        connection: conn,
        pending,
        end: (clean) => (clean ? connections.release(conn) : connections.discard(conn)),
      };
    } catch (error) {
      connections.discard(conn);
      throw error;
    }
  } finally {
    core.lock.release();
  }
}

class Snapshot implements StoreSnapshot {
  private readonly core: StoreCore;
  private readonly readers = new Map<SetKey, { set: HeapSet; db: Database.Database }>();
  private conn: DuckDBConnection | null;

  constructor(core: StoreCore, conn: DuckDBConnection | null) {
    this.core = core;
    this.conn = conn;
  }

  /** BEGIN takes no snapshot in either library: the first read does; in DuckDB one read fixes all tables. */
  async begin(sets: HeapSet[]): Promise<void> {
    if (this.conn !== null) {
      await this.conn.run('BEGIN');
      await this.conn.run('SELECT 1 FROM _damson LIMIT 0');
    }
    for (const set of sets) this.readers.set(set.setKey, { set, db: set.acquireReader() });
  }

  heap(setKey: SetKey): Database.Database {
    const reader = this.readers.get(setKey);
    if (reader === undefined) throw internalError(`the snapshot does not hold set ${setKey}`);
    return reader.db;
  }

  duckdb(): DuckDBConnection {
    if (this.conn === null) throw internalError('the snapshot does not hold the columnar database');
    return this.conn;
  }

  async close(): Promise<void> {
    for (const { set, db } of this.readers.values()) set.releaseReader(db);
    this.readers.clear();
    const conn = this.conn;
    this.conn = null;
    if (conn === null) return;
    try {
      await conn.run('ROLLBACK');
      this.core.columnar.connections.release(conn);
    } catch {
      // No transaction is open, or the connection is broken: closing it ends either.
      this.core.columnar.connections.discard(conn);
    }
  }
}
