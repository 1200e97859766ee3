/** All shard stores of one instance, behind the interface of types.ts. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DuckDBConnection, DuckDBPreparedStatement } from '@duckdb/node-api';
import type Database from 'better-sqlite3';
import { assert } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { Gid, Lsn, MoveFile, TxnBody } from '../../model/log.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import type { ShardChecksum, ShardSize } from '../../model/task.js';
import { applyTxn } from './apply.js';
import { checksums, sizes } from './checksums.js';
import { type CoreOptions, StoreCore } from './core.js';
import type { ConfigureHeap, MoveSource } from './heap.js';
import { Maintenance } from './maintenance.js';
import { beginColumnar, openSnapshot } from './snapshot.js';
import { type ExportedSet, exportSet, importSet } from './transfer.js';
import { Transaction } from './txn.js';
import type { BatchFiles, ColumnarRead, StoreSnapshot, Stores, StoreTxn } from './types.js';

export interface StoreOptions {
  directory: string;
  files: BatchFiles;
  logger: Logger;
  /** DuckDB's memory; default 512. */
  memoryMb?: number;
  /** DuckDB's threads; default 2. */
  threads?: number;
  /** DuckDB's temporary space on disk; default 10,000. */
  tempLimitMb?: number;
  /** A store that fails while publishing or applying: what is decided cannot be taken back. Default: log, and end the process with code 70. */
  onFatal?: (error: unknown) => void;
  /** Called with every new SQLite connection to a heap file: functions and settings of the fragments that run there. */
  configureHeap?: ConfigureHeap;
}

/** Opens (or makes) the stores under `directory`: `instance.db`, `sets/`, `columnar.db`, `tmp/`. What was not published before a crash is gone. */
export async function openStores(options: StoreOptions): Promise<Stores> {
  const { logger } = options;
  const coreOptions: CoreOptions = {
    directory: options.directory,
    files: options.files,
    logger,
    memoryMb: options.memoryMb ?? 512,
    threads: options.threads ?? 2,
    tempLimitMb: options.tempLimitMb ?? 10_000,
    configureHeap: options.configureHeap ?? (() => {}),
    onFatal:
      options.onFatal ??
      ((error) => {
        logger.fatal({ err: error }, 'a store has failed; the instance ends and replays its log');
        process.exit(70);
      }),
  };
  const core = await StoreCore.open(coreOptions);
  return new InstanceStores(coreOptions, core);
}

class InstanceStores implements Stores {
  private readonly options: CoreOptions;
  private core: StoreCore;
  private maintenance: Maintenance;

  constructor(options: CoreOptions, core: StoreCore) {
    this.options = options;
    this.core = core;
    this.maintenance = new Maintenance(core);
  }

  get temporaryDirectory(): string {
    return this.core.temporaryDirectory;
  }

  shard(shardId: number): ShardDef {
    return this.core.shard(shardId);
  }

  hasShard(shardId: number): boolean {
    return this.core.instance.shards.has(shardId);
  }

  shardsOfSet(setKey: SetKey): ShardDef[] {
    return this.core.shardsOfSet(setKey);
  }

  sets(): SetKey[] {
    return [...new Set([...this.core.instance.shards.values()].map(({ def }) => def.setKey))];
  }

  applied(): Lsn {
    return this.maintenance.durable();
  }

  highest(): Lsn {
    let lsn = Math.max(this.core.columnar.applied, this.core.instance.position, this.core.committedUpTo());
    for (const set of this.core.heaps.values()) lsn = Math.max(lsn, set.applied);
    return lsn;
  }

  appliedOf(setKey: SetKey): Lsn {
    const positions: Lsn[] = [];
    const { position } = this.core.instance;
    const heap = this.core.heaps.get(setKey);
    if (heap !== undefined) positions.push(Math.max(heap.applied, position));
    if (this.core.shardsOfSet(setKey).some((shard) => shard.accessMethod === 'columnar')) {
      positions.push(Math.max(this.core.columnar.applied, this.core.columnar.floors.get(setKey) ?? -1, position));
    }
    assert(positions.length > 0, `set ${setKey} is on this instance`);
    return Math.min(...positions);
  }

  nextRid(shardId: number): number {
    return this.core.nextRid(shardId);
  }

  raiseNextRid(shardId: number, nextRid: number): void {
    this.core.raiseNextRid(shardId, nextRid);
  }

  async apply(lsn: Lsn, txn: TxnBody): Promise<void> {
    await this.fatally(() => applyTxn(this.core, lsn, txn, null));
  }

  async applyMoved(lsn: Lsn, setKey: SetKey, src: MoveSource, txn: TxnBody): Promise<void> {
    await this.fatally(() => applyTxn(this.core, lsn, txn, { setKey, source: src }));
  }

  private async fatally<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      this.core.fatal(error);
    }
  }

  async flush(): Promise<void> {
    await this.core.applier.flush();
  }

  async settle(): Promise<void> {
    await this.flush();
    await this.maintenance.run();
  }

  passed(lsn: Lsn): void {
    this.core.passed = Math.max(this.core.passed, lsn);
  }

  openTxn(gid: Gid): StoreTxn {
    return new Transaction(this.core, gid);
  }

  openSnapshot(need: { heapSets: SetKey[]; columnar: boolean }): Promise<StoreSnapshot> {
    return openSnapshot(this.core, need);
  }

  beginColumnar(sql: string, bind: (statement: DuckDBPreparedStatement) => void, stream: boolean): ColumnarRead | undefined {
    return beginColumnar(this.core, sql, bind, stream);
  }

  prepareColumnar(connection: DuckDBConnection, sql: string): Promise<DuckDBPreparedStatement> {
    return this.core.columnar.connections.prepare(connection, sql);
  }

  heapReader(setKey: SetKey): Database.Database {
    return this.core.heap(setKey).autoReader();
  }

  exportSet(setKey: SetKey, directory: string, prefix: string): Promise<ExportedSet> {
    return exportSet(this.core, this.maintenance.worker, setKey, directory, prefix);
  }

  async importSet(
    lsn: Lsn,
    setKey: SetKey,
    shards: ShardDef[],
    nextRids: [number, number][],
    files: MoveFile[],
    pathOf: (name: string) => string,
    src?: MoveSource,
  ): Promise<void> {
    await this.fatally(() => importSet(this.core, lsn, setKey, shards, nextRids, files, pathOf, src ?? null));
  }

  moveSource(setKey: SetKey): MoveSource | null {
    const heap = this.core.heaps.get(setKey)?.src ?? null;
    const columnar = this.core.columnar.sources.get(setKey) ?? null;
    if (heap === null || columnar === null) return heap ?? columnar;
    return heap.lsn <= columnar.lsn ? heap : columnar;
  }

  checksums(): Promise<{ shards: ShardChecksum[]; applied: Lsn }> {
    return checksums(this.core, () => this.highest());
  }

  sizes(): Promise<ShardSize[]> {
    return sizes(this.core);
  }

  async wipe(): Promise<void> {
    await this.closeParts();
    for (const name of ['sets', 'tmp', 'instance.db', 'instance.db-wal', 'instance.db-shm', 'columnar.db', 'columnar.db.wal']) {
      rmSync(join(this.options.directory, name), { recursive: true, force: true });
    }
    this.core = await StoreCore.open(this.options);
    this.maintenance = new Maintenance(this.core);
  }

  async close(): Promise<void> {
    await this.closeParts();
  }

  private async closeParts(): Promise<void> {
    await this.core.applier.flush();
    await this.maintenance.close();
    await this.core.columnar.checkpoint(true);
    this.core.close();
  }
}
