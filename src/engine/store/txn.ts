/** One transaction's open work in the stores: heap rows in the sets' own SQLite transactions, columnar rows staged beside the database. */
import { existsSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DuckDBConnection } from '@duckdb/node-api';
import type Database from 'better-sqlite3';
import { assert, internalError, notSupported } from '../../core/errors.js';
import type { BatchRef, Gid, Lsn, ShardChanges, StoreDdl, TxnBody } from '../../model/log.js';
import type { HeapValue } from '../../model/storage.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import { CanonicalCsvReader } from '../codec/csv.js';
import { heapFromText } from '../codec/heap.js';
import { finishDdl, listCreated, noteColumnar, resolveTxn, runHeapDdl, withIndex, withoutIndex } from './apply.js';
import { duckRows } from './connections.js';
import type { StoreCore } from './core.js';
import type { HeapSet } from './heap.js';
import { HeapInserter } from './heap-apply.js';
import { HeapChanges, narrow } from './heap-changes.js';
import { numberedParams, quoteIdent } from './sql.js';
import { ColumnarStaging } from './staging.js';
import type { StoreTxn } from './types.js';
import { cannotCreateUnique, columnOf, keyPart, uniqueErrorOf, uniqueKeys } from './unique.js';

/** Heap rows of a bulk load that are written before others get the thread. */
const ROWS_PER_TURN = 2000;

type State = 'open' | 'frozen' | 'ended';

export class Transaction implements StoreTxn {
  readonly gid: Gid;
  private readonly core: StoreCore;
  private state: State = 'open';
  private readonly heapSets = new Map<SetKey, HeapSet>();
  private readonly heapChanges = new Map<number, HeapChanges>();
  private readonly staged = new Map<number, ColumnarStaging>();
  private readonly ddlDone: StoreDdl[] = [];
  /** Definitions as this transaction sees them, where they differ. null: dropped. */
  private readonly defs = new Map<number, ShardDef | null>();
  private readonly batches: BatchRef[] = [];
  private conn: Promise<DuckDBConnection> | null = null;
  /** Names given to batch files, whether they were written or became inline content. */
  private readonly batchNames: string[] = [];

  constructor(core: StoreCore, gid: Gid) {
    this.core = core;
    this.gid = gid;
  }

  get hasWrites(): boolean {
    return (
      this.ddlDone.length > 0 ||
      [...this.heapChanges.values()].some((changes) => !changes.isEmpty) ||
      [...this.staged.values()].some((staging) => !staging.isEmpty) ||
      this.batches.length > 0
    );
  }

  private shard(shardId: number): ShardDef {
    const own = this.defs.get(shardId);
    if (own === null) throw internalError(`shard ${shardId} is dropped in this transaction`);
    return own ?? this.core.shard(shardId);
  }

  private checkOpen(): void {
    if (this.state !== 'open') throw internalError(`transaction ${this.gid} takes no more writes`);
  }

  heapWriter(setKey: SetKey): Database.Database {
    return this.writeSet(setKey).writeConnection();
  }

  private writeSet(setKey: SetKey, create = false): HeapSet {
    let set = this.heapSets.get(setKey);
    if (set === undefined) {
      this.checkOpen();
      set = create ? this.core.heapOrNew(setKey, -1) : this.core.heap(setKey);
      set.beginWrite();
      this.heapSets.set(setKey, set);
    }
    return set;
  }

  isWritten(setKey: SetKey): boolean {
    return this.heapSets.has(setKey);
  }

  private changesOf(shard: ShardDef): HeapChanges {
    let changes = this.heapChanges.get(shard.shardId);
    if (changes === undefined) {
      changes = new HeapChanges(shard);
      this.heapChanges.set(shard.shardId, changes);
    }
    return changes;
  }

