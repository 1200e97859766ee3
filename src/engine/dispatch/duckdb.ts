import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';

/** Keeps the coordinator's DuckDB: in memory, for putting the segments' results together. Opened at first use. */
export class FinishingDuckdb {
  private instance: Promise<DuckDBInstance> | undefined;
  private sequence = 0;

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

  /** A connection with the session's time zone; close it. */
  async connect(timeZone: string): Promise<DuckDBConnection> {
    this.instance ??= this.open();
    const connection = await (await this.instance).connect();
    await connection.run(`SET TimeZone = '${timeZone.replaceAll("'", "''")}'`);
    return connection;
  }

  async close(): Promise<void> {
    const instance = this.instance;
    this.instance = undefined;
    if (instance !== undefined) (await instance).closeSync();
    rmSync(this.directory, { recursive: true, force: true });
  }

  private async open(): Promise<DuckDBInstance> {
    return await DuckDBInstance.create(':memory:', {
      threads: String(this.limits.threads),
      memory_limit: `${this.limits.memoryMb}MB`,
      temp_directory: join(this.directory, 'spill'),
      preserve_insertion_order: 'false',
      autoinstall_known_extensions: 'false',
    });
  }
}
