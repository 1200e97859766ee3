/** What records do to a heap file, inside its open write transaction: DDL and net row changes. */
import { assert, internalError } from '../../core/errors.js';
import type { ShardChanges, StoreRow } from '../../model/log.js';
import { type HeapValue, type Storage, storageOf } from '../../model/storage.js';
import type { IndexDef, ShardDef } from '../../model/table.js';
import type { HeapSet } from './heap.js';
import { fromLogValue, readRowsBatch } from './rows-batch.js';
import { allColumns, columnName, quoteIdent } from './sql.js';
import { cannotCreateUnique, columnOf, keyPart, sqliteIndexName, uniqueErrorOf } from './unique.js';

export function createHeapShard(set: HeapSet, shard: ShardDef): void {
  const columns = shard.columns.map((column) => `${columnName(column)} ${storageOf(column.typeOid, column.typmod).sqlite}`);
  const db = set.writeConnection();
  db.exec(`CREATE TABLE ${quoteIdent(shard.relation)} (${['_rid INTEGER PRIMARY KEY', ...columns].join(', ')}) STRICT`);
  for (const unique of shard.uniques) createHeapIndex(set, shard, { ...unique, unique: true });
  for (const index of shard.indexes) createHeapIndex(set, shard, index);
  db.prepare('INSERT OR REPLACE INTO _damson_shard (shardId, nextRid, rows) VALUES (?, 1, 0)').run(shard.shardId);
}

export function dropHeapShard(set: HeapSet, shard: ShardDef): void {
  const db = set.writeConnection();
  db.exec(`DROP TABLE ${quoteIdent(shard.relation)}`);
  db.prepare('DELETE FROM _damson_shard WHERE shardId = ?').run(shard.shardId);
}

export function truncateHeapShard(set: HeapSet, shard: ShardDef): void {
  const db = set.writeConnection();
  db.exec(`DELETE FROM ${quoteIdent(shard.relation)}`);
  db.prepare('UPDATE _damson_shard SET rows = 0 WHERE shardId = ?').run(shard.shardId);
}

/** @throws SqlError 23505 where a unique index meets duplicates, 0A000 where its type has no exact key. */
export function createHeapIndex(set: HeapSet, shard: ShardDef, index: IndexDef): void {
  const parts = index.attnums.map((attnum) => {
    const column = columnOf(shard, attnum);
    return index.unique ? keyPart(column) : columnName(column);
  });
  const name = quoteIdent(sqliteIndexName(shard, index));
  const columns = parts.map((part) => (part.startsWith('CASE') ? `(${part})` : part)).join(', ');
  try {
    set
      .writeConnection()
      .exec(`CREATE ${index.unique ? 'UNIQUE ' : ''}INDEX ${name} ON ${quoteIdent(shard.relation)} (${columns})`);
  } catch (error) {
    throw uniqueErrorOf(error, shard, null) === error && (error as { code?: string }).code !== 'SQLITE_CONSTRAINT_UNIQUE'
      ? error
      : cannotCreateUnique(shard, index.name);
  }
}

export function dropHeapIndex(set: HeapSet, shard: ShardDef, name: string): void {
  set.writeConnection().exec(`DROP INDEX ${quoteIdent(sqliteIndexName(shard, { name }))}`);
}

/** Writes rows with their rids. A duplicate is reported as 23505 with the key of the row. */
export class HeapInserter {
  private readonly set: HeapSet;
  private readonly shard: ShardDef;
  private readonly sql: string;

  constructor(set: HeapSet, shard: ShardDef) {
    this.set = set;
    this.shard = shard;
    const marks = ['?', ...shard.columns.map(() => '?')].join(', ');
    this.sql = `INSERT INTO ${quoteIdent(shard.relation)} (${allColumns(shard)}) VALUES (${marks})`;
  }

  insert(rid: number, row: HeapValue[]): void {
    try {
      this.set.prepare(this.sql).run(rid, ...row);
    } catch (error) {
      throw uniqueErrorOf(error, this.shard, row);
    }
  }
}

/** Columns whose log value may be the string `-0` (see rows-batch.ts). */
function floatColumns(shard: ShardDef): number[] {
  return shard.columns.flatMap((column, i) => (isFloat(storageOf(column.typeOid, column.typmod)) ? [i] : []));
}

function isFloat(storage: Storage): boolean {
  return storage.class === 'float';
}

/** Applies one shard's net changes: deletes, then inserts; and its counters. A rid that is not there is a divergence, and an error. */
export function applyHeapChanges(set: HeapSet, shard: ShardDef, changes: ShardChanges, pathOf: (name: string) => string): void {
  const remove = set.prepare(`DELETE FROM ${quoteIdent(shard.relation)} WHERE _rid = ?`);
  for (const rid of changes.deleted) {
    if (remove.run(rid).changes !== 1) throw internalError(`row ${rid} of ${shard.relation} is to be deleted but is not there`);
  }
  const inserter = new HeapInserter(set, shard);
  const floats = floatColumns(shard);
  let inserted = 0;
  const insertAll = (rows: StoreRow[]) => {
    for (const [rid, ...values] of rows) {
      for (const i of floats) values[i] = fromLogValue(values[i]!);
      inserter.insert(rid, values);
    }
    inserted += rows.length;
  };
  insertAll(changes.inserted);
  for (const batch of changes.batches) {
    assert(batch.format === 'rows', `batch ${batch.name} of a heap shard holds rows`);
    readRowsBatch(batch, pathOf, insertAll);
  }
  set.stampShard(shard.shardId, changes.nextRid, inserted - changes.deleted.length);
}
