import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SqlError } from '../../core/errors.js';
import { silentLogger } from '../../core/log.js';
import { Oid } from '../../model/storage.js';
import type { AccessMethod } from '../../model/table.js';
import { column, commit, open, rowsOf, shardDef, TestLog, testDirectory, transact } from './harness.test-util.js';
import { openStores } from './stores.js';
import type { Stores } from './types.js';

let directory: string;
let log: TestLog;
let stores: Stores;

beforeEach(async () => {
  directory = testDirectory();
  log = new TestLog(join(directory, 'batches'));
  stores = await open(join(directory, 'a'), log);
});

afterEach(async () => {
  await stores.close();
  rmSync(directory, { recursive: true, force: true });
});

async function mirror(): Promise<Stores> {
  return open(join(directory, 'b'), log);
}

const METHODS: AccessMethod[] = ['heap', 'columnar'];

describe.each(METHODS)('a %s shard', (method) => {
  const shard = shardDef(102008, method);
  const update = async (txn: ReturnType<Stores['openTxn']>, set: string, where: string) => {
    if (method === 'heap') {
      return txn.modifyHeap(102008, 'update', `UPDATE items_102008 SET ${set} WHERE ${where} RETURNING _rid, c1, c2, c3`, [])
        .length;
    }
    await txn.duckdb();
    const value = /^c2 = (.*)$/.exec(set)![1]!;
    const from = txn.overlay(102008) ?? 'items_102008';
    return txn.modifyColumnar(102008, 'update', `SELECT _rid, c1, ${value} AS c2, c3 FROM ${from} x WHERE ${where}`);
  };
  const remove = async (txn: ReturnType<Stores['openTxn']>, where: string) => {
    if (method === 'heap')
      return txn.modifyHeap(102008, 'delete', `DELETE FROM items_102008 WHERE ${where} RETURNING _rid, c1, c2, c3`, []).length;
    await txn.duckdb();
    const from = txn.overlay(102008) ?? 'items_102008';
    return txn.modifyColumnar(102008, 'delete', `SELECT _rid FROM ${from} x WHERE ${where}`);
  };
  const insert = (first: number, count: number) => async (txn: ReturnType<Stores['openTxn']>) => {
    await txn.insert(
      102008,
      Array.from({ length: count }, (_, i) => [first + i, `n${first + i}`, 1_000_000]),
    );
  };
  const texts = async (from: Stores) => (await rowsOf(from, shard)).map((row) => [Number(row[1]), row[2]]);

  beforeEach(async () => {
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createShard', shard }]));
  });

  it('publishes, and a mirror that applies the records is equal', async () => {
    await transact(stores, log, insert(1, 5));
    await transact(stores, log, async (txn) => {
      expect(await update(txn, "c2 = 'x'", 'c1 = 2')).toBe(1);
      expect(await remove(txn, 'c1 >= 4')).toBe(2);
      await insert(10, 1)(txn);
    });
    expect((await texts(stores)).sort((a, b) => Number(a[0]) - Number(b[0]))).toEqual([
      [1, 'n1'],
      [2, 'x'],
      [3, 'n3'],
      [10, 'n10'],
    ]);
    const other = await mirror();
    await log.replay(other);
    await log.replay(other);
    expect((await other.checksums()).shards).toEqual((await stores.checksums()).shards);
    expect(other.nextRid(102008)).toBe(stores.nextRid(102008));
    await other.close();
  });

  it('logs the net of a transaction', async () => {
    await transact(stores, log, insert(1, 3));
    const txn = stores.openTxn('net');
    await insert(10, 2)(txn);
    await remove(txn, 'c1 = 10');
    await update(txn, "c2 = 'a'", 'c1 = 11');
    await update(txn, "c2 = 'b'", 'c1 IN (1, 11)');
    await update(txn, "c2 = 'c'", 'c1 = 1');
    await remove(txn, 'c1 = 2');
    const { shards } = await txn.freeze();
    expect(shards).toHaveLength(1);
    expect(shards[0]!.deleted).toEqual([1, 2]);
    expect(shards[0]!.inserted.length + shards[0]!.batches.reduce((sum, batch) => sum + batch.rows, 0)).toBe(2);
    await txn.publish(5000, { participants: [], locks: [], ddl: [], shards });
    expect((await texts(stores)).sort((a, b) => Number(a[0]) - Number(b[0]))).toEqual([
      [1, 'c'],
      [3, 'n3'],
      [11, 'b'],
    ]);
  });

  it('leaves nothing behind a rollback', async () => {
    await transact(stores, log, insert(1, 3));
    const txn = stores.openTxn('gone');
    await insert(10, 5)(txn);
    await remove(txn, 'c1 = 1');
    await txn.freeze();
    await txn.rollback();
    expect(await texts(stores)).toHaveLength(3);
    expect(readdirSync(stores.temporaryDirectory)).toEqual([]);
    await transact(stores, log, insert(20, 1));
    expect(await texts(stores)).toHaveLength(4);
  });

  it('opens again where it stood, and replays what is missing', async () => {
    await transact(stores, log, insert(1, 3));
    await stores.close();
    const txns = log.records.length;
    stores = await open(join(directory, 'a'), log);
    expect(stores.highest()).toBe(110);
    const other = await mirror();
    await log.replay(other);
    await transact(other, log, insert(50, 2));
    expect(log.records).toHaveLength(txns + 1);
    await log.replay(stores, stores.applied());
    expect(await texts(stores)).toEqual(await texts(other));
    await other.close();
  });

  it('loads CSV with NULLs, empty strings, quotes and newlines', async () => {
    const csv = Buffer.from('1,"",2000-01-01 00:00:00\n2,,\n3,"a ""b""\nc,\r",1999-12-31 23:59:59.999999\n4,\\N,infinity\n');
    await transact(stores, log, async (txn) => {
      await txn.insertCsv(102008, csv, 4);
      await txn.insertCsv(102008, Buffer.from('5,z,\n'), 1);
    });
    expect((await texts(stores)).map((row) => row[1])).toEqual(['', null, 'a "b"\nc,\r', '\\N', 'z']);
    expect((await rowsOf(stores, shard)).map((row) => row[0]).map(Number)).toEqual([1, 2, 3, 4, 5]);
  });

  it('creates, fills, truncates and drops in transactions', async () => {
    const fresh = shardDef(102012, method, { relation: 'fresh_102012' });
    await transact(stores, log, async (txn) => {
      await txn.ddl([{ op: 'createShard', shard: fresh }]);
      await txn.insertCsv(102012, Buffer.from('1,a,\n2,b,\n'), 2);
    });
    expect(await rowsOf(stores, fresh)).toHaveLength(2);
    await transact(stores, log, async (txn) => {
      await txn.insert(102012, [[7, 'lost', null]]);
      await txn.ddl([{ op: 'truncateShard', shardId: 102012 }]);
      await txn.insert(102012, [[3, 'c', null]]);
    });
    expect((await rowsOf(stores, fresh)).map((row) => row[2])).toEqual(['c']);
    const other = await mirror();
    await log.replay(other);
    expect((await other.checksums()).shards).toEqual((await stores.checksums()).shards);
    await transact(stores, log, (txn) => txn.ddl([{ op: 'dropShard', shardId: 102012 }]));
    expect(stores.hasShard(102012)).toBe(false);
    await log.replay(other);
    expect(other.hasShard(102012)).toBe(false);
    await other.close();
    await stores.close();
    stores = await open(join(directory, 'a'), log);
    await log.replay(stores);
    expect(stores.hasShard(102012)).toBe(false);
  });

  it('undoes a shard that is created in a transaction that fails', async () => {
    const fresh = shardDef(102013, method);
    const txn = stores.openTxn('undo');
    await txn.ddl([{ op: 'createShard', shard: fresh }]);
    await txn.insert(102013, [[1, 'a', null]]);
    await txn.rollback();
    expect(stores.hasShard(102013)).toBe(false);
    expect(existsSync(join(directory, 'a', 'sets', 'c2_1.db'))).toBe(false);
    await transact(stores, log, (again) => again.ddl([{ op: 'createShard', shard: fresh }]));
    expect(await rowsOf(stores, fresh)).toEqual([]);
  });

  it('refuses duplicates with the key', async () => {
    const unique = shardDef(102016, method, {
      relation: 'keyed_102016',
      setKey: 'c2_3',
      columns: [column(1, Oid.int8), column(2, Oid.numeric), column(3, Oid.timestamp)],
      uniques: [
        { name: 'keyed_pkey', attnums: [1, 3], primary: true },
        { name: 'keyed_num', attnums: [2], primary: false },
      ],
    });
    await transact(stores, log, async (txn) => {
      await txn.ddl([{ op: 'createShard', shard: unique }]);
      await txn.insert(102016, [[1, '1.50', 0]]);
    });
    const failure = async (rows: never[][]): Promise<SqlError> => {
      const error = await transact(stores, log, (txn) => txn.insert(102016, rows)).catch((e: unknown) => e);
      return error as SqlError;
    };
    const first = await failure([[1, '9', 0]] as never[][]);
    expect([first.sqlstate, first.message]).toEqual(['23505', 'duplicate key value violates unique constraint "keyed_pkey"']);
    expect(first.fields).toMatchObject({
      table: 'keyed',
      constraint: 'keyed_pkey',
      detail: 'Key (col1, col3)=(1, 2000-01-01 00:00:00) already exists.',
    });
    expect((await failure([[2, '1.5', 0]] as never[][])).fields.constraint).toBe('keyed_num');
    expect(
      (
        await failure([
          [3, '7', 0],
          [4, '7.0', 0],
        ] as never[][])
      ).sqlstate,
    ).toBe('23505');
    await transact(stores, log, (txn) =>
      txn.insert(102016, [
        [2, null, 0],
        [3, null, 0],
        [null, '8', null],
        [null, '80', null],
      ]),
    );
    expect(await rowsOf(stores, unique)).toHaveLength(5);
  });
});

