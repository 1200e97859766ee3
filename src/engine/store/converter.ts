/**
 * Conversions of incoming CSV to Parquet. They run in a DuckDB of their own, in memory and without threads besides the callers': each is one
 * stream from file to file, to which more threads are of no use, but DuckDB's waiting for them would take as much of the processor again.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { DuckConnections } from './connections.js';

export interface ConverterOptions {
  temporaryDirectory: string;
  /** The instance's share; conversions get at most half of it. */
  memoryMb: number;
  tempLimitMb: number;
}

/** Conversions that run at once, whatever the number of transactions. */
const CONVERSIONS = 2;
const LEAST_MEMORY_MB = 128;

interface Opened {
  instance: DuckDBInstance;
  connections: DuckConnections;
}

export class Converter {
  private opening: Promise<Opened> | null = null;
  private opened: Opened | null = null;
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly options: ConverterOptions) {}

  /** A few at a time, each on a connection of its own; opened with the first. */
  async run<T>(work: (conn: DuckDBConnection) => Promise<T>): Promise<T> {
    if (this.running >= CONVERSIONS) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.running++;
    try {
      const { connections } = this.opened ?? (await this.open());
      return await connections.use(work);
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.running--;
      else next();
    }
  }

  private async open(): Promise<Opened> {
    this.opening ??= this.create();
    try {
      this.opened = await this.opening;
      return this.opened;
    } finally {
      this.opening = null;
    }
  }

  private async create(): Promise<Opened> {
    const { temporaryDirectory, memoryMb, tempLimitMb } = this.options;
    const instance = await DuckDBInstance.create(':memory:', {
      memory_limit: `${Math.max(LEAST_MEMORY_MB, Math.floor(memoryMb / 2))}MB`,
      threads: '1',
      temp_directory: join(temporaryDirectory, 'convert'),
      max_temp_directory_size: `${tempLimitMb}MB`,
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      enable_external_file_cache: 'false',
    });
    const connections = new DuckConnections(instance);
    await connections.use((conn) => conn.run("SET GLOBAL TimeZone = 'UTC'"));
    return { instance, connections };
  }

  /** Nothing may run any more. */
  close(): void {
    this.opened?.connections.close();
    this.opened?.instance.closeSync();
    this.opened = null;
  }
}

/** Makes a finished file durable without holding anybody up: what syncs it at the end finds nothing left to do. */
export async function syncEarly(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}
