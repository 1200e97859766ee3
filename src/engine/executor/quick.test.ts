import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Oid } from '../../model/storage.js';
import { type QuickAnswer, QuickRefusal } from '../../model/task.js';
import { decodeRows, fragment, SETTINGS, shardDef, TestInstance, temporaryDirectory } from './test-instance.js';

let directory: ReturnType<typeof temporaryDirectory>;
let one: TestInstance;

const BY_KEY = fragment('sqlite', 'SELECT c1, c2, c3 FROM {{t0}} AS t0 WHERE c1 = ?1', {
  params: [{ n: 1, typeOid: Oid.int8, typmod: -1 }],
});
const ALL = fragment('sqlite', 'SELECT c1, c2, c3 FROM {{t0}} AS t0 ORDER BY c1');

beforeEach(async () => {
  directory = temporaryDirectory();
  one = await new TestInstance(directory.path).open();
  await one.role('p');
  await one.create(shardDef(10, 'heap'), shardDef(11, 'heap'), shardDef(12, 'columnar'));
  const gid = one.gid();
  await one.insert(gid, 10, [
    [1, 'a', 150],
    [2, null, null],
  ]);
  await one.insert(gid, 11, [[1, 'other', 1]]);
  await one.commit1(gid);
});

afterEach(async () => {
  await one.close('immediate');
  expect(one.fatal).toEqual([]);
  directory.remove();
});

const know = (id: number, read = BY_KEY) => one.call('know', { id, fragment: read, formats: [0, 0, 0], session: SETTINGS });

async function quick(id: number, shards: number[], params: (string | null)[] = []): Promise<QuickAnswer> {
  const { timeline, incarnation, contentTimeline } = one.stamp;
  return await one.engine.local.call('quick', [timeline, incarnation, contentTimeline, id, shards, params]);
}

function rows(answer: QuickAnswer): (string | null)[][] {
  if (!Array.isArray(answer)) throw new Error(`refused: ${answer}`);
  const decoded = decodeRows(answer[1]);
  expect(decoded.length).toBe(answer[0]);
  return decoded;
}

describe('known reads', () => {
  it('answers by number, shard and parameters, and sees what was committed since', async () => {
    await know(1);
    expect(rows(await quick(1, [10], ['1']))).toEqual([['1', 'a', '1.50']]);
    expect(rows(await quick(1, [10], ['2']))).toEqual([['2', null, null]]);
    expect(rows(await quick(1, [11], ['1']))).toEqual([['1', 'other', '0.01']]);
    expect(rows(await quick(1, [10], ['3']))).toEqual([]);
    expect(rows(await quick(1, [10], [null]))).toEqual([]);
    const gid = one.gid();
    await one.insert(gid, 10, [[3, 'c', 300]]);
    expect(rows(await quick(1, [10], ['3']))).toEqual([]);
    await one.commit1(gid);
    expect(rows(await quick(1, [10], ['3']))).toEqual([['3', 'c', '3.00']]);
  });

  it('refuses what it does not know, what is too much for a turn, and what lies elsewhere', async () => {
    expect(await quick(7, [10], ['1'])).toBe(QuickRefusal.unknown);
    await know(2, ALL);
    expect(rows(await quick(2, [10])).length).toBe(2);
    const gid = one.gid();
    const many = Array.from({ length: 600 }, (_, i) => [1000 + i, 'x', null]);
    await one.insert(gid, 10, many);
    await one.commit1(gid);
    expect(await quick(2, [10])).toBe(QuickRefusal.large);
    expect(rows(await quick(2, [11])).length).toBe(1);
    await expect(quick(2, [12])).rejects.toMatchObject({ sqlstate: 'DM001' });
    await expect(quick(2, [99])).rejects.toBeDefined();
  });

  it('is fenced like every call', async () => {
    await know(1);
    await expect(one.engine.local.call('quick', [1, 0, 1, 1, [10], ['1']])).rejects.toMatchObject({ sqlstate: 'DM002' });
    await expect(one.engine.local.call('quick', [1, 1, 2, 1, [10], ['1']])).rejects.toMatchObject({ sqlstate: 'DM002' });
  });

  it('follows a shard that was dropped and made again', async () => {
    await know(2, ALL);
    expect(rows(await quick(2, [11]))).toEqual([['1', 'other', '0.01']]);
    const gid = one.gid();
    await one.call('write', { op: 'ddl', gid, ddl: [{ op: 'dropShard', shardId: 11 }] });
    await one.commit1(gid);
    await expect(quick(2, [11])).rejects.toBeDefined();
    await one.create(shardDef(11, 'heap'));
    expect(rows(await quick(2, [11]))).toEqual([]);
  });
});
