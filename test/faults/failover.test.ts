/** Daemons killed with -9 or stopped under clients that know what was acknowledged (protocols, sections 1, 5, 7). */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { connectRpc } from '../../src/rpc/client.js';
import { socketPath } from '../../src/rpc/sockets.js';
import { FaultCluster, seeded, seedOf, sleep } from './fault-cluster.js';
import { Workload } from './workload.js';

const random = seeded(seedOf('failover'));
let cluster: FaultCluster;
let work: Workload;

beforeAll(async () => {
  cluster = await FaultCluster.start();
  await Workload.prepare(cluster);
}, 120_000);

afterAll(async () => {
  await cluster?.stop();
});

beforeEach(() => {
  work = new Workload(cluster, work);
});

afterEach(async () => {
  await work.stop();
  console.log(work.summary());
});

async function allIsWell(): Promise<void> {
  await work.stop();
  await cluster.settled();
  expect(await work.problems()).toEqual([]);
  await work.locksAreGone();
  const check = await (await cluster.begin('admin.checkReplicas', {})).result;
  expect(check.differences).toEqual([]);
  expect(check.compared).toEqual([0, 1]);
}

const someContent = () => Math.floor(random() * 2);

describe('kill -9 under load', () => {
  it('of primaries: 40001 and commits are the truth, the mirror goes on, the old primary comes back as mirror', async () => {
    work.start(2, 2, random);
    for (let round = 0; round < 2; round++) {
      await sleep(200 + random() * 800);
      await cluster.kill(await cluster.member(someContent(), 'p'));
      await work.goesOn();
      await cluster.recoverAll();
    }
    const { skipped } = await (await cluster.begin('admin.rebalanceRoles', {})).result;
    expect(skipped).toEqual([]);
    await cluster.inSync();
    await allIsWell();
  }, 90_000);

  it('of a mirror, then of the coordinator: commits go on alone, two-phase commits are settled', async () => {
    work.start(1, 3, random);
    await sleep(300);
    const content = someContent();
    await cluster.kill(await cluster.member(content, 'm'));
    await work.goesOn();
    expect((await cluster.status()).pairs.find((pair) => pair.content === content)?.state).toBe('ALONE');
    await sleep(random() * 300);
    await cluster.restartCoordinator();
    await work.goesOn();
    await cluster.recoverAll();
    await allIsWell();
  }, 90_000);

  it('of both members of a pair: 57P03 with a hint there, the other segment answers; then of everything', async () => {
    work.start(1, 2, random);
    await sleep(500);
    const content = someContent();
    const members = [await cluster.member(content, 'p'), await cluster.member(content, 'm')];
    await Promise.all(members.map((dbid) => cluster.kill(dbid)));
    const client = await cluster.client();
    const answers = new Set<string>();
    await cluster.eventually('one segment is down and the other answers', async () => {
      answers.clear();
      for (let id = 0; id < 16; id++) {
        const answer = await client.query(`SELECT n FROM counters WHERE writer = ${id}`).then(
          () => 'rows',
          (error: { code: string; hint?: string }) => `${error.code} ${error.hint === undefined ? 'without hint' : 'with hint'}`,
        );
        answers.add(answer);
      }
      return answers.has('rows') && answers.has('57P03 with hint');
    });
    expect([...answers].sort()).toEqual(['57P03 with hint', 'rows']);
    await client.end();
    await cluster.recoverAll();
    await work.goesOn();
    await cluster.killAll();
    await cluster.recoverAll();
    await work.goesOn();
    await allIsWell();
  }, 90_000);
});

describe('instances that stop for a while', () => {
  it('a mirror within the limits changes nothing; a primary beyond them is fenced when it comes back', async () => {
    work.start(1, 2, random);
    const before = (await cluster.status()).pairs;
    const mirror = await cluster.member(0, 'm');
    cluster.signal(mirror, 'SIGSTOP');
    await sleep(1000);
    cluster.signal(mirror, 'SIGCONT');
    await work.goesOn();
    expect((await cluster.status()).pairs).toEqual(before);

    const old = await cluster.member(1, 'p');
    const { coordinator, pairs } = await cluster.status();
    const stamp = {
      timeline: coordinator.timeline,
      incarnation: coordinator.incarnation,
      contentTimeline: pairs.find((pair) => pair.content === 1)!.timeline,
    };
    cluster.signal(old, 'SIGSTOP');
    await cluster.eventually('the mirror is promoted', async () => (await cluster.member(1, 'p')) !== old);
    await work.goesOn();
    cluster.signal(old, 'SIGCONT');
    await sleep(500);
    await expectFenced(old, stamp);
    await work.goesOn();
    await cluster.recoverAll();
    await allIsWell();
  }, 90_000);
});

/** Neither a word of the new time is taken there, nor is a commit of the old one acknowledged. */
async function expectFenced(
  dbid: number,
  stamp: { timeline: number; incarnation: number; contentTimeline: number },
): Promise<void> {
  const { datadir } = cluster.cluster.instances.find((one) => one.dbid === dbid)!;
  const client = await connectRpc(socketPath(datadir), { timeoutMs: 5000, name: 'test' });
  try {
    const newer = { ...stamp, contentTimeline: stamp.contentTimeline + 1 };
    await expect(client.call('sizes', { stamp: newer })).rejects.toMatchObject({ sqlstate: 'DM002' });
    const gid = 'test.fence.1';
    const shard = { shardId: 900_001, tableId: 900, setKey: 'c900_0', relation: 'fence_900001', accessMethod: 'heap' };
    const columns = [{ attnum: 1, name: 'a', typeOid: 20, typmod: -1, notNull: false }];
    const ddl = [{ op: 'createShard', shard: { ...shard, columns, uniques: [], indexes: [] } }];
    const commit = client
      .call('write', { stamp, gid, op: 'ddl', ddl })
      .then(() => client.call('commit1', { stamp, gid, locks: [] }, { timeoutMs: 1500 }));
    await expect(commit).rejects.toThrow();
  } finally {
    client.close();
  }
}

describe('recovery', () => {
  it('makes a mirror anew whose directory was lost, and by -F, while writes go on', async () => {
    work.start(2, 2, random);
    for (const full of [false, true]) {
      const dbid = await cluster.member(full ? 1 : 0, 'm');
      await cluster.kill(dbid);
      await work.goesOn();
      const { datadir } = cluster.cluster.instances.find((one) => one.dbid === dbid)!;
      if (!full)
        for (const name of readdirSync(datadir)) if (name !== 'instance.json') rmSync(join(datadir, name), { recursive: true });
      await cluster.recoverAll(full);
      await work.goesOn();
    }
    await allIsWell();
  }, 90_000);
});
