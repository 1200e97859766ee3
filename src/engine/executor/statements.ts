/** Prepared SQLite statements of each connection, the most recently used ones. */
import type Database from 'better-sqlite3';
import type { HeapValue } from '../../model/storage.js';

const LIMIT = 256;

/** Strings and quoted names (left alone), or a numbered parameter. */
const TOKEN = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\?(\d+)/g;

/**
 * `?n` becomes `?`, and `order` says which number stands where: the binding takes a numbered parameter for a named one, and
 * a gap in the numbers for a nameless one.
 */
export function positional(sql: string): { sql: string; order: number[] } {
  const order: number[] = [];
  const text = sql.replace(TOKEN, (token, n: string | undefined) => {
    if (n === undefined) return token;
    order.push(Number(n));
    return '?';
  });
  return { sql: text, order };
}

/** Numbers the parameters again without gaps, in the order in which they first stand; `order`: the old numbers. */
export function renumbered(sql: string): { sql: string; order: number[] } {
  const order: number[] = [];
  const text = sql.replace(TOKEN, (token, n: string | undefined) => {
    if (n === undefined) return token;
    if (!order.includes(Number(n))) order.push(Number(n));
    return `?${order.indexOf(Number(n)) + 1}`;
  });
  return { sql: text, order };
}

/** Replaces `?n` by literals. */
export function putSqliteLiterals(sql: string, literal: (n: number) => string): string {
  return sql.replace(TOKEN, (token, n: string | undefined) => (n === undefined ? token : literal(Number(n))));
}

export class RowStatement {
  private readonly order: number[];
  private readonly statement: Database.Statement;

  constructor(db: Database.Database, sql: string, wide: boolean) {
    const text = positional(sql);
    this.order = text.order;
    this.statement = db.prepare(text.sql).raw(true).safeIntegers(wide);
  }

  get busy(): boolean {
    return this.statement.busy;
  }

  /** @param params by number; see `sqliteParams`. */
  iterate(params: ReadonlyMap<number, HeapValue>): IterableIterator<HeapValue[]> {
    return this.statement.iterate(inOrder(this.order, params)) as IterableIterator<HeapValue[]>;
  }
}

export function inOrder(order: readonly number[], params: ReadonlyMap<number, HeapValue>): HeapValue[] {
  return order.map((n) => {
    const value = params.get(n);
    if (value === undefined) throw new TypeError(`?${n} is not described`);
    return value;
  });
}

const caches = new WeakMap<Database.Database, Map<string, RowStatement>>();

/**
 * A statement that yields rows as arrays.
 * @param wide read integers as BigInt: where a column can exceed 2^53.
 */
export function rowStatement(db: Database.Database, sql: string, wide: boolean): RowStatement {
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
  const statement = new RowStatement(db, sql, wide);
  cache.set(key, statement);
  if (cache.size > LIMIT) cache.delete(cache.keys().next().value as string);
  return statement;
}
