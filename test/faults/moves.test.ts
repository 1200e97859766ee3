/** Redistribution that is stopped, killed and hindered at any moment (protocols, section 9): one owner for each set, each row once. */
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ExpansionReport } from '../../src/model/admin.js';
import { connectRpc } from '../../src/rpc/client.js';
import { socketPath } from '../../src/rpc/sockets.js';
import { FaultCluster, seeded, seedOf, sleep } from './fault-cluster.js';
import { Workload } from './workload.js';

const random = seeded(seedOf('moves'));
/** Rows of each of the two large tables: with RATE a copy takes long enough to be met in it. */
const ROWS = 24_000;
const RATE = 800_000;
let cluster: FaultCluster;
let client: pg.Client;
let work: Workload;
let known: unknown;

beforeAll(async () => {
  cluster = await FaultCluster.start({ settings: { 'damson.shard_count': '6' } });
  await Workload.prepare(cluster);
  client = await cluster.client();
  await client.query('CREATE TABLE big (id bigint PRIMARY KEY, filler text) DISTRIBUTED BY (id)');
  await client.query('CREATE TABLE wide (id bigint, filler text) USING columnar DISTRIBUTED BY (id)');
  for (const table of ['big', 'wide']) {
    await client.query(`INSERT INTO ${table} SELECT g, repeat(md5(g::text), 5) FROM generate_series(1, ${ROWS}) g`);
  }
  known = await facts();
}, 120_000);

afterAll(async () => {
  await client?.end().catch(() => undefined);
  await cluster?.stop();
});

beforeEach(async () => {
  work = new Workload(cluster, work);
  work.start(1, 2, random);
});

afterEach(async () => {
  await work.stop();
  console.log(work.summary());
});

async function facts(): Promise<unknown> {
  const of = (table: string) => `(SELECT count(*) FROM ${table}) AS ${table}, (SELECT sum(id) FROM ${table}) AS ${table}_ids`;
  return (await client.query(`SELECT ${of('big')}, ${of('wide')}`)).rows[0];
}

async function reconnect(): Promise<void> {
  await Promise.race([client.end().catch(() => undefined), sleep(500)]);
  client = await cluster.client();
}

/** A statement that is tried again after a deadlock with the clients of the workload. */
async function run(sql: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await client.query(sql);
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== '40P01' || tries > 20) throw error;
    }
  }
}

const begin = (options: { rate?: number; parallel?: number; durationMs?: number } = {}) =>
  cluster.begin('admin.expandRun', options);

function told(report: ExpansionReport): string {
  return report.tables
    .map((table) => `${table.name} ${table.status} ${table.movesDone}/${table.moves} ${table.error ?? ''}`)
    .join('; ');
}

/** Every set is held by its owner's pair and nobody else: as many shards as there are placements. */
async function ownersAreRight(): Promise<void> {
  const placed = Number(
    (await client.query('SELECT count(*) AS n FROM pg_dist_placement p JOIN pg_dist_shard USING (shardid) WHERE p.groupid > 0'))
      .rows[0]?.n,
  );
  const check = await (await cluster.begin('admin.checkReplicas', {})).result;
  expect(check.differences).toEqual([]);
  expect(check.skipped).toEqual([]);
  expect(check.shards).toBe(placed);
}

async function allIsWell(): Promise<void> {
  await work.stop();
  await cluster.settled();
  expect(await facts()).toEqual(known);
  expect(await work.problems()).toEqual([]);
  await work.locksAreGone();
}

