/** The life of a cluster: stop, kill, start, a lost directory, an interrupted beginning, its end. */
import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DemoCluster, damson, freePorts, startDamson } from '../helpers/damson.js';

// Many daemons start here, on machines that may have other work.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let cluster: DemoCluster;

const INSTANCES = ['coordinator', 'primary0', 'primary1', 'mirror0', 'mirror1'];
const COUNTS = `select (select count(*) from heap_t) h, (select sum(b) from heap_t) hs, (select count(*) from col_t) c,
  (select sum(b) from col_t) cs, (select count(*) from ref_t) r, (select count(*) from local_t) l`;
const ROWS = { h: '500', hs: '125251', c: '1000', cs: '500500', r: '50', l: '20' };

beforeAll(async () => {
  cluster = await DemoCluster.start();
  const made = await cluster.run(
    'sql',
    ...[
      'create table heap_t(a int primary key, b int) distributed by (a)',
      'create table col_t(a int, b int) using columnar distributed by (a)',
      'create table ref_t(a int primary key) distributed replicated',
      'create table local_t(a serial, b text)',
      'insert into heap_t select g, g from generate_series(1, 501) g',
      'insert into col_t select g, 0 from generate_series(1, 1000) g',
      'insert into ref_t select g from generate_series(1, 50) g',
      "insert into local_t(b) select 'x' from generate_series(1, 20)",
      'update col_t set b = a',
      'delete from heap_t where a = 500',
      // Decided over several segments right before the daemons are killed.
      'begin; update heap_t set b = b; update col_t set b = b; commit',
    ].flatMap((sql) => ['-c', sql]),
  );
  if (made.code !== 0) throw new Error(made.stderr);
});

afterAll(() => cluster?.remove());

async function expectAllRows(): Promise<void> {
  expect(await cluster.rows(COUNTS)).toEqual([ROWS]);
}

describe('stop and start', () => {
  it('a smart stop waits for sessions, a fast one ends them; start brings all back and says what runs already', async () => {
    const client = new pg.Client({ host: '127.0.0.1', port: cluster.port, user: 'postgres', database: 'postgres' });
    client.on('error', () => undefined);
    await client.connect();
    const smart = startDamson(['stop', '-M', 'smart', '-d', cluster.directory]);
    await untilClosed(cluster.port);
    expect((await client.query('select count(*)::int as n from local_t')).rows).toEqual([{ n: 20 }]);
    const ended = new Promise<number | null>((resolve) => smart.once('exit', resolve));
    smart.kill('SIGINT');
    expect(await ended).toBe(130);
    expect((await cluster.run('stop', '-M', 'fast')).code).toBe(0);
    expect(INSTANCES.some((folder) => existsSync(join(cluster.directory, folder, 'damsond.pid')))).toBe(false);
    expect((await cluster.run('stop')).code).toBe(0);
    const started = await cluster.run('start');
    expect([started.code, started.stdout]).toEqual([0, '5 instances started, 0 ran already\n']);
    await expectAllRows();
    const again = await cluster.run('start');
    expect([again.code, again.stdout]).toEqual([0, 'The cluster runs already: 5 instances\n']);
  });

  it('brings all back after kill -9 of every daemon, mirrors in sync and equal, sequences ahead', async () => {
    for (const folder of INSTANCES) process.kill(cluster.pid(folder), 'SIGKILL');
    const { code, stderr } = await cluster.run('start');
    expect([code, stderr.includes('Error')]).toEqual([0, false]);
    await expectAllRows();
    const [next] = await cluster.rows("insert into local_t(b) values ('y') returning a");
    expect(Number(next?.a)).toBeGreaterThan(20);
    await cluster.rows("delete from local_t where b = 'y'");
    const state = JSON.parse((await cluster.run('state', '--json')).stdout) as { pairs: { content: number; state: string }[] };
    expect(state.pairs.filter(({ content }) => content >= 0).map((pair) => pair.state)).toEqual(['IN_SYNC', 'IN_SYNC']);
    expect((await cluster.run('check', 'replicas')).code).toBe(0);
    expect((await cluster.run('state', '-e')).code).toBe(0);
  });
});

