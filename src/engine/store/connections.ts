/** Connections to the columnar database. Each can run one statement at a time; idle ones are kept for reuse. */
import type { DuckDBConnection, DuckDBInstance, DuckDBPreparedStatement, DuckDBValue } from '@duckdb/node-api';
import { internalError } from '../../core/errors.js';

const IDLE_CONNECTIONS = 8;
/** Prepared statements kept for each connection; a plan over all shards of a wide table takes some hundred kB. */
const STATEMENTS = 24;

interface Prepared {
  statement: DuckDBPreparedStatement;
  version: number;
}

/**
 * DuckDB plans with the tables' statistics of the moment and does not look at them again when the plan is executed: after an insert a prepared
 * `WHERE c > 5000` may go on finding nothing. So a plan is good for as long as no transaction has committed in the database: `changed` ends it.
 */
export class DuckConnections {
  private readonly instance: DuckDBInstance;
  private readonly idle: DuckDBConnection[] = [];
  private readonly prepared = new Map<DuckDBConnection, Map<string, Prepared>>();
  private version = 0;
  private closed = false;

  constructor(instance: DuckDBInstance) {
    this.instance = instance;
  }

  async acquire(): Promise<DuckDBConnection> {
    if (this.closed) throw internalError('the stores are closed');
    return this.idle.pop() ?? (await this.instance.connect());
  }

  /** Takes a connection back for reuse: it must hold no transaction and no temporary tables. */
  release(conn: DuckDBConnection): void {
    if (this.closed || this.idle.length >= IDLE_CONNECTIONS) this.discard(conn);
    else this.idle.push(conn);
  }

  /** A connection that nobody may use again. */
  discard(conn: DuckDBConnection): void {
    // A statement that lives on would keep the database open.
    for (const { statement } of this.prepared.get(conn)?.values() ?? []) statement.destroySync();
    this.prepared.delete(conn);
    conn.closeSync();
  }

  /** To be called before and after every COMMIT that changes tables: plans made before are not used again. */
  changed(): void {
    this.version++;
  }

  /** A statement that is kept with its connection; do not destroy it. */
  async prepare(conn: DuckDBConnection, sql: string): Promise<DuckDBPreparedStatement> {
    const { version } = this;
    const statement = this.valid(conn, sql) ?? (await conn.prepare(sql));
    const statements = this.prepared.get(conn) ?? new Map<string, Prepared>();
    this.prepared.set(conn, statements);
    const before = statements.get(sql);
    statements.delete(sql);
    statements.set(sql, { statement, version });
    if (before !== undefined && before.statement !== statement) before.statement.destroySync();
    if (statements.size > STATEMENTS) {
      const [oldest, { statement: unused }] = statements.entries().next().value as [string, Prepared];
      statements.delete(oldest);
      unused.destroySync();
    }
    return statement;
  }

  /** An idle connection, taken, with a statement on it whose plan still holds. */
  ready(sql: string): { conn: DuckDBConnection; statement: DuckDBPreparedStatement } | undefined {
    for (let i = this.idle.length - 1; i >= 0; i--) {
      const conn = this.idle[i]!;
      const statement = this.valid(conn, sql);
      if (statement === undefined) continue;
      this.idle.splice(i, 1);
      return { conn, statement };
    }
    return undefined;
  }

  private valid(conn: DuckDBConnection, sql: string): DuckDBPreparedStatement | undefined {
    const known = this.prepared.get(conn)?.get(sql);
    return known?.version === this.version ? known.statement : undefined;
  }

  /** Runs `work` on a connection that is given back after it, or dropped where the work failed. */
  async use<T>(work: (conn: DuckDBConnection) => Promise<T>): Promise<T> {
    const conn = await this.acquire();
    let result: T;
    try {
      result = await work(conn);
    } catch (error) {
      this.discard(conn);
      throw error;
    }
    this.release(conn);
    return result;
  }

  close(): void {
    this.closed = true;
    for (const conn of this.idle.splice(0)) this.discard(conn);
  }
}

/** All rows of a query, as JavaScript values. For small results. */
export async function duckRows(conn: DuckDBConnection, sql: string): Promise<DuckDBValue[][]> {
  return (await conn.runAndReadAll(sql)).getRows();
}

/** The first column of the first row as a number. */
export async function duckNumber(conn: DuckDBConnection, sql: string): Promise<number> {
  return Number((await duckRows(conn, sql))[0]?.[0] ?? 0);
}
