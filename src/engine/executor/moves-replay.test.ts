/** Many records of a moved set at once: on the target, on its mirror, and when either reads its log again. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { silentLogger } from '../../core/log.js';
import type { SegmentMethods } from '../../model/task.js';
import { listenRpc } from '../../rpc/server.js';
import { socketPath } from '../../rpc/sockets.js';
import type { RpcServer } from '../../rpc/types.js';
import { shardDef, TestInstance, temporaryDirectory } from './test-instance.js';

const MOVE = { move: 'm1', setKey: 'c2_0' };
const TXNS = 120;
let directories: ReturnType<typeof temporaryDirectory>[];
let source: TestInstance;
let target: TestInstance;
let mirror: TestInstance;
let servers: RpcServer[];

const peer = (one: TestInstance) => ({ dbid: one.dbid, address: '127.0.0.1', port: 0, datadir: one.directory });

beforeEach(async () => {
  directories = [temporaryDirectory(), temporaryDirectory(), temporaryDirectory()];
  source = await new TestInstance(directories[0]!.path, 2, 0).open();
  target = await new TestInstance(directories[1]!.path, 3, 1).open();
  mirror = await new TestInstance(directories[2]!.path, 4, 1).open();
  servers = [];
  for (const one of [target, mirror])
    servers.push(await listenRpc(socketPath(one.directory), one.engine.methods, { logger: silentLogger() }));
  await source.role('p');
  await mirror.role('m', 'IN_SYNC', peer(target));
  await target.role('p', 'IN_SYNC', peer(mirror));
});

afterEach(async () => {
  for (const server of servers) await server.close();
  for (const one of [source, target, mirror]) {
    await one.close('immediate');
    expect(one.fatal).toEqual([]);
  }
  for (const directory of directories) directory.remove();
});

async function write(from: number, to: number): Promise<void> {
  for (let id = from; id < to; id++) {
    const gid = source.gid();
    // Heap alone, columnar alone, and both: the stores take different ways.
    if (id % 3 !== 1) await source.insert(gid, 10, [[id, 'a', id]]);
    if (id % 3 !== 2) await source.insert(gid, 11, [[id, 'b', id]]);
    await source.commit1(gid);
  }
}

async function copySet(): Promise<number> {
  const from = source.engine.local.open<SegmentMethods['moveCopy']['out']>('moveCopy', { stamp: source.stamp, ...MOVE });
  from.end();
  const into = target.engine.local.open('moveLoad', { stamp: target.stamp, ...MOVE, source: 0 });
  for await (const part of from.parts) await into.push(part);
  const shapes = await from.result;
  await into.push(shapes);
  into.end();
  await into.result;
  return shapes.lsn;
}

async function sums(one: TestInstance): Promise<unknown> {
  const { shards } = await one.call<{ shards: { shardId: number }[] }>('checksums', { barrier: null });
  return shards.sort((a, b) => a.shardId - b.shardId);
}

it('takes a batch of records of heap and columnar shards, repeats included, and replays it on both members', async () => {
  await source.create(shardDef(10, 'heap', 'c2_0'), shardDef(11, 'columnar', 'c2_0'));
  await write(0, 5);
  const lsn = await copySet();
  await write(5, TXNS);
  const tail = source.engine.local.open<{ upTo: number }>('moveTail', { stamp: source.stamp, ...MOVE, from: lsn });
  tail.end();
  const txns: unknown[] = [];
  for await (const part of tail.parts) txns.push(part);
  expect(txns).toHaveLength(TXNS - 5);
  const { upTo } = await tail.result;
  // The second call comes while the first one is at work.
  const apply = () => target.call<{ src: number }>('moveApply', { ...MOVE, source: 0, txns, upTo });
  expect(await Promise.all([apply(), apply()])).toEqual([{ src: upTo }, { src: upTo }]);
  const expected = await sums(source);
  expect(await sums(target)).toEqual(expected);

  await target.close('immediate');
  target = await new TestInstance(directories[1]!.path, 3, 1).open();
  await target.role('p');
  expect(await sums(target)).toEqual(expected);

  mirror.timeline = 2;
  await mirror.role('p');
  expect(await sums(mirror)).toEqual(expected);
  expect(await mirror.call('moveState', MOVE)).toEqual({ src: upTo });
});