  private stagingOf(shard: ShardDef): ColumnarStaging {
    let staging = this.staged.get(shard.shardId);
    if (staging === undefined) {
      const base = this.core.instance.shards.has(shard.shardId);
      staging = new ColumnarStaging(shard, base, {
        directory: this.core.temporaryDirectory,
        conn: () => this.connection(),
        convert: (work) => this.core.convert(work),
        reserve: (shardId, rows, firstRid) => this.core.reserve(shardId, rows, firstRid),
        nextRid: (shardId) => this.core.nextRid(shardId),
      });
      this.staged.set(shard.shardId, staging);
    }
    return staging;
  }

  async insert(shardId: number, rows: HeapValue[][], firstRid?: number): Promise<number> {
    this.checkOpen();
    const shard = this.shard(shardId);
    if (shard.accessMethod === 'columnar') return this.stagingOf(shard).insert(rows, firstRid);
    const rid = this.core.reserve(shardId, rows.length, firstRid);
    const inserter = new HeapInserter(this.writeSet(shard.setKey), shard);
    for (let i = 0; i < rows.length; i++) inserter.insert(rid + i, rows[i]!);
    this.changesOf(shard).inserted(rid, rows.length);
    return rows.length;
  }

  async insertCsv(shardId: number, csv: Buffer, rows: number, firstRid?: number): Promise<void> {
    this.checkOpen();
    const shard = this.shard(shardId);
    if (shard.accessMethod === 'columnar') return this.stagingOf(shard).insertCsv(csv, rows, firstRid);
    await this.insertHeapCsv(shard, csv, rows, firstRid);
  }

  private async insertHeapCsv(shard: ShardDef, csv: Buffer, rows: number, firstRid: number | undefined): Promise<void> {
    const first = this.core.reserve(shard.shardId, rows, firstRid);
    const inserter = new HeapInserter(this.writeSet(shard.setKey), shard);
    const types = shard.columns.map(({ typeOid, typmod }) => ({ typeOid, typmod }));
    let done = 0;
    for (const fields of new CanonicalCsvReader(csv)) {
      if (fields.length !== types.length)
        throw internalError(`${fields.length} fields for ${types.length} columns of ${shard.relation}`);
      const row: HeapValue[] = new Array(types.length);
      for (let i = 0; i < types.length; i++) {
        const text = fields[i]!;
        row[i] = text === null ? null : heapFromText(types[i]!.typeOid, types[i]!.typmod, text);
      }
      inserter.insert(first + done++, row);
      if (done % ROWS_PER_TURN === 0) {
        await nextTurn();
        this.checkOpen();
      }
    }
    assert(done === rows, `${rows} rows were announced and ${done} came`);
    this.changesOf(shard).inserted(first, rows);
  }

  modifyHeap(shardId: number, op: 'update' | 'delete', sql: string, params: HeapValue[]): { rid: number; row: HeapValue[] }[] {
    this.checkOpen();
    const shard = this.shard(shardId);
    const statement = this.writeSet(shard.setKey).prepare(sql).raw(true).safeIntegers(true);
    let rows: HeapValue[][];
    try {
      rows = statement.all(numberedParams(params)) as HeapValue[][];
    } catch (error) {
      throw op === 'update' ? uniqueErrorOf(error, shard, null) : error;
    }
    const changes = this.changesOf(shard);
    return rows.map((values) => {
      const rid = Number(values[0]);
      changes.modified(rid);
      return { rid, row: values.slice(1).map(narrow) };
    });
  }

  async modifyColumnar(shardId: number, op: 'update' | 'delete', select: string): Promise<number> {
    this.checkOpen();
    return this.stagingOf(this.shard(shardId)).modify(op, select);
  }

  async ddl(ddl: StoreDdl[]): Promise<void> {
    this.checkOpen();
    for (const one of ddl) {
      if (one.op === 'createShard') await this.createShard(one.shard);
      else if (one.op === 'dropSet') for (const shard of this.core.shardsOfSet(one.setKey)) await this.dropShard(shard);
      else await this.alterShard(this.shard(one.shardId), one);
      this.ddlDone.push(one);
    }
  }