describe('heap shards', () => {
  it('carry large changes in row files', async () => {
    const shard = shardDef(102008, 'heap');
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createShard', shard }]));
    const txn = stores.openTxn('big');
    const csv = Array.from({ length: 30_000 }, (_, i) => `${i},${'x'.repeat(50)}${i},\n`).join('');
    await txn.insertCsv(102008, Buffer.from(csv), 30_000);
    const frozen = await txn.freeze();
    expect(frozen.batches.length).toBeGreaterThan(0);
    expect(frozen.shards[0]!.inserted).toEqual([]);
    const lsn = log.append({ participants: [], locks: [], ddl: [], shards: frozen.shards });
    await txn.publish(lsn, log.txn(1).txn);
    const other = await mirror();
    await log.replay(other);
    expect((await other.checksums()).shards).toEqual((await stores.checksums()).shards);
    expect((await other.sizes())[0]!.rows).toBe(30_000);
    await other.close();
  });

  it('make and drop indexes, also on rows that are not unique', async () => {
    const shard = shardDef(102008, 'heap');
    await transact(stores, log, async (txn) => {
      await txn.ddl([{ op: 'createShard', shard }]);
      await txn.insert(102008, [
        [1, 'a', null],
        [1, 'b', null],
      ]);
    });
    const index = { name: 'items_c1', attnums: [1], unique: true };
    const error = await transact(stores, log, (txn) => txn.ddl([{ op: 'createIndex', shardId: 102008, index }])).catch(
      (e: unknown) => e,
    );
    expect((error as SqlError).message).toBe('could not create unique index "items_c1"');
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createIndex', shardId: 102008, index: { ...index, attnums: [2] } }]));
    const again = await transact(stores, log, (txn) => txn.insert(102008, [[5, 'a', null]])).catch((e: unknown) => e);
    expect((again as SqlError).fields.constraint).toBe('items_c1');
    await transact(stores, log, (txn) => txn.ddl([{ op: 'dropIndex', shardId: 102008, name: 'items_c1' }]));
    await transact(stores, log, (txn) => txn.insert(102008, [[5, 'a', null]]));
    const other = await mirror();
    await log.replay(other);
    expect((await other.checksums()).shards).toEqual((await stores.checksums()).shards);
    await other.close();
  });

  it('refuse a second writer, and a write that comes too late', async () => {
    const shard = shardDef(102008, 'heap');
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createShard', shard }]));
    const first = stores.openTxn('first');
    first.heapWriter(shard.setKey);
    expect(() => stores.openTxn('second').heapWriter(shard.setKey)).toThrow(/being written/);
    await first.freeze();
    await expect(first.insert(102008, [[1, 'a', null]])).rejects.toThrow(/no more writes/);
    await first.rollback();
  });
});

