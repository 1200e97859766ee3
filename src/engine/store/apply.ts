/** Decided transactions into the stores, from their records: replay, mirrors, moved sets. And the listing of shards around every publication. */
import { closeSync, existsSync, fdatasyncSync, openSync } from 'node:fs';
import { internalError } from '../../core/errors.js';
import type { Lsn, ShardChanges, StoreDdl, TxnBody } from '../../model/log.js';
import type { IndexDef, SetKey, ShardDef } from '../../model/table.js';
import type { ColumnarDdl, ColumnarWork } from './columnar.js';
import type { StoreCore } from './core.js';
import type { HeapSet, MoveSource } from './heap.js';
import {
  applyHeapChanges,
  createHeapIndex,
  createHeapShard,
  dropHeapIndex,
  dropHeapShard,
  truncateHeapShard,
} from './heap-apply.js';

type MovedBy = { setKey: SetKey; source: MoveSource } | null;

interface HeapPart {
  ddl: StoreDdl[];
  changes: { shard: ShardDef; changes: ShardChanges }[];
}

/** A record's work for each store. */
interface Resolved {
  heap: Map<SetKey, HeapPart>;
  columnar: ColumnarWork | null;
}

/** Sorts a record by stores. What a store has already, because it was installed later or dropped since, is left out. */
export function resolveTxn(core: StoreCore, lsn: Lsn, txn: Pick<TxnBody, 'ddl' | 'shards'>, src: MovedBy): Resolved {
  const find = shardFinder(core, lsn, txn.ddl);
  const heap: Resolved['heap'] = new Map();
  const heapOf = (setKey: SetKey) => {
    const part = heap.get(setKey) ?? { ddl: [], changes: [] };
    heap.set(setKey, part);
    return part;
  };
  const work: ColumnarWork = { lsn, ddl: [], changes: [], src: null };
  for (const ddl of txn.ddl) {
    if (ddl.op === 'dropSet') {
      work.ddl.push(...dropSetDdl(core, lsn, ddl.setKey));
      continue;
    }
    const shard = find(ddl.op === 'createShard' ? ddl.shard.shardId : ddl.shardId);
    if (shard?.accessMethod === 'heap') heapOf(shard.setKey).ddl.push(ddl);
    else if (shard !== undefined && isAbove(core, lsn, shard.setKey)) work.ddl.push(...columnarDdl(ddl, shard));
  }
  for (const changes of txn.shards) {
    const shard = find(changes.shardId);
    if (shard?.accessMethod === 'heap') heapOf(shard.setKey).changes.push({ shard, changes });
    else if (shard !== undefined && isAbove(core, lsn, shard.setKey)) work.changes.push({ shard, changes });
  }
  if (src !== null && core.heaps.has(src.setKey)) heapOf(src.setKey);
  if (src !== null && core.shardsOfSet(src.setKey).some((shard) => shard.accessMethod === 'columnar')) work.src = src;
  const isIdle = work.ddl.length === 0 && work.changes.length === 0 && work.src === null;
  return { heap, columnar: isIdle ? null : work };
}

/** Looks a shard up for a record; undefined where the record's changes to it are void. */
function shardFinder(core: StoreCore, lsn: Lsn, ddl: StoreDdl[]): (shardId: number) => ShardDef | undefined {
  const created = new Map<number, ShardDef>();
  for (const one of ddl) if (one.op === 'createShard') created.set(one.shard.shardId, one.shard);
  return (shardId) => {
    if (core.instance.isShardDroppedAfter(shardId, lsn)) return undefined;
    const def = created.get(shardId) ?? core.instance.shards.get(shardId)?.def;
    if (def === undefined && lsn > core.installedUpTo())
      throw internalError(`shard ${shardId} of the record at ${lsn} is not on this instance`);
    return def;
  };
}

function isAbove(core: StoreCore, lsn: Lsn, setKey: SetKey): boolean {
  return lsn > (core.columnar.floors.get(setKey) ?? -1);
}

/** Shards that came after the record are not meant by it. */
function dropSetDdl(core: StoreCore, lsn: Lsn, setKey: SetKey): ColumnarDdl[] {
  const gone = shardsBefore(core, lsn, setKey).filter((shard) => shard.accessMethod === 'columnar');
  if (gone.length === 0) return [];
  return [...gone.map((shard): ColumnarDdl => ({ op: 'drop', shard })), { op: 'forgetSet', setKey }];
}