  private async createShard(shard: ShardDef): Promise<void> {
    assert(!this.core.instance.shards.has(shard.shardId), `shard ${shard.shardId} is new`);
    for (const key of uniqueKeys(shard)) key.columns.forEach(keyPart);
    this.defs.set(shard.shardId, shard);
    this.core.raiseNextRid(shard.shardId, 1);
    if (shard.accessMethod === 'heap') {
      runHeapDdl(this.writeSet(shard.setKey, true), { op: 'createShard', shard }, new Map());
    } else {
      if (shard.indexes.some((index) => !index.unique)) throw indexNotSupported();
      this.stagingOf(shard);
    }
  }

  /** The columnar table, or the set's file, goes when the transaction is published. */
  private async dropShard(shard: ShardDef): Promise<void> {
    this.defs.set(shard.shardId, null);
    this.heapChanges.delete(shard.shardId);
    await this.staged.get(shard.shardId)?.discard();
    this.staged.delete(shard.shardId);
  }

  private async alterShard(shard: ShardDef, ddl: Exclude<StoreDdl, { op: 'createShard' | 'dropSet' }>): Promise<void> {
    if (shard.accessMethod === 'heap') runHeapDdl(this.writeSet(shard.setKey), ddl, new Map([[shard.shardId, shard]]));
    if (ddl.op === 'dropShard') {
      await this.dropShard(shard);
    } else if (ddl.op === 'truncateShard') {
      if (shard.accessMethod === 'heap') this.changesOf(shard).clear();
      else await this.stagingOf(shard).truncate();
    } else if (ddl.op === 'createIndex') {
      if (shard.accessMethod === 'columnar') await this.checkNewUnique(shard, ddl.index);
      this.defs.set(shard.shardId, withIndex(shard, ddl.index));
    } else {
      this.defs.set(shard.shardId, withoutIndex(shard, ddl.name));
    }
  }

  /** A columnar shard has no index; a unique one is a rule that its rows are checked by. */
  private async checkNewUnique(shard: ShardDef, index: { name: string; attnums: number[]; unique: boolean }): Promise<void> {
    if (!index.unique) throw indexNotSupported();
    const columns = index.attnums.map((attnum) => columnOf(shard, attnum));
    const conn = await this.duckdb();
    const source = this.overlay(shard.shardId) ?? quoteIdent(shard.relation);
    const keys = columns.map(keyPart).join(', ');
    const given = columns.map((column) => `c${column.attnum} IS NOT NULL`).join(' AND ');
    const [found] = await duckRows(conn, `SELECT 1 FROM ${source} x WHERE ${given} GROUP BY ${keys} HAVING count(*) > 1 LIMIT 1`);
    if (found !== undefined) throw cannotCreateUnique(shard, index.name);
  }

  private connection(): Promise<DuckDBConnection> {
    this.conn ??= this.core.columnar.connections.acquire();
    return this.conn;
  }

  /** Everything staged until now is visible on it through `overlay`. */
  async duckdb(): Promise<DuckDBConnection> {
    for (const staging of this.staged.values()) await staging.settle();
    return this.connection();
  }

  overlay(shardId: number): string | null {
    return this.staged.get(shardId)?.overlay() ?? null;
  }

  async freeze(): Promise<{ ddl: StoreDdl[]; shards: ShardChanges[]; batches: BatchRef[] }> {
    this.checkOpen();
    const shards: ShardChanges[] = [];
    for (const [shardId, changes] of this.heapChanges) {
      if (changes.isEmpty) continue;
      const set = this.writeSet(changes.shard.setKey);
      shards.push(changes.freeze(set, this.core.nextRid(shardId), () => this.newBatch(shardId, 'rows')));
    }
    await Promise.all([...this.staged.values()].map((staging) => staging.convertPending()));
    for (const [shardId, staging] of this.staged) {
      const net = await staging.freeze(() => this.newBatch(shardId, 'parquet'));
      if (net.deleted.length > 0 || net.batches.length > 0) shards.push(net);
    }
    for (const batch of shards.flatMap((shard) => shard.batches)) if (batch.inline === undefined) this.batches.push(batch);
    for (const batch of this.batches) await this.core.options.files.syncBatch(batch.name);
    this.state = 'frozen';
    await this.dropConnection();
    return { ddl: this.ddlDone, shards: shards.filter(hasEffect), batches: this.batches };
  }

