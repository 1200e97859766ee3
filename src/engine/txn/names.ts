/** Which locks a statement takes (protocols, section 3). */
import type { LockName } from '../../model/log.js';
import type { Shard, TableDef } from '../../model/table.js';

/** Any use of a table, reads included, shares it against DDL and TRUNCATE. */
export function useOfTable(tableId: number): LockName {
  return { name: `table:${tableId}`, mode: 'S' };
}

export function ddlOnTable(tableId: number): LockName {
  return { name: `table:${tableId}`, mode: 'X' };
}

/** Any write into the file of a heap set, definitions of its shards included. */
export function writeOfSet(setKey: string): LockName {
  return { name: `set:${setKey}`, mode: 'X' };
}

/** Locks of a write on these shards of a table: heap locks the set's file, columnar the shard. */
export function locksForWrite(table: TableDef, shards: readonly Shard[], op: 'insert' | 'modify'): LockName[] {
  const names = new Map<string, LockName>();
  const use = useOfTable(table.tableId);
  names.set(use.name, use);
  for (const shard of shards) {
    const lock: LockName =
      table.accessMethod === 'heap'
        ? writeOfSet(shard.setKey)
        : { name: `shard:${shard.shardId}`, mode: op === 'insert' && table.uniques.length === 0 ? 'A' : 'W' };
    names.set(lock.name, lock);
  }
  return [...names.values()];
}

/** All that can be written in a set: what a move needs to stop writers. */
export function locksOfSet(setKey: string, shards: readonly Shard[]): LockName[] {
  return [writeOfSet(setKey), ...shards.map((shard): LockName => ({ name: `shard:${shard.shardId}`, mode: 'X' }))];
}

/** Whoever makes a shard in a set shares this until his commit; the switch of a move excludes it. */
export function placeLock(setKey: string): string {
  return `place:${setKey}`;
}