describe('roles', () => {
  it('a switch there and back ends with pairs in sync: state -e is clean right after it', async () => {
    expect((await cluster.run('failover', '0')).code).toBe(0);
    expect((await cluster.run('state', '-e')).code).toBe(1);
    const back = await cluster.run('recover', '-a', '--rebalance');
    expect([back.code, back.stdout]).toEqual([0, 'Roles switched for segments 0\n']);
    expect(await cluster.run('state', '-e')).toMatchObject({ code: 0, stdout: 'All segments are running normally\n' });
    await expectAllRows();
  });
});

describe('a lost directory', () => {
  it('the others start and serve; a full recovery makes it anew', async () => {
    // Short patience of the fault tolerance service, so that the mirror takes over soon.
    writeFileSync(join(cluster.directory, 'coordinator', 'settings.json'), JSON.stringify({ 'damson.fts_start_grace': '1' }));
    expect((await cluster.run('stop', '-u')).stdout).toBe('Reloaded: damson.fts_start_grace\n');
    expect((await cluster.run('stop')).code).toBe(0);
    renameSync(join(cluster.directory, 'primary1'), join(cluster.home, 'lost'));
    const started = await cluster.run('start');
    expect(started.code).toBe(1);
    expect(started.stdout).toMatch(/4 instances started/);
    expect(started.stderr).toMatch(/Warning: .*primary1 holds no instance/);
    await expectAllRows();
    const refused = await cluster.run('recover', '-a');
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/holds no instance[\s\S]*Hint: .*damson recover -F/),
    ]);
    expect((await cluster.run('recover', '-a', '-F')).code).toBe(0);
    expect((await cluster.run('recover', '-a', '-r')).code).toBe(0);
    expect((await cluster.run('state', '-e')).code).toBe(0);
    expect((await cluster.run('check', 'replicas')).code).toBe(0);
    await expectAllRows();
  });
});

describe('logs', () => {
  it('each command appends to a file of its own for each day', async () => {
    const names = readdirSync(join(cluster.directory, 'coordinator', 'log')).map((name) =>
      name.replace(/_\d{8}\.log$/, '_DAY.log'),
    );
    expect(names).toEqual(expect.arrayContaining(['demo_DAY.log', 'start_DAY.log', 'stop_DAY.log', 'recover_DAY.log']));
  });
});

describe('demo and delete', () => {
  it('a demo that was killed is taken back by the next one; delete leaves no trace', async () => {
    const directory = join(cluster.home, 'second');
    const args = [
      'demo',
      '--directory',
      directory,
      '--base-port',
      String(await freePorts(6)),
      '--primaries',
      '1',
      '--no-mirrors',
    ];
    const killed = startDamson(args);
    await until(() => existsSync(join(directory, 'primary0', 'startup.pid')));
    killed.kill('SIGKILL');
    const again = await damson(args);
    expect(again.stderr).toMatch(/Roll back a run that was interrupted/);
    expect(again.code).toBe(0);
    expect((await damson(['sql', '-d', directory, '-c', 'select 1'])).code).toBe(0);
    expect((await damson(['delete', '-a', '-d', directory])).code).toBe(0);
    expect(existsSync(directory)).toBe(false);
    expect((await damson(['state', '-d', directory])).code).toBe(2);
  });
});

/** The port takes no new connection. */
function untilClosed(port: number): Promise<void> {
  return until(
    () =>
      new Promise((resolve) => {
        const socket = createConnection({ port, host: '127.0.0.1' });
        socket.once('connect', () => {
          socket.destroy();
          resolve(false);
        });
        socket.once('error', () => resolve(true));
      }),
  );
}

async function until(test: () => boolean | Promise<boolean>): Promise<void> {
  for (let n = 0; !(await test()); n++) {
    if (n > 3000) throw new Error('waited too long');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
