/** Prepared SQLite statements of each connection, the most recently used ones. */
import type Database from 'better-sqlite3';

const LIMIT = 256;


const caches = new WeakMap<Database.Database, Map<string, Database.Statement>>();

/**
 * A statement that yields rows as arrays.
 * @param wide read integers as BigInt: where a column can exceed 2^53.
 */
export function rowStatement(db: Database.Database, sql: string, wide: boolean): Database.Statement {
  let cache = caches.get(db);
  if (cache === undefined) {
    cache = new Map();
    caches.set(db, cache);
  }
  const key = wide ? `w${sql}` : `n${sql}`;
  const found = cache.get(key);
  if (found !== undefined && !found.busy) {
    cache.delete(key);
    cache.set(key, found);
    return found;
  }
  const statement = db.prepare(sql).raw(true).safeIntegers(wide);
  cache.set(key, statement);
  if (cache.size > LIMIT) cache.delete(cache.keys().next().value as string);
  return statement;
}