function shardsBefore(core: StoreCore, lsn: Lsn, setKey: SetKey): ShardDef[] {
  return core.shardsOfSet(setKey).filter((shard) => core.instance.shards.get(shard.shardId)!.created <= lsn);
}

function columnarDdl(ddl: Exclude<StoreDdl, { op: 'dropSet' }>, shard: ShardDef): ColumnarDdl[] {
  if (ddl.op === 'createShard') return [{ op: 'create', shard }];
  if (ddl.op === 'dropShard') return [{ op: 'drop', shard }];
  // A unique index is a rule only (staging.ts checks it); there is nothing to build.
  return ddl.op === 'truncateShard' ? [{ op: 'truncate', shard }] : [];
}

/**
 * Applies one record; each store that has it already (or a later one) skips it.
 * Without heap changes and DDL the columnar part may wait to be grouped, until `flush`.
 */
export async function applyTxn(core: StoreCore, lsn: Lsn, txn: TxnBody, src: MovedBy): Promise<void> {
  const resolved = resolveTxn(core, lsn, txn, src);
  const endPublishing = core.beginPublishing(lsn, [...resolved.heap.keys()]);
  try {
    listCreated(core, lsn, txn.ddl);
    const commits: (() => void)[] = [];
    for (const [setKey, part] of resolved.heap) {
      const commit = applyHeap(core, lsn, setKey, part, src?.setKey === setKey ? src.source : null);
      if (commit !== null) commits.push(commit);
    }
    noteColumnar(core, resolved.columnar);
    const commitHeap = () => {
      for (const commit of commits) commit();
    };
    await publishParts(core, pendingWork(core, resolved.columnar), txn.ddl.length > 0, commits.length > 0 ? commitHeap : null);
    finishDdl(core, lsn, txn.ddl);
  } finally {
    endPublishing();
  }
}

/** Keeps what a columnar work says of rids and of its sets' positions. */
export function noteColumnar(core: StoreCore, work: ColumnarWork | null): void {
  for (const { shard, changes } of work?.changes ?? []) {
    core.raiseNextRid(shard.shardId, changes.nextRid);
    core.lastColumnar.set(shard.setKey, work!.lsn);
  }
}

/** null where the columnar store has it already, by its own position or by that of the move's source. */
function pendingWork(core: StoreCore, work: ColumnarWork | null): ColumnarWork | null {
  if (work === null || work.lsn <= core.applier.taken) return null;
  const { src } = work;
  if (src !== null && (core.columnar.sources.get(src.setKey)?.lsn ?? -1) >= src.source.lsn) return null;
  return work;
}

async function publishParts(
  core: StoreCore,
  work: ColumnarWork | null,
  hasDdl: boolean,
  commitHeap: (() => void) | null,
): Promise<void> {
  if (work !== null && (commitHeap !== null || hasDdl)) await core.applier.publish(work, commitHeap ?? undefined);
  else if (work !== null) await core.applier.defer(work);
  else if (commitHeap !== null) await core.lock.hold('publish', commitHeap);
}

/** Executes a set's part in its write transaction and returns the commit; null where there is nothing to do. */
function applyHeap(core: StoreCore, lsn: Lsn, setKey: SetKey, part: HeapPart, src: MoveSource | null): (() => void) | null {
  const set = core.heap(setKey);
  if (set.applied >= lsn || (src !== null && set.src !== null && set.src.lsn >= src.lsn)) return null;
  set.beginWrite();
  const defs = new Map(core.shardsOfSet(setKey).map((def) => [def.shardId, def]));
  for (const ddl of part.ddl) runHeapDdl(set, ddl, defs);
  for (const { shard, changes } of part.changes) {
    applyHeapChanges(set, shard, changes, (name) => core.batchPath(name));
    core.raiseNextRid(shard.shardId, changes.nextRid);
  }
  set.stamp(lsn, src);
  return () => set.commitWrite(lsn, src);
}

