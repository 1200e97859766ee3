/** From a task's aliases to the relations of this instance's stores. */
import { storageOf } from '../../model/storage.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import type { RelationRef, Task } from '../../model/task.js';
import type { Stores, StoreTxn } from '../store/types.js';
import { declined } from './errors.js';
import { quoteIdent } from './sql-text.js';

/** What a task's aliases are here. */
export interface Placed {
  ref: RelationRef;
  shards: ShardDef[];
}

export function placeRelations(shardOf: (shardId: number) => ShardDef, task: Pick<Task, 'fragment' | 'shards'>): Placed[] {
  return task.fragment.relations.map((ref) => ({ ref, shards: (task.shards[ref.alias] ?? []).map(shardOf) }));
}

/** Stores that a reading of these needs. */
export function neededStores(placed: readonly Placed[], engine: 'sqlite' | 'duckdb'): { heapSets: SetKey[]; columnar: boolean } {
  const heapSets = new Set<SetKey>();
  for (const { shards } of placed) for (const shard of shards) if (shard.accessMethod === 'heap') heapSets.add(shard.setKey);
  return { heapSets: [...heapSets], columnar: engine === 'duckdb' };
}

/** A DuckDB fragment over columnar shards alone: nothing is carried over from heap files. */
export function isColumnar({ fragment }: Pick<Task, 'fragment'>, placed: readonly Placed[]): boolean {
  return fragment.engine === 'duckdb' && placed.every(({ shards }) => shards.every((shard) => shard.accessMethod === 'columnar'));
}

/**
 * A SQLite fragment runs set by set: for each set the shard of each alias. An empty list: the fragment reads nothing here.
 * Aliases that do not lie in the same sets cannot be joined in one file.
 */
export function bySet(placed: readonly Placed[]): { setKey: SetKey; relations: Map<string, ShardDef> }[] {
  const sets = new Map<SetKey, Map<string, ShardDef>>();
  for (const { ref, shards } of placed) {
    for (const shard of shards) {
      if (shard.accessMethod !== 'heap') throw declined(`${shard.relation} is not a heap relation`);
      const relations = sets.get(shard.setKey) ?? new Map<string, ShardDef>();
      sets.set(shard.setKey, relations);
      if (relations.has(ref.alias)) throw declined(`two shards of ${ref.alias} in set ${shard.setKey}`);
      relations.set(ref.alias, shard);
    }
  }
  for (const [setKey, relations] of sets) {
    if (relations.size !== placed.length) throw declined(`set ${setKey} does not hold all relations of the fragment`);
  }
  return [...sets].map(([setKey, relations]) => ({ setKey, relations }));
}

function columnList(ref: RelationRef): string {
  const names = ref.columns.map((attnum) => `c${attnum}`);
  if (ref.withRid === true) names.push('_rid');
  return names.length === 0 ? '1 AS _one' : names.join(', ');
}

/** A columnar relation over all its shards here, with the transaction's own changes where it made any. */
export function columnarRelation(placed: Placed, txn: StoreTxn | null): string {
  const columns = columnList(placed.ref);
  const parts = placed.shards.map(
    (shard) => `SELECT ${columns} FROM ${txn?.overlay(shard.shardId) ?? quoteIdent(shard.relation)}`,
  );
  return `(${parts.join(' UNION ALL ')})`;
}

/** No rows, but the right types: for an alias that has no shard on this instance. */
export function emptyRelation(stores: Stores, ref: RelationRef): string {
  const types = ref.types ?? typesOfTable(stores, ref.tableId);
  const columns = ref.columns.map((attnum) => {
    const type = types?.find((column) => column.attnum === attnum);
    if (type === undefined) throw declined(`no shard of ${ref.alias} here, and its types are not known`);
    return `CAST(NULL AS ${storageOf(type.typeOid, type.typmod).duckdb}) AS c${attnum}`;
  });
  if (ref.withRid === true) columns.push('CAST(NULL AS BIGINT) AS _rid');
  return `(SELECT ${columns.length === 0 ? '1 AS _one' : columns.join(', ')} WHERE false)`;
}

function typesOfTable(stores: Stores, tableId: number) {
  for (const setKey of stores.sets()) {
    const shard = stores.shardsOfSet(setKey).find((one) => one.tableId === tableId);
    if (shard !== undefined) return shard.columns;
  }
  return undefined;
}
