import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance, type DuckDBPreparedStatement } from '@duckdb/node-api';

const IDLE_CONNECTIONS = 4;
/** Prepared statements kept for each connection. */
const STATEMENTS = 64;

/** A connection with the session's time zone, which its kept statements were planned with. */
export interface FinishingConnection {
  readonly connection: DuckDBConnection;
  readonly timeZone: string;
  /** For rows that are few: of the DuckDB without threads besides the caller's. */
  readonly small: boolean;
  readonly statements: Map<string, DuckDBPreparedStatement>;
}

/**
 * Keeps the coordinator's DuckDB: in memory, for putting the segments' results together. Opened at first use. There are two: what a few
 * rows need is done before other threads have woken, and their waiting would take as much of the processor again as the segments need.
 */
export class FinishingDuckdb {
  private readonly instances = new Map<boolean, Promise<DuckDBInstance>>();
  private sequence = 0;
  private readonly idle: FinishingConnection[] = [];
  private closed = false;

  constructor(
    private readonly directory: string,
    private readonly limits: { threads: number; memoryMb: number },
  ) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  /** Path of a new file of rows. Whoever takes it removes it. */
  filePath(name: string): string {
    this.sequence++;
    return join(this.directory, `${this.sequence}_${name}.parquet`);
  }

  /** Give it back with `release`. */
  async connect(timeZone: string, small: boolean): Promise<FinishingConnection> {
    const at = this.idle.findIndex((one) => one.timeZone === timeZone && one.small === small);
    if (at >= 0) return this.idle.splice(at, 1)[0]!;
    const connection = await (await this.instanceFor(small)).connect();
    await connection.run(`SET TimeZone = '${timeZone.replaceAll("'", "''")}'`);
    return { connection, timeZone, small, statements: new Map() };
  }

  /** @param clean its last statement has come to its end. */
  release(one: FinishingConnection, clean: boolean): void {
    if (clean && !this.closed) this.idle.push(one);
    else end(one);
    if (this.idle.length > IDLE_CONNECTIONS) end(this.idle.shift()!);
  }

  /** A statement that is kept with its connection; not for those that name files. */
  async prepare({ connection, statements }: FinishingConnection, sql: string): Promise<DuckDBPreparedStatement> {
    const known = statements.get(sql);
    if (known !== undefined) {
      statements.delete(sql);
      statements.set(sql, known);
      return known;
    }
    const statement = await connection.prepare(sql);
    statements.set(sql, statement);
    if (statements.size > STATEMENTS) {
      const [oldest, unused] = statements.entries().next().value as [string, DuckDBPreparedStatement];
      statements.delete(oldest);
      unused.destroySync();
    }
    return statement;
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const one of this.idle.splice(0)) end(one);
    const opened = [...this.instances.values()];
    this.instances.clear();
    for (const instance of opened) (await instance).closeSync();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private instanceFor(small: boolean): Promise<DuckDBInstance> {
    const known = this.instances.get(small);
    if (known !== undefined) return known;
    const instance = this.open(small ? 1 : this.limits.threads);
    this.instances.set(small, instance);
    return instance;
  }

  private async open(threads: number): Promise<DuckDBInstance> {
    return await DuckDBInstance.create(':memory:', {
      threads: String(threads),
      memory_limit: `${this.limits.memoryMb}MB`,
      temp_directory: join(this.directory, 'spill'),
      preserve_insertion_order: 'false',
      autoinstall_known_extensions: 'false',
    });
  }
}

/** A statement that lives on would keep the database open. */
function end({ connection, statements }: FinishingConnection): void {
  for (const statement of statements.values()) statement.destroySync();
  connection.closeSync();
}