describe('an expansion', () => {
  it('is rolled back before anything has switched, also when a move had begun', async () => {
    const made = await cluster.newSegments(1);
    await (await cluster.begin('admin.expandAdd', { instances: made })).result;
    const short = await begin({ rate: 20_000, durationMs: 300 });
    expect((await short.result).reason).toBe('time');
    const run = await begin({ rate: 20_000 });
    await cluster.eventually('a move has begun', async () => run.messages.length > 0);
    const again = await begin().then((second) => second.result.catch((error: Error) => error.message));
    expect(again).toContain('another operation is running');
    await sleep(300);
    await cluster.admin('admin.expandStop', {});
    expect((await run.result).reason).toBe('stopped');
    const { removed } = await cluster.admin('admin.expandRollback', {});
    expect(removed.map(({ dbid }) => dbid).sort()).toEqual(made.map(({ dbid }) => dbid).sort());
    await cluster.forget(made);
    expect((await cluster.status()).expansion.expansion).toBeNull();
    await allIsWell();
    await ownersAreRight();
  }, 60_000);

  it('goes on after the coordinator, sources, targets and mirrors were killed in its moves', async () => {
    await (await cluster.begin('admin.expandAdd', { instances: await cluster.newSegments(1) })).result;
    for (const victim of ['coordinator', 'target', 'source', 'targetMirror', 'sourceMirror'] as const) {
      const run = await begin({ rate: RATE, parallel: random() < 0.5 ? 2 : 1 });
      let done = false;
      run.result.then(
        () => {
          done = true;
        },
        () => undefined,
      );
      await cluster.eventually('a move has begun', async () => done || run.messages.length > 0);
      // All is moved: there is nothing left to kill it in.
      if (done) break;
      await sleep(random() * 700);
      const content = victim.startsWith('target') ? 2 : Math.floor(random() * 2);
      if (victim === 'coordinator') {
        await cluster.restartCoordinator();
        await expect(run.result).rejects.toThrow();
        await reconnect();
      } else {
        await cluster.kill(await cluster.member(content, victim.endsWith('Mirror') ? 'm' : 'p'));
        await work.goesOn();
        await cluster.admin('admin.expandStop', {});
        expect((await run.result).reason).toMatch(/stopped|done/);
      }
      await cluster.recoverAll();
      expect(await facts()).toEqual(known);
    }
    const { reason, report } = await (await begin({ parallel: 2 })).result;
    expect(reason, told(report)).toBe('done');
    await cluster.admin('admin.expandFinish', {});
    await allIsWell();
    await ownersAreRight();
  }, 120_000);

  it('moves on around an open transaction', async () => {
    await (await cluster.begin('admin.expandAdd', { instances: await cluster.newSegments(1) })).result;
    const holder = await cluster.client();
    await holder.query('BEGIN');
    await holder.query('UPDATE big SET filler = filler WHERE id <= 100');
    const going = await begin({ parallel: 16 });
    // The sets that it has written are copied, and wait; those of the other group switch.
    const statusOf = async (table: string) =>
      (await cluster.status()).expansion.tables.find(({ name }) => name === table)?.status;
    await cluster.eventually('others have moved', async () => (await statusOf('accounts')) === 'COMPLETED');
    expect(await statusOf('big')).toBe('IN PROGRESS');
    await holder.query('COMMIT');
    await holder.end();
    const { reason, report } = await going.result;
    expect(reason, told(report)).toBe('done');
    await cluster.admin('admin.expandFinish', {});
    await allIsWell();
    await ownersAreRight();
  }, 60_000);

  it('takes DDL in its stride, and leaves out a table that is dropped', async () => {
    await run('CREATE TABLE gone (id text, note text) DISTRIBUTED BY (id)');
    await run("INSERT INTO gone SELECT g::text, 'x' FROM generate_series(1, 500) g");
    await run('CREATE TABLE emptied (id bigint PRIMARY KEY, filler text) DISTRIBUTED BY (id)');
    await run("INSERT INTO emptied SELECT g, repeat('e', 100) FROM generate_series(1, 2000) g");
    await (await cluster.begin('admin.expandAdd', { instances: await cluster.newSegments(1) })).result;
    const going = await begin({ rate: RATE, parallel: 2 });
    await cluster.eventually('a move has begun', async () => going.messages.length > 0);
    await run('DROP TABLE gone');
    await run('TRUNCATE emptied');
    await run("INSERT INTO emptied SELECT g, 'after' FROM generate_series(1, 10) g");
    await run('CREATE INDEX emptied_filler ON emptied (filler)');
    await run('CREATE TABLE later (id bigint PRIMARY KEY, filler text) DISTRIBUTED BY (id)');
    await run("INSERT INTO later SELECT g, 'later' FROM generate_series(1, 10) g");
    await work.goesOn();
    const { reason, report } = await going.result;
    expect(reason, told(report)).toBe('done');
    expect(report.tables.filter(({ status }) => status === 'NO LONGER EXISTS')).toHaveLength(1);
    for (const table of ['emptied', 'later']) {
      const { rows } = await client.query(`SELECT count(*) AS n, count(DISTINCT filler) AS d FROM ${table}`);
      expect(rows).toEqual([{ n: '10', d: '1' }]);
    }
    await cluster.admin('admin.expandFinish', {});
    await allIsWell();
    await ownersAreRight();
  }, 60_000);
});

describe('a set that belongs to nobody', () => {
  it('is dropped when its segment says hello', async () => {
    const content = 0;
    const dbid = await cluster.member(content, 'p');
    const { coordinator, pairs } = await cluster.status();
    const { timeline, incarnation } = coordinator;
    const stamp = { timeline, incarnation, contentTimeline: pairs.find((pair) => pair.content === content)!.timeline };
    const { datadir } = cluster.cluster.instances.find((one) => one.dbid === dbid)!;
    const rpc = await connectRpc(socketPath(datadir), { timeoutMs: 5000, name: 'test' });
    const shard = { shardId: 900_001, tableId: 900, setKey: 'c900_0', relation: 'lost_900001', accessMethod: 'heap' };
    const columns = [{ attnum: 1, name: 'a', typeOid: 20, typmod: -1, notNull: false }];
    const ddl = [{ op: 'createShard', shard: { ...shard, columns, uniques: [], indexes: [] } }];
    await rpc.call('write', { stamp, gid: 'test.lost.1', op: 'ddl', ddl });
    await rpc.call('commit1', { stamp, gid: 'test.lost.1', locks: [] });
    const sets = async () => (await rpc.call<{ sets: string[] }>('hello', { stamp, dbid })).sets;
    expect(await sets()).toContain('c900_0');
    rpc.close();
    await cluster.kill(dbid);
    await work.goesOn();
    await cluster.recoverAll();
    await allIsWell();
    await cluster.eventually('it is swept', () =>
      ownersAreRight().then(
        () => true,
        () => false,
      ),
    );
  }, 60_000);
});