  private newBatch(shardId: number, extension: string): { name: string; path: string } {
    const name = `${this.gid}-${shardId}-${this.batchNames.length + 1}.${extension}`;
    this.batchNames.push(name);
    return { name, path: this.core.batchPath(name) };
  }

  async publish(lsn: Lsn, txn: TxnBody): Promise<void> {
    if (this.state !== 'frozen') throw internalError(`transaction ${this.gid} is not frozen`);
    this.state = 'ended';
    const endPublishing = this.core.beginPublishing(lsn, [...this.heapSets.keys()]);
    try {
      const { columnar } = resolveTxn(this.core, lsn, txn, null);
      const commitHeap = this.stampHeap(lsn, txn);
      listCreated(this.core, lsn, txn.ddl);
      noteColumnar(this.core, columnar);
      if (columnar !== null) await this.core.applier.publish(columnar, commitHeap);
      else if (this.core.lock.tryAcquire('publish')) this.commitLocked(commitHeap);
      else await this.core.lock.hold('publish', commitHeap);
      finishDdl(this.core, lsn, txn.ddl);
    } catch (error) {
      this.core.fatal(error);
    } finally {
      endPublishing();
    }
  }

  private commitLocked(commit: () => void): void {
    try {
      commit();
    } finally {
      this.core.lock.release();
    }
  }

  /** Writes the bookkeeping into the open SQLite transactions and returns their commit. */
  private stampHeap(lsn: Lsn, txn: TxnBody): () => void {
    const touched = new Set<HeapSet>();
    for (const changes of txn.shards) {
      const heap = this.heapChanges.get(changes.shardId);
      if (heap === undefined) continue;
      const set = this.heapSets.get(heap.shard.setKey)!;
      const inserted = changes.inserted.length + changes.batches.reduce((sum, batch) => sum + batch.rows, 0);
      set.stampShard(changes.shardId, changes.nextRid, inserted - changes.deleted.length);
      touched.add(set);
    }
    for (const one of txn.ddl) {
      const shard =
        one.op === 'createShard' ? one.shard : one.op === 'dropSet' ? undefined : this.core.instance.shards.get(one.shardId)?.def;
      const set = shard === undefined ? undefined : this.heapSets.get(shard.setKey);
      if (set !== undefined) touched.add(set);
    }
    for (const set of touched) {
      if (set.applied >= lsn) throw internalError(`set ${set.setKey} has applied ${set.applied}, which is not before ${lsn}`);
      set.stamp(lsn, null);
    }
    return () => {
      for (const set of this.heapSets.values()) {
        if (touched.has(set)) set.commitWrite(lsn, null);
        else set.rollbackWrite();
      }
    };
  }

  async rollback(): Promise<void> {
    if (this.state === 'ended') return;
    this.state = 'ended';
    for (const set of this.heapSets.values()) {
      set.rollbackWrite();
      if (!this.core.isListed(set) && this.core.heaps.get(set.setKey) === set) this.core.removeHeap(set.setKey);
    }
    for (const staging of this.staged.values()) await staging.discard();
    for (const name of this.batchNames) if (existsSync(this.core.batchPath(name))) this.core.options.files.removeBatch(name);
    for (const [shardId, def] of this.defs)
      if (def !== null && !this.core.instance.shards.has(shardId)) this.core.nextRids.delete(shardId);
    await this.dropConnection();
  }

  /** Its temporary tables go with it. */
  private async dropConnection(): Promise<void> {
    const conn = this.conn;
    this.conn = null;
    if (conn !== null) this.core.columnar.connections.discard(await conn);
  }
}

function hasEffect(changes: ShardChanges): boolean {
  return changes.deleted.length > 0 || changes.inserted.length > 0 || changes.batches.length > 0;
}

function indexNotSupported(): Error {
  return notSupported('columnar tables have no indexes', 'Use a heap table, or create a unique index.');
}