/** One DDL in a heap set's open write transaction; `defs` follows it. */
export function runHeapDdl(set: HeapSet, ddl: StoreDdl, defs: Map<number, ShardDef>): void {
  if (ddl.op === 'createShard') {
    defs.set(ddl.shard.shardId, ddl.shard);
    createHeapShard(set, ddl.shard);
    return;
  }
  if (ddl.op === 'dropSet') throw internalError('a set is dropped with its file, not in its transaction');
  const shard = defs.get(ddl.shardId);
  if (shard === undefined) throw internalError(`shard ${ddl.shardId} is not in set ${set.setKey}`);
  if (ddl.op === 'dropShard') {
    dropHeapShard(set, shard);
    defs.delete(ddl.shardId);
  } else if (ddl.op === 'truncateShard') {
    truncateHeapShard(set, shard);
  } else if (ddl.op === 'createIndex') {
    createHeapIndex(set, shard, ddl.index);
    defs.set(ddl.shardId, withIndex(shard, ddl.index));
  } else {
    dropHeapIndex(set, shard, ddl.name);
    defs.set(ddl.shardId, withoutIndex(shard, ddl.name));
  }
}

export function withIndex(shard: ShardDef, index: IndexDef): ShardDef {
  return { ...shard, indexes: [...shard.indexes.filter((one) => one.name !== index.name), index] };
}

/** Without the index or unique constraint of that name. */
export function withoutIndex(shard: ShardDef, name: string): ShardDef {
  return {
    ...shard,
    indexes: shard.indexes.filter((one) => one.name !== name),
    uniques: shard.uniques.filter((one) => one.name !== name),
  };
}

/** Before the stores commit: lists shards and files that the transaction creates. */
export function listCreated(core: StoreCore, lsn: Lsn, ddl: StoreDdl[]): void {
  const bySet = new Map<SetKey, ShardDef[]>();
  for (const one of ddl) {
    if (
      one.op !== 'createShard' ||
      core.instance.isShardDroppedAfter(one.shard.shardId, lsn) ||
      core.instance.shards.has(one.shard.shardId)
    )
      continue;
    bySet.set(one.shard.setKey, [...(bySet.get(one.shard.setKey) ?? []), one.shard]);
  }
  for (const [setKey, shards] of bySet) {
    const heap = shards.some((shard) => shard.accessMethod === 'heap') ? core.heapOrNew(setKey, lsn - 1) : null;
    core.instance.list(lsn, heap === null ? null : { setKey, file: heap.file, created: lsn }, shards);
    for (const shard of shards) core.raiseNextRid(shard.shardId, 1);
  }
}

/** After the stores have committed: definitions that changed, shards and files that are gone. */
export function finishDdl(core: StoreCore, lsn: Lsn, ddl: StoreDdl[]): void {
  for (const one of ddl) {
    if (one.op === 'createIndex' || one.op === 'dropIndex') {
      const listed = core.instance.shards.get(one.shardId);
      if (listed === undefined || listed.created > lsn) continue;
      core.instance.redefine([one.op === 'createIndex' ? withIndex(listed.def, one.index) : withoutIndex(listed.def, one.name)]);
    } else if (one.op === 'dropShard') {
      const listed = core.instance.shards.get(one.shardId);
      if (listed !== undefined && listed.created <= lsn) unlist(core, lsn, listed.def.setKey, [listed.def]);
    } else if (one.op === 'dropSet') {
      const gone = shardsBefore(core, lsn, one.setKey);
      if (gone.length > 0) unlist(core, lsn, one.setKey, gone);
    }
  }
}

/** Shards that are gone from their stores; a heap file without shards goes with them. */
function unlist(core: StoreCore, lsn: Lsn, setKey: SetKey, gone: ShardDef[]): void {
  const ids = new Set(gone.map((shard) => shard.shardId));
  const left = core.shardsOfSet(setKey).some((shard) => shard.accessMethod === 'heap' && !ids.has(shard.shardId));
  const set = core.heaps.get(setKey);
  const listed = set !== undefined && core.isListed(set);
  // What is unlisted must be gone for good: its older records are no longer looked at.
  if (set !== undefined && left) syncWal(set);
  core.instance.unlist(lsn, [...ids], left ? [] : [setKey]);
  for (const id of ids) core.nextRids.delete(id);
  // A file that is not listed was made by a transaction that is still open: a heap table of the set that comes while a columnar one goes.
  if (!left && listed) core.removeHeap(setKey);
}

/** The WAL may be opened and closed by other means than SQLite: locks are on the database file and its -shm. */
export function syncWal(set: HeapSet): void {
  const path = `${set.path}-wal`;
  if (existsSync(path)) {
    const fd = openSync(path, 'r+');
    try {
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
  set.firstDirty = null;
}