describe('positions', () => {
  it('rise with passed, durably', async () => {
    const shard = shardDef(102008, 'heap');
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createShard', shard }]));
    await transact(stores, log, (txn) => txn.insert(102008, [[1, 'a', null]]));
    expect(stores.appliedOf(shard.setKey)).toBe(110);
    stores.passed(900);
    await stores.settle();
    expect(stores.applied()).toBe(900);
    await stores.close();
    stores = await open(join(directory, 'a'), log);
    expect(stores.applied()).toBe(900);
  });

  it('forget everything on wipe', async () => {
    await transact(stores, log, (txn) =>
      txn.ddl([
        { op: 'createShard', shard: shardDef(102008, 'heap') },
        { op: 'createShard', shard: shardDef(102009, 'columnar') },
      ]),
    );
    await stores.wipe();
    expect(stores.sets()).toEqual([]);
    await log.replay(stores);
    expect(stores.sets()).toHaveLength(2);
  });
});

describe('snapshots', () => {
  it('never see a part of a transaction over several stores', async () => {
    const heap = shardDef(102008, 'heap');
    const columnar = shardDef(102009, 'columnar');
    await transact(stores, log, (txn) =>
      txn.ddl([
        { op: 'createShard', shard: heap },
        { op: 'createShard', shard: columnar },
      ]),
    );
    let isDone = false;
    const writer = (async () => {
      for (let i = 0; i < 60; i++) {
        await transact(stores, log, async (txn) => {
          await txn.insert(102008, [[i, 'x', null]]);
          await txn.insert(102009, [[i, 'x', null]]);
        });
      }
      isDone = true;
    })();
    let seen = 0;
    while (!isDone) {
      const snapshot = await stores.openSnapshot({ heapSets: [heap.setKey], columnar: true });
      const inHeap = snapshot.heap(heap.setKey).prepare('SELECT count(*) FROM items_102008').pluck().get();
      const inDuck = Number((await snapshot.duckdb().runAndReadAll('SELECT count(*) FROM items_102009')).getRows()[0]![0]);
      expect(inHeap).toBe(inDuck);
      seen++;
      await snapshot.close();
    }
    await writer;
    expect(seen).toBeGreaterThan(0);
  });

  it('keep what they have seen', async () => {
    const heap = shardDef(102008, 'heap');
    const columnar = shardDef(102009, 'columnar');
    await transact(stores, log, (txn) =>
      txn.ddl([
        { op: 'createShard', shard: heap },
        { op: 'createShard', shard: columnar },
      ]),
    );
    const snapshot = await stores.openSnapshot({ heapSets: [heap.setKey], columnar: true });
    await transact(stores, log, async (txn) => {
      await txn.insert(102008, [[1, 'x', null]]);
      await txn.insert(102009, [[1, 'x', null]]);
    });
    await transact(stores, log, (txn) =>
      txn.ddl([
        { op: 'dropSet', setKey: heap.setKey },
        { op: 'dropShard', shardId: 102009 },
      ]),
    );
    expect(stores.sets()).toEqual([]);
    expect(snapshot.heap(heap.setKey).prepare('SELECT count(*) FROM items_102008').pluck().get()).toBe(0);
    expect((await snapshot.duckdb().runAndReadAll('SELECT count(*) FROM items_102009')).getRows()[0]![0]).toBe(0n);
    await snapshot.close();
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createShard', shard: { ...heap, shardId: 102020 } }]));
    expect(await rowsOf(stores, heap)).toEqual([]);
  });
});

