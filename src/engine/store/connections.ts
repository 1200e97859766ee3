/** Connections to the columnar database. Each can run one statement at a time; idle ones are kept for reuse. */
import type { DuckDBConnection, DuckDBInstance, DuckDBValue } from '@duckdb/node-api';
import { internalError } from '../../core/errors.js';

const IDLE_CONNECTIONS = 8;

export class DuckConnections {
  private readonly instance: DuckDBInstance;
  private readonly idle: DuckDBConnection[] = [];
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
    if (this.closed || this.idle.length >= IDLE_CONNECTIONS) conn.closeSync();
    else this.idle.push(conn);
  }

  /** A connection that nobody may use again. */
  discard(conn: DuckDBConnection): void {
    conn.closeSync();
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
    for (const conn of this.idle.splice(0)) conn.closeSync();
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
