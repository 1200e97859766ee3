import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { open, rowsOf, shardDef, TestLog, testDirectory, transact } from './harness.test-util.js';
import type { Stores } from './types.js';

let directory: string;
let log: TestLog;
let source: Stores;
let target: Stores;
let targetLog: TestLog;
const heap = shardDef(102008, 'heap', { setKey: 'c2_0' });
const columnar = shardDef(102012, 'columnar', { setKey: 'c2_0', relation: 'facts_102012' });

beforeEach(async () => {
  directory = testDirectory();
  log = new TestLog(join(directory, 'batches'));
  targetLog = new TestLog(join(directory, 'target-batches'));
  source = await open(join(directory, 'source'), log);
  target = await open(join(directory, 'target'), targetLog);
  await transact(source, log, (txn) =>
    txn.ddl([
      { op: 'createShard', shard: heap },
      { op: 'createShard', shard: columnar },
    ]),
  );
});

afterEach(async () => {
  await source.close();
  await target.close();
  rmSync(directory, { recursive: true, force: true });
});

const write = (i: number) =>
  transact(source, log, async (txn) => {
    await txn.insert(
      102008,
      Array.from({ length: 50 }, (_, k) => [i * 100 + k, `text ${i}`, null]),
    );
    await txn.insert(102012, [[i, 'fact', null]]);
    if (i % 3 === 0)
      txn.modifyHeap(102008, 'delete', 'DELETE FROM items_102008 WHERE c1 = ?1 RETURNING _rid, c1, c2, c3', [i * 100]);
  });

describe('a set that moves beside a writer', () => {
  it('is copied at one position and catches up from the log', async () => {
    for (let i = 0; i < 20; i++) await write(i);
    let isDone = false;
    const writer = (async () => {
      for (let i = 20; i < 60; i++) await write(i);
      isDone = true;
    })();
    const staging = join(directory, 'staging');
    const copy = await source.exportSet('c2_0', staging, 'move-1');
    expect(copy.shards.map((shard) => shard.shardId)).toEqual([102008, 102012]);
    expect(copy.files.map((file) => file.kind).sort()).toEqual(['heap', 'parquet']);
    await writer;
    expect(isDone).toBe(true);
    const loadLsn = 7;
    const install = () =>
      target.importSet(loadLsn, 'c2_0', copy.shards, copy.nextRids, copy.files, (name) => join(staging, name), {
        content: 3,
        lsn: copy.lsn,
      });
    await install();
    await install();
    expect(target.moveSource('c2_0')).toEqual({ content: 3, lsn: copy.lsn });
    let lsn = 20;
    for (const pass of [1, 2]) {
      for (let i = 0; i < log.records.length; i++) {
        const record = log.txn(i);
        if (record.lsn <= copy.lsn && pass === 1) continue;
        lsn += 10;
        await target.applyMoved(lsn, 'c2_0', { content: 3, lsn: record.lsn }, record.txn);
      }
    }
    await target.flush();
    expect((await target.checksums()).shards).toEqual((await source.checksums()).shards);
    expect(target.moveSource('c2_0')).toEqual({ content: 3, lsn: log.records.at(-1)!.lsn });
    expect(target.nextRid(102012)).toBe(source.nextRid(102012));
    await target.close();
    target = await open(join(directory, 'target'), targetLog);
    expect(target.moveSource('c2_0')).toEqual({ content: 3, lsn: log.records.at(-1)!.lsn });
    expect((await target.checksums()).shards).toEqual((await source.checksums()).shards);
  });

  it('is dropped, installed again and replayed', async () => {
    await write(1);
    const staging = join(directory, 'staging');
    const copy = await source.exportSet('c2_0', staging, 'm');
    await target.importSet(50, 'c2_0', copy.shards, copy.nextRids, copy.files, (name) => join(staging, name));
    const drop = { participants: [], locks: [], ddl: [{ op: 'dropSet' as const, setKey: 'c2_0' }], shards: [] };
    await target.apply(60, drop);
    expect(target.sets()).toEqual([]);
    await target.importSet(70, 'c2_0', copy.shards, copy.nextRids, copy.files, (name) => join(staging, name));
    await target.apply(60, drop);
    expect(await rowsOf(target, heap)).toHaveLength(50);
    expect(await rowsOf(target, columnar)).toHaveLength(1);
    await target.close();
    target = await open(join(directory, 'target'), targetLog);
    await target.apply(60, drop);
    expect((await target.checksums()).shards).toEqual((await source.checksums()).shards);
  });
});

describe('full recovery of a mirror', () => {
  it('installs sets at their own positions and replays the log over all of them', async () => {
    const second = shardDef(102009, 'columnar', { setKey: 'c2_1' });
    await transact(source, log, (txn) => txn.ddl([{ op: 'createShard', shard: second }]));
    await write(1);
    const staging = join(directory, 'staging');
    mkdirSync(staging);
    const first = await source.exportSet('c2_0', staging, 'one');
    await write(2);
    await transact(source, log, (txn) => txn.insert(102009, [[1, 'x', null]]));
    const other = await source.exportSet('c2_1', staging, 'two');
    await write(3);
    await transact(source, log, (txn) => txn.insert(102009, [[2, 'y', null]]));
    const mirror = await open(join(directory, 'mirror'), log);
    await mirror.importSet(other.lsn, 'c2_1', other.shards, other.nextRids, other.files, (name) => join(staging, name));
    await mirror.importSet(first.lsn, 'c2_0', first.shards, first.nextRids, first.files, (name) => join(staging, name));
    await log.replay(mirror, first.lsn);
    expect((await mirror.checksums()).shards).toEqual((await source.checksums()).shards);
    await mirror.close();
  });
});

describe('a store killed in the middle', () => {
  it('is what its files say, and replay completes it', async () => {
    for (let i = 0; i < 5; i++) await write(i);
    const open5 = source.openTxn('open');
    await open5.insert(102008, [[1, 'never', null]]);
    await open5.insert(102012, [[1, 'never', null]]);
    // As kill -9 leaves it: the files as they are, without a close.
    const crashed = join(directory, 'crashed');
    mkdirSync(join(crashed, 'sets'), { recursive: true });
    for (const name of ['instance.db', 'instance.db-wal', 'columnar.db', 'columnar.db.wal', 'sets/c2_0.db', 'sets/c2_0.db-wal']) {
      copyFileSync(join(directory, 'source', name), join(crashed, name));
    }
    await open5.rollback();
    await write(6);
    const again = await open(crashed, log);
    expect(again.highest()).toBe(log.records.at(-2)!.lsn);
    await log.replay(again, again.applied());
    expect((await again.checksums()).shards).toEqual((await source.checksums()).shards);
    await again.close();
  });
});
