/**
 * Sets as files: export under held read transactions, and installation.
 *
 * A heap file is copied with its WAL as long as it was at the snapshot, by another process (closing a descriptor of the file in this one would drop
 * SQLite's locks), while its checkpoints are held; then the copy is opened and folded into one clean database.
 */
import { execFile } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  createReadStream,
  createWriteStream,
  fsyncSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import type { DuckDBConnection } from '@duckdb/node-api';
import Database from 'better-sqlite3';
import { systemClock } from '../../core/clock.js';
import { internalError } from '../../core/errors.js';
import { syncDirectory } from '../../core/files.js';
import type { Lsn, MoveFile } from '../../model/log.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import type { StoreCore } from './core.js';
import type { HeapSet, MoveSource } from './heap.js';
import { openSnapshot } from './snapshot.js';
import { quoteIdent, quoteText } from './sql.js';
import type { SqliteWorker } from './sqlite-worker.js';
import { fileChecksum } from './staging.js';
import type { StoreSnapshot } from './types.js';

export interface ExportedSet {
  lsn: Lsn;
  shards: ShardDef[];
  nextRids: [number, number][];
  files: MoveFile[];
}

const run = promisify(execFile);
/** The set is busy, or its WAL began anew under the copy: tried again so often. */
const ATTEMPTS = 50;

export async function exportSet(
  core: StoreCore,
  worker: SqliteWorker,
  setKey: SetKey,
  directory: string,
  prefix: string,
): Promise<ExportedSet> {
  mkdirSync(directory, { recursive: true });
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    await core.applier.flush();
    if (attempt > 0) await systemClock.sleep(attempt);
    const exported = await tryExport(core, worker, setKey, directory, prefix);
    if (exported !== null) return exported;
  }
  throw internalError(`set ${setKey} could not be copied at one position`);
}

/** A set's position at the cut of a snapshot; null: something of it was being published. */
interface Cut {
  lsn: Lsn;
  applied: Lsn;
  walBytes: number;
  shards: ShardDef[];
  nextRids: [number, number][];
}

/** null: something of the set was being published, or the copy does not stand at the snapshot. */
async function tryExport(
  core: StoreCore,
  worker: SqliteWorker,
  setKey: SetKey,
  directory: string,
  prefix: string,
): Promise<ExportedSet | null> {
  const before = core.shardsOfSet(setKey);
  const columnar = before.filter((shard) => shard.accessMethod === 'columnar');
  const heap = columnar.length < before.length ? core.heap(setKey) : null;
  if (heap !== null) heap.holds++;
  let cut: Cut | null = null;
  try {
    const need = { heapSets: heap === null ? [] : [setKey], columnar: columnar.length > 0 };
    const snapshot = await openSnapshot(core, need, (held) => {
      cut = cutOf(core, setKey, heap, held);
    });
    try {
      const at = cut as Cut | null;
      if (at === null || !isSame(before, at.shards)) return null;
      const files: MoveFile[] = [];
      if (heap !== null) {
        const name = `${prefix}.db`;
        const file = await copyHeap(heap, worker, at, join(directory, name), name);
        if (file === null) return null;
        files.push(file);
      }
      for (const shard of columnar)
        files.push(await copyColumnar(snapshot.duckdb(), shard, directory, `${prefix}-${shard.shardId}.parquet`));
      syncDirectory(directory);
      return { lsn: at.lsn, shards: at.shards, nextRids: at.nextRids, files };
    } finally {
      await snapshot.close();
    }
  } finally {
    if (heap !== null) heap.holds--;
  }
}

function isSame(a: ShardDef[], b: ShardDef[]): boolean {
  return a.length === b.length && a.every((shard, i) => shard === b[i]);
}

function cutOf(core: StoreCore, setKey: SetKey, heap: HeapSet | null, held: StoreSnapshot): Cut | null {
  if (core.isPublishing(setKey)) return null;
  const shards = core.shardsOfSet(setKey);
  const applied = heap === null ? -1 : readApplied(held.heap(setKey));
  const lsn = Math.max(applied, core.lastColumnar.get(setKey) ?? -1, core.columnar.floors.get(setKey) ?? -1, core.passed);
  const nextRids = shards.map((shard): [number, number] => [shard.shardId, core.nextRid(shard.shardId)]);
  return { lsn, applied, walBytes: heap?.walBytes() ?? 0, shards, nextRids };
}

function readApplied(db: Database.Database): Lsn {
  return (db.prepare("SELECT value FROM _damson WHERE key = 'applied'").pluck().get() as number | undefined) ?? -1;
}

