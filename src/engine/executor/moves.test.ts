import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SegmentMethods } from '../../model/task.js';
import { shardDef, TestInstance, temporaryDirectory } from './test-instance.js';

let directories: ReturnType<typeof temporaryDirectory>[];
let source: TestInstance;
let target: TestInstance;

beforeEach(async () => {
  directories = [temporaryDirectory(), temporaryDirectory()];
  source = await new TestInstance(directories[0]!.path, 2, 0).open();
  target = await new TestInstance(directories[1]!.path, 3, 1).open();
  await source.role('p');
  await target.role('p');
});

afterEach(async () => {
  for (const one of [source, target]) {
    await one.close('immediate');
    expect(one.fatal).toEqual([]);
  }
  for (const directory of directories) directory.remove();
});

type Shapes = SegmentMethods['moveCopy']['out'];
const MOVE = { move: 'm1', setKey: 'c2_0' };

/** What the mover does: parts of the source's snapshot to the target, and its shapes behind them. */
async function copySet(): Promise<Shapes> {
  const from = source.engine.local.open<Shapes>('moveCopy', { stamp: source.stamp, ...MOVE });
  from.end();
  const to = target.engine.local.open('moveLoad', { stamp: target.stamp, ...MOVE, source: 0 });
  for await (const part of from.parts) await to.push(part);
  const shapes = await from.result;
  await to.push(shapes);
  to.end();
  await to.result;
  return shapes;
}

/** One round of catching up; the source's position that the target has reached. */
async function catchUp(from: number): Promise<number> {
  const tail = source.engine.local.open<{ upTo: number }>('moveTail', { stamp: source.stamp, ...MOVE, from });
  tail.end();
  const txns: unknown[] = [];
  const files: unknown[] = [];
  for await (const part of tail.parts) (Object.hasOwn(part as object, 'txn') ? txns : files).push(part);
  const { upTo } = await tail.result;
  const apply = target.engine.local.open<{ src: number }>('moveApply', {
    stamp: target.stamp,
    ...MOVE,
    source: 0,
    txns,
    upTo,
    files: files.length > 0,
  });
  for (const file of files) await apply.push(file);
  apply.end();
  return (await apply.result).src;
}

async function insert(id: number): Promise<void> {
  const gid = source.gid();
  await source.insert(gid, 10, [[id, 'a', id]]);
  await source.insert(gid, 11, [[id, 'b', id]]);
  if (id % 2 === 0) {
    await source.commit1(gid);
  } else {
    await source.prepare(gid);
    await source.call('commit2', { gid });
  }
}

describe('moving a set', () => {
  it('carries a heap and a columnar shard over while a writer goes on, and loses and doubles nothing', async () => {
    await source.create(
      shardDef(10, 'heap', 'c2_0'),
      shardDef(11, 'columnar', 'c2_0'),
      shardDef(12, 'heap', 'c2_1', { tableId: 2 }),
    );
    for (let id = 0; id < 20; id++) await insert(id);
    let writing = true;
    let next = 20;
    const writer = (async () => {
      while (writing) await insert(next++);
    })();
    const { lsn } = await copySet();
    expect(await target.call('moveState', MOVE)).toEqual({ src: lsn });
    let at = lsn;
    for (let round = 0; round < 3; round++) at = await catchUp(at);
    writing = false;
    await writer;
    // Another set's change is not the move's, but the position goes on.
    const other = source.gid();
    await source.insert(other, 12, [[1, 'x', 1]]);
    await source.commit1(other);
    at = await catchUp(at);
    expect(await target.call('moveState', MOVE)).toEqual({ src: at });
    // Again: repeats are ignored.
    expect(await catchUp(lsn)).toBe(at);
    const ids = Array.from({ length: next }, (_, i) => String(i));
    expect((await target.rows(10)).map(([id]) => id)).toEqual(ids);
    expect((await target.rows(11, 'duckdb')).map(([id]) => id)).toEqual(ids);
    expect(await sums(target)).toEqual(await sums(source));
    await source.call('moveEnd', { move: 'm1' });
    await source.call('dropSet', { setKey: 'c2_0' });
    expect((await source.call<{ sets: string[] }>('hello', { dbid: 2 })).sets).not.toContain('c2_0');
    // The target goes on giving rids where the source stopped.
    const gid = target.gid();
    await target.insert(gid, 10, [[-1, 'new', 1]]);
    await target.insert(gid, 11, [[-1, 'new', 1]]);
    await target.commit1(gid);
    expect(await target.rows(10)).toHaveLength(next + 1);
    expect(await target.rows(11, 'duckdb')).toHaveLength(next + 1);
    await target.close();
    target = await new TestInstance(directories[1]!.path, 3, 1).open();
    await target.role('p');
    expect(await target.rows(10)).toHaveLength(next + 1);
    expect(await target.rows(11, 'duckdb')).toHaveLength(next + 1);
    expect(await target.call('moveState', MOVE)).toEqual({ src: at });
  });

  it('carries deletes, updates and bulk over', async () => {
    await source.create(shardDef(10, 'heap', 'c2_0'), shardDef(11, 'columnar', 'c2_0'));
    await insert(0);
    const { lsn } = await copySet();
    const gid = source.gid();
    const bulk = Array.from({ length: 20_000 }, (_, i) => [i + 1, `text of row ${i} ${'y'.repeat(50)}`, i]);
    await source.insert(gid, 10, bulk);
    await source.insert(gid, 11, bulk);
    await source.commit1(gid);
    const change = source.gid();
    const target0 = { alias: 't0', tableId: 1, columns: [1, 2, 3] };
    for (const [shard, engine] of [
      [10, 'sqlite'],
      [11, 'duckdb'],
    ] as const) {
      for (const op of ['update', 'delete'] as const) {
        await source.call('write', {
          op: 'modify',
          gid: change,
          fragment: {
            op,
            engine,
            target: target0,
            assignments: op === 'update' ? [{ attnum: 2, sql: `'changed'` }] : [],
            where: op === 'update' ? 'c1 < 100' : 'c1 % 2 = 0',
            params: [],
            returning: null,
            notNull: [],
            tableName: 't',
          },
          shards: [shard],
          params: [],
          returning: null,
        });
      }
    }
    await source.commit1(change);
    await catchUp(lsn);
    expect(await target.rows(10)).toEqual(await source.rows(10));
    expect(await target.rows(11, 'duckdb')).toEqual(await source.rows(11, 'duckdb'));
    expect(await sums(target)).toEqual(await sums(source));
  });
});

async function sums(one: TestInstance): Promise<unknown> {
  const { shards } = await one.call<{ shards: { shardId: number }[] }>('checksums', { barrier: null });
  return shards.filter(({ shardId }) => shardId < 12).sort((a, b) => a.shardId - b.shardId);
}
