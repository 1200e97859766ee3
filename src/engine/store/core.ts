/** What the parts of the stores share: the open stores themselves, the counters of rids, and where files are. */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DuckDBConnection } from '@duckdb/node-api';
import { assert, internalError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { Lsn } from '../../model/log.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import { Applier } from './applier.js';
import { ColumnarStore } from './columnar.js';
import { Converter } from './converter.js';
import { type ConfigureHeap, HeapSet } from './heap.js';
import { InstanceDb } from './instance-db.js';
import { PublishLock } from './publish-lock.js';
import type { BatchFiles } from './types.js';

export interface CoreOptions {
  directory: string;
  files: BatchFiles;
  logger: Logger;
  memoryMb: number;
  threads: number;
  tempLimitMb: number;
  onFatal: (error: unknown) => void;
  configureHeap: ConfigureHeap;
}

export class StoreCore {
  readonly options: CoreOptions;
  readonly lock = new PublishLock();
  readonly instance: InstanceDb;
  readonly columnar: ColumnarStore;
  readonly applier: Applier;
  readonly heaps = new Map<SetKey, HeapSet>();
  readonly setsDirectory: string;
  readonly temporaryDirectory: string;
  /** First rid of each shard that nobody has been given. */
  readonly nextRids = new Map<number, number>();
  /** Publications that have been called and are not committed. */
  readonly publishing = new Set<{ lsn: Lsn; sets: SetKey[] }>();
  /** lsn of the last columnar work given for each set. */
  readonly lastColumnar = new Map<SetKey, Lsn>();
  /** Everything up to here that concerns these stores has been given to them. */
  passed: Lsn;
  private readonly converter: Converter;
  private usedNames = new Set<string>();

  private constructor(options: CoreOptions, instance: InstanceDb, columnar: ColumnarStore) {
    this.options = options;
    this.instance = instance;
    this.columnar = columnar;
    this.setsDirectory = join(options.directory, 'sets');
    this.temporaryDirectory = join(options.directory, 'tmp');
    this.applier = new Applier(columnar, this.lock, (name) => this.batchPath(name), options.onFatal);
    this.converter = new Converter({ ...options, temporaryDirectory: this.temporaryDirectory });
    this.passed = instance.position;
  }

  static async open(options: CoreOptions): Promise<StoreCore> {
    const temporary = join(options.directory, 'tmp');
    rmSync(temporary, { recursive: true, force: true });
    for (const path of [temporary, join(options.directory, 'sets')]) mkdirSync(path, { recursive: true, mode: 0o700 });
    const instance = new InstanceDb(join(options.directory, 'instance.db'));
    const columnar = await ColumnarStore.open({
      path: join(options.directory, 'columnar.db'),
      temporaryDirectory: temporary,
      memoryMb: options.memoryMb,
      threads: options.threads,
      tempLimitMb: options.tempLimitMb,
    });
    const core = new StoreCore(options, instance, columnar);
    core.openListedSets();
    for (const [shardId, nextRid] of columnar.nextRids) core.raiseNextRid(shardId, nextRid);
    return core;
  }

  /** Files that are not listed were never published, or are left from a drop. */
  private openListedSets(): void {
    const listed = new Set([...this.instance.files.values()].map((file) => file.file));
    for (const name of readdirSync(this.setsDirectory)) {
      if (!listed.has(name.replace(/-(wal|shm|journal)$/, ''))) rmSync(join(this.setsDirectory, name), { force: true });
    }
    for (const { setKey, file, created } of this.instance.files.values()) this.openHeap(setKey, file, created - 1);
  }

  private openHeap(setKey: SetKey, file: string, floor: Lsn): HeapSet {
    this.usedNames.add(file);
    const set = new HeapSet(setKey, file, join(this.setsDirectory, file), floor, this.options.configureHeap);
    for (const { shardId, nextRid } of set.shardStates()) this.raiseNextRid(shardId, nextRid);
    this.heaps.set(setKey, set);
    return set;
  }

  heap(setKey: SetKey): HeapSet {
    const set = this.heaps.get(setKey);
    if (set === undefined) throw internalError(`set ${setKey} has no heap store here`);
    return set;
  }

  /** The set's file, made where it is missing; it is listed when its first transaction is published. */
  heapOrNew(setKey: SetKey, floor: Lsn): HeapSet {
    return this.heaps.get(setKey) ?? this.openHeap(setKey, this.newFileName(setKey), floor);
  }

  /** Never a name that this process has used: a connection to a removed file removes its WAL by name when it is closed. */
  newFileName(setKey: SetKey): string {
    for (let n = 0; ; n++) {
      const name = n === 0 ? `${setKey}.db` : `${setKey}.${n}.db`;
      if (this.usedNames.has(name) || existsSync(join(this.setsDirectory, name))) continue;
      this.usedNames.add(name);
      return name;
    }
  }

  /** Puts an installed file in the place of the set's store. */
  replaceHeap(setKey: SetKey, file: string, floor: Lsn): HeapSet {
    this.removeHeap(setKey);
    return this.openHeap(setKey, file, floor);
  }

  removeHeap(setKey: SetKey): void {
    this.heaps.get(setKey)?.remove();
    this.heaps.delete(setKey);
  }

  isListed(set: HeapSet): boolean {
    return this.instance.files.get(set.setKey)?.file === set.file;
  }

  shard(shardId: number): ShardDef {
    const listed = this.instance.shards.get(shardId);
    if (listed === undefined) throw internalError(`shard ${shardId} is not on this instance`);
    return listed.def;
  }

  shardsOfSet(setKey: SetKey): ShardDef[] {
    return [...this.instance.shards.values()].flatMap(({ def }) => (def.setKey === setKey ? [def] : []));
  }

  batchPath(name: string): string {
    return this.options.files.batchPath(name);
  }

  nextRid(shardId: number): number {
    return this.nextRids.get(shardId) ?? 1;
  }

  raiseNextRid(shardId: number, nextRid: number): void {
    if (nextRid > this.nextRid(shardId)) this.nextRids.set(shardId, nextRid);
  }

  /** Gives `rows` rids; the first of them. `firstRid`: given by the coordinator, for copies that must be equal. */
  reserve(shardId: number, rows: number, firstRid: number | undefined): number {
    const first = firstRid ?? this.nextRid(shardId);
    assert(Number.isSafeInteger(first + rows), 'row ids stay within 53 bits');
    this.raiseNextRid(shardId, first + rows);
    return first;
  }

  /** Reads files and writes files: it sees no shard. */
  convert<T>(work: (conn: DuckDBConnection) => Promise<T>): Promise<T> {
    return this.converter.run(work);
  }

  /** Counts a publication as under way until the function that it returns is called. */
  beginPublishing(lsn: Lsn, sets: SetKey[]): () => void {
    const entry = { lsn, sets };
    this.publishing.add(entry);
    return () => this.publishing.delete(entry);
  }

  isPublishing(setKey: SetKey): boolean {
    for (const { sets } of this.publishing) if (sets.includes(setKey)) return true;
    return this.applier.hasPending(setKey);
  }

  /** Everything given up to here is committed in its stores. */
  committedUpTo(): Lsn {
    let lsn = this.passed;
    for (const entry of this.publishing) lsn = Math.min(lsn, entry.lsn - 1);
    const pending = this.applier.oldestPending;
    return pending === null ? lsn : Math.min(lsn, pending - 1);
  }

  /** Up to here a set was installed from files: older records may speak of shards that never came to this instance. */
  installedUpTo(): Lsn {
    let lsn = -1;
    for (const { created } of this.instance.files.values()) lsn = Math.max(lsn, created);
    for (const floor of this.columnar.floors.values()) lsn = Math.max(lsn, floor);
    return lsn;
  }

  /** Ends the process (by the owner's choice of `onFatal`): what is decided can neither be applied nor taken back. */
  fatal(error: unknown): never {
    this.options.onFatal(error);
    throw error;
  }

  close(): void {
    for (const set of this.heaps.values()) {
      set.close();
      if (!this.isListed(set)) set.remove();
    }
    this.converter.close();
    this.columnar.close();
    this.instance.close();
    rmSync(this.temporaryDirectory, { recursive: true, force: true });
  }
}