async function copyHeap(set: HeapSet, worker: SqliteWorker, cut: Cut, path: string, name: string): Promise<MoveFile | null> {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
  await run('cp', ['--', set.path, path]);
  if (cut.walBytes > 0)
    await pipeline(createReadStream(`${set.path}-wal`, { end: cut.walBytes - 1 }), createWriteStream(`${path}-wal`));
  const folded = await worker.call('fold', { path });
  if (folded.applied !== cut.applied) return null;
  return { name, kind: 'heap', bytes: statSync(path).size, checksum: await fileChecksum(path) };
}

async function copyColumnar(conn: DuckDBConnection, shard: ShardDef, directory: string, name: string): Promise<MoveFile> {
  const path = join(directory, name);
  const result = await conn.run(
    `COPY (SELECT * FROM ${quoteIdent(shard.relation)} ORDER BY _rid) TO ${quoteText(path)} (FORMAT parquet)`,
  );
  const rows = Number((await result.getRows())[0]?.[0]);
  syncFile(path);
  return { name, kind: 'parquet', shardId: shard.shardId, rows, bytes: statSync(path).size, checksum: await fileChecksum(path) };
}

function syncFile(path: string): void {
  const fd = openSync(path, 'r+');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Installs a set from files. Each store that stands at `lsn` already keeps what it has; the listing comes last, and makes it so. */
export async function importSet(
  core: StoreCore,
  lsn: Lsn,
  setKey: SetKey,
  shards: ShardDef[],
  nextRids: [number, number][],
  files: MoveFile[],
  pathOf: (name: string) => string,
  src: MoveSource | null,
): Promise<void> {
  const rids = new Map(nextRids);
  const heapFile = files.find((file) => file.kind === 'heap');
  const current = core.heaps.get(setKey);
  if (current?.isWriting === true) throw internalError(`set ${setKey} is being written and cannot be installed`);
  const keepHeap = current !== undefined && core.isListed(current) && current.applied >= lsn;
  const newFile = heapFile === undefined || keepHeap ? null : installFile(core, lsn, setKey, pathOf(heapFile.name), rids, src);
  await installColumnar(core, lsn, setKey, shards, rids, files, pathOf, src);
  const file = newFile ?? (keepHeap ? current.file : null);
  core.instance.replaceSet(lsn, setKey, file, shards);
  if (newFile !== null) core.replaceHeap(setKey, newFile, lsn);
  else if (file === null) core.removeHeap(setKey);
  for (const [shardId, nextRid] of rids) core.raiseNextRid(shardId, nextRid);
}

/** Copies the database into place, with the bookkeeping of its new instance, durably. Its name under `sets/`. */
function installFile(
  core: StoreCore,
  lsn: Lsn,
  setKey: SetKey,
  source: string,
  rids: Map<number, number>,
  src: MoveSource | null,
): string {
  const name = core.newFileName(setKey);
  const path = join(core.setsDirectory, name);
  copyFileSync(source, path);
  const db = new Database(path, { timeout: 0 });
  try {
    db.pragma('synchronous = FULL');
    db.transaction(() => {
      const set = db.prepare(
        'INSERT INTO _damson (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      );
      set.run('applied', BigInt(lsn));
      if (src !== null) {
        set.run('srcContent', BigInt(src.content));
        set.run('srcLsn', BigInt(src.lsn));
      }
      const rid = db.prepare('UPDATE _damson_shard SET nextRid = max(nextRid, ?) WHERE shardId = ?');
      for (const [shardId, nextRid] of rids) rid.run(BigInt(nextRid), shardId);
    })();
  } finally {
    db.close();
  }
  syncFile(path);
  syncDirectory(core.setsDirectory);
  return name;
}

async function installColumnar(
  core: StoreCore,
  lsn: Lsn,
  setKey: SetKey,
  shards: ShardDef[],
  rids: Map<number, number>,
  files: MoveFile[],
  pathOf: (name: string) => string,
  src: MoveSource | null,
): Promise<void> {
  const columnar = shards.filter((shard) => shard.accessMethod === 'columnar');
  const old = core.shardsOfSet(setKey).filter((shard) => shard.accessMethod === 'columnar');
  if ((columnar.length === 0 && old.length === 0) || (core.columnar.floors.get(setKey) ?? -1) >= lsn) return;
  const parts = columnar.map((shard) => {
    const file = files.find((one) => one.kind === 'parquet' && one.shardId === shard.shardId);
    if (file === undefined) throw internalError(`no file for columnar shard ${shard.shardId} of set ${setKey}`);
    return { shard, path: pathOf(file.name), rows: file.rows ?? 0, nextRid: rids.get(shard.shardId) ?? 1 };
  });
  await core.applier.install({ setKey, lsn, old, shards: parts, src });
}
