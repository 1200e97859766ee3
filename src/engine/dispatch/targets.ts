import { internalError } from '../../core/errors.js';
import { Oid } from '../../model/storage.js';
import { rangeIndexOf, type SetKey, type Shard, setKeyOf, type TableDef } from '../../model/table.js';
import type { RelationRef } from '../../model/task.js';
import { COORDINATOR_CONTENT } from '../../model/topology.js';
import type { CatalogView } from '../catalog/types.js';
import { hashText } from '../codec/hash.js';
import type { ValueRef, Where } from '../planner/types.js';

/** The part of a fragment that one content runs. */
export interface Target {
  content: number;
  /** alias → shard ids there. */
  shards: Record<string, number[]>;
}

/** The PostgreSQL text of a value at execution. */
export function valueText(ref: ValueRef, params: readonly (string | null)[]): string | null {
  return ref.kind === 'const' ? ref.text : (params[ref.n - 1] ?? null);
}

const INTEGERS: ReadonlySet<number> = new Set([Oid.int2, Oid.int4, Oid.int8]);

/** Range index of a distribution value: PostgreSQL's hash of it, cut into the group's equal ranges. */
export function indexOfValue(view: CatalogView, colocationId: number, typeOid: number, text: string): number {
  const group = view.colocation(colocationId);
  if (group === undefined) throw internalError(`colocation group ${colocationId} is not in the catalog`);
  // Integers of all widths hash alike; an int8 constant may be beyond the column's own range.
  const type = INTEGERS.has(typeOid) && INTEGERS.has(group.distributionTypeOid) ? typeOid : group.distributionTypeOid;
  return rangeIndexOf(hashText(type, text), group.shardCount);
}

/**
 * Range indexes that a fragment needs, ascending. Keys that are all NULL match nothing; range 0 then gives the answer over no rows
 * (`count(*)` is 0, not absent).
 */
export function indexesOf(view: CatalogView, where: Where & { kind: 'colocated' }, params: readonly (string | null)[]): number[] {
  const { colocationId, keys } = where;
  if (keys === null) return Array.from({ length: view.shardCount(colocationId) }, (_, index) => index);
  if (keys.length === 1) {
    const text = valueText(keys[0]!, params);
    return [text === null ? 0 : indexOfValue(view, colocationId, keys[0]!.typeOid, text)];
  }
  const indexes = new Set<number>();
  for (const key of keys) {
    const text = valueText(key, params);
    if (text !== null) indexes.add(indexOfValue(view, colocationId, key.typeOid, text));
  }
  return indexes.size === 0 ? [0] : [...indexes].sort((a, b) => a - b);
}

/** Tasks of a read, by content, from the placements as they are now. */
export function readTargets(
  view: CatalogView,
  relations: readonly RelationRef[],
  where: Where,
  params: readonly (string | null)[],
): Target[] {
  if (where.kind === 'coordinator') {
    return [
      {
        content: COORDINATOR_CONTENT,
        shards: Object.fromEntries(relations.map((r) => [r.alias, [onlyShard(view, r.tableId).shardId]])),
      },
    ];
  }
  const byContent = new Map<number, Target>();
  for (const index of indexesOf(view, where, params)) {
    const content = ownerOf(view, setKeyOf(where.colocationId, index));
    let target = byContent.get(content);
    if (target === undefined) {
      target = { content, shards: {} };
      for (const relation of relations) {
        const spread = isSpread(tableOf(view, relation.tableId));
        target.shards[relation.alias] = spread ? [] : [onlyShard(view, relation.tableId).shardId];
      }
      byContent.set(content, target);
    }
    for (const relation of relations) {
      if (isSpread(tableOf(view, relation.tableId)))
        target.shards[relation.alias]!.push(shardAt(view, relation.tableId, index).shardId);
    }
  }
  return [...byContent.values()];
}

/** Shards of the target table that an UPDATE or DELETE touches. */
export function modifyShards(view: CatalogView, table: TableDef, where: Where, params: readonly (string | null)[]): Shard[] {
  if (where.kind === 'coordinator' || !isSpread(table)) return [onlyShard(view, table.tableId)];
  return indexesOf(view, where, params).map((index) => shardAt(view, table.tableId, index));
}

/** Content that owns a set which has one owner. */
export function ownerOf(view: CatalogView, setKey: SetKey): number {
  const content = view.placement(setKey).contents[0];
  if (content === undefined) throw internalError(`set ${setKey} has no placement`);
  return content;
}

export function tableOf(view: CatalogView, tableId: number): TableDef {
  const table = view.table(tableId);
  if (table === undefined) throw internalError(`table ${tableId} is not in the catalog`);
  return table;
}

/** Cut into several shards. */
export function isSpread(table: TableDef): boolean {
  return table.distribution.kind === 'distributed' || table.distribution.kind === 'random';
}

export function onlyShard(view: CatalogView, tableId: number): Shard {
  const shard = view.shards(tableId)[0];
  if (shard === undefined) throw internalError(`table ${tableId} has no shard`);
  return shard;
}

export function shardAt(view: CatalogView, tableId: number, index: number): Shard {
  const shard = view.shards(tableId)[index];
  if (shard === undefined) throw internalError(`table ${tableId} has no shard ${index}`);
  return shard;
}
