import { connect } from 'node:net';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../helpers/cluster.js';

let cluster: TestCluster;
let client: pg.Client;

beforeAll(async () => {
  cluster = await TestCluster.start({ segments: 2 });
  client = await cluster.client();
  await client.query('create schema s');
  await client.query('create table s.h(a int primary key, b text, c serial, d timestamptz default now()) distributed by (a)');
  await client.query("set default_table_access_method = 'columnar'");
  await client.query('create table k(a int, b text) distributed by (a)');
  await client.query("set default_table_access_method = 'heap'");
  await client.query("insert into s.h(a, b) select g, 'x' from generate_series(1, 1000) g");
  await client.query("insert into k select g, 'x' from generate_series(1, 1000) g");
});

afterAll(async () => {
  await client?.end();
  await cluster?.stop();
});

const errorCode = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: pg.DatabaseError) => error.code,
  );

/** A cancel request, as libpq sends it: on a connection of its own. */
function cancel(target: pg.Client): void {
  const { processID, secretKey } = target as unknown as { processID: number; secretKey: number };
  const bytes = Buffer.alloc(16);
  [16, 80877102, processID, secretKey].forEach((value, i) => {
    bytes.writeInt32BE(value, 4 * i);
  });
  const socket = connect(cluster.coordinator.port, '127.0.0.1', () => socket.end(bytes));
}

describe('a statement that runs', () => {
  it('ends by a cancel request, and the session goes on', async () => {
    const running = errorCode(client.query('select count(*) from generate_series(1, 200000000) g, k'));
    setTimeout(() => cancel(client), 300);
    expect(await running).toBe('57014');
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });

  it('waits for a lock no longer than lock_timeout', async () => {
    const other = await cluster.client();
    await other.query('begin');
    await other.query("update s.h set b = 'other' where a = 7");
    await client.query("set lock_timeout = '100ms'");
    expect(await errorCode(client.query("update s.h set b = 'mine' where a = 7"))).toBe('55P03');
    await client.query('reset lock_timeout');
    await other.query('rollback');
    expect((await client.query("update s.h set b = 'mine' where a = 7")).rowCount).toBe(1);
    await other.end();
  });

  it('lets its locks go when the client does', async () => {
    const other = await cluster.client();
    await other.query('begin');
    await other.query("update s.h set b = 'gone' where a = 5");
    (other as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    expect((await client.query("update s.h set b = 'here' where a = 5")).rowCount).toBe(1);
    expect((await client.query('select b from s.h where a = 5')).rows).toEqual([{ b: 'here' }]);
  });

  it('gives rows in portions', async () => {
    await client.query('begin');
    const result = await client.query({ text: 'select a from s.h order by a', rows: 64 } as pg.QueryConfig);
    await client.query('commit');
    expect(result.rows.map((row) => row.a)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
  });

  it('is explained with what ran where', async () => {
    const lines = (await client.query('explain (analyze, verbose) select b, count(*) from s.h group by b')).rows.map(
      (row) => row['QUERY PLAN'],
    );
    expect(lines[0]).toBe('Damson plan: pushdown');
    expect(lines.filter((line) => /on segment [01]: shards=16 rows=\d+ bytes=\d+ time=/.test(line))).toHaveLength(2);
    const [row] = (await client.query('explain (format json) select b from s.h where a = 1')).rows;
    expect(JSON.stringify(row['QUERY PLAN'])).toMatch(/"Tier":"router"/);
  });

  it('tells a client whose prepared columns have changed', async () => {
    await client.query('create table shape(a int) distributed by (a)');
    await client.query({ name: 'shape', text: 'select * from shape' });
    await client.query('drop table shape');
    await client.query('create table shape(a int, b int) distributed by (a)');
    expect(await errorCode(client.query({ name: 'shape', text: 'select * from shape' }))).toBe('0A000');
  });
});

describe('a restart', () => {
  it('of the coordinator keeps definitions, rows and sequences', async () => {
    const [{ max }] = (await client.query('select max(c) from s.h')).rows;
    await client.end();
    await cluster.kill(cluster.coordinator.dbid);
    await cluster.startDaemon(cluster.coordinator.dbid);
    client = await cluster.client();
    expect((await client.query('select count(*)::int as n from k')).rows).toEqual([{ n: 1000 }]);
    expect(
      (await client.query("select amname from pg_class c join pg_am a on a.oid = c.relam where relname in ('k', 'h') order by 1"))
        .rows,
    ).toEqual([{ amname: 'columnar' }, { amname: 'heap' }]);
    const [{ c }] = (await client.query("insert into s.h(a, b) values (5000, 'new') returning c")).rows;
    expect(c).toBeGreaterThan(max);
  });

  it('of a segment stops its rows alone, and they come back', async () => {
    const segment = cluster.instances.find((instance) => instance.content === 1)!.dbid;
    await cluster.kill(segment);
    expect(['57P03', '40001']).toContain(await errorCode(client.query('select count(*) from k')));
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await cluster.startDaemon(segment);
    const until = Date.now() + 20_000;
    while ((await errorCode(client.query('select count(*) from k'))) !== 'none' && Date.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await client.query('select count(*)::int as n from k')).rows).toEqual([{ n: 1000 }]);
    expect((await client.query("update s.h set b = 'all'")).rowCount).toBe(1001);
  });
});