describe('overlay', () => {
  it('reads own writes of many statements, and nobody else sees them', async () => {
    const shard = shardDef(102009, 'columnar');
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createShard', shard }]));
    await transact(stores, log, (txn) =>
      txn.insert(102009, [
        [1, 'a', null],
        [2, 'b', null],
      ]),
    );
    const txn = stores.openTxn('own');
    const count = async () => {
      const conn = await txn.duckdb();
      return Number(
        (await conn.runAndReadAll(`SELECT count(*) FROM ${txn.overlay(102009) ?? 'items_102009'} x`)).getRows()[0]![0],
      );
    };
    expect(txn.overlay(102009)).toBeNull();
    for (let i = 0; i < 40; i++) {
      await txn.insert(102009, [[100 + i, 'own', null]]);
      expect(await count()).toBe(3 + i);
    }
    await txn.modifyColumnar(
      102009,
      'delete',
      `SELECT _rid FROM ${txn.overlay(102009)} x WHERE c1 BETWEEN 100 AND 119 OR c1 = 1`,
    );
    expect(await count()).toBe(21);
    expect(await rowsOf(stores, shard)).toHaveLength(2);
    await commit(log, txn);
    expect(await rowsOf(stores, shard)).toHaveLength(21);
  });
});

describe('a record that does not fit', () => {
  it.each(METHODS)('is fatal for a %s shard and changes nothing', async (method) => {
    const shard = shardDef(102008, method);
    const failures: unknown[] = [];
    const own = await openStores({
      directory: join(directory, 'c'),
      files: log,
      logger: silentLogger(),
      memoryMb: 256,
      onFatal: (error) => failures.push(error),
    });
    const body = { participants: [0], locks: [], ddl: [], shards: [] };
    await own.apply(100, { ...body, ddl: [{ op: 'createShard', shard }] });
    const wrong = { shardId: 102008, nextRid: 9, deleted: [5], inserted: [], batches: [] };
    await own
      .apply(110, { ...body, shards: [wrong] })
      .then(() => own.flush())
      .catch(() => {});
    expect(failures).toHaveLength(1);
    await own.close();
    const again = await open(join(directory, 'c'), log);
    expect(again.highest()).toBe(100);
    await again.close();
  });
});
