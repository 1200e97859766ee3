/** Prepared selects by key, which take a way of their own: they must see what every other select sees, and wait where it waits. */
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../helpers/cluster.js';

let cluster: TestCluster;
let client: pg.Client;
let other: pg.Client;

beforeAll(async () => {
  cluster = await TestCluster.start({ segments: 2 });
  client = await cluster.client();
  other = await cluster.client();
  await client.query('create table t(a bigint, b text, n numeric(10, 2), at timestamptz) distributed by (a)');
  await client.query(
    "insert into t select g, 'row ' || g, g / 4.0, timestamptz '2024-01-01 00:00:00+00' + g * interval '1 hour' from generate_series(1, 500) g",
  );
  await client.query("insert into t select 1000, 'many ' || g, null, null from generate_series(1, 1500) g");
  await client.query('create table l(a int primary key, b text)');
  await client.query("insert into l values (1, 'local')");
  await client.query("select create_reference_table('l')").catch(() => undefined);
});

afterAll(async () => {
  await client?.end();
  await other?.end();
  await cluster?.stop();
});

const byKey = (on: pg.Client, a: string | null, text = 'select b, n, at from t where a = $1') =>
  on.query({ name: text, text, values: [a], rowMode: 'array' }).then(({ rows }) => rows as unknown[][]);

const errorCode = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: pg.DatabaseError) => error.code,
  );

describe('a prepared select by key', () => {
  it('finds each row, none for another key or NULL, and many', async () => {
    const found: unknown[][][] = [];
    for (let a = 1; a <= 500; a++) found.push(await byKey(client, String(a)));
    expect(found.map((rows) => rows.map((row) => row[0]))).toEqual(found.map((_, i) => [`row ${i + 1}`]));
    expect(await byKey(client, '501')).toEqual([]);
    expect(await byKey(client, null)).toEqual([]);
    for (let i = 0; i < 3; i++) expect((await byKey(client, '1000')).length).toBe(1500);
    expect((await byKey(client, '1', 'select b from l where a = $1')).length).toBe(1);
  });

  it('sees its own changes in a block, and others see them with the commit', async () => {
    await client.query('begin');
    await client.query("update t set b = 'mine' where a = 7");
    expect((await byKey(client, '7'))[0]![0]).toBe('mine');
    expect((await byKey(other, '7'))[0]![0]).toBe('row 7');
    await client.query('commit');
    expect((await byKey(other, '7'))[0]![0]).toBe('mine');
    for (let i = 0; i < 20; i++) {
      await client.query('update t set b = $1 where a = 8', [`at ${i}`]);
      expect((await byKey(other, '8'))[0]![0]).toBe(`at ${i}`);
    }
  });

  it('follows settings of the session', async () => {
    const text = 'select at::text as at, n from t where a = $1';
    expect(await byKey(client, '2', 'select at from t where a = $1')).toEqual([[new Date('2024-01-01T02:00:00Z')]]);
    const plain = await byKey(client, '2', text);
    await client.query("set timezone = 'Asia/Tokyo'");
    const moved = await byKey(client, '2', text);
    await client.query('reset timezone');
    expect([plain[0]![0], moved[0]![0]]).toEqual(['2024-01-01 02:00:00+00', '2024-01-01 11:00:00+09']);
  });

  it('waits for a definition that is being changed, and takes the new one', async () => {
    expect(await byKey(other, '3', 'select * from t where a = $1')).toHaveLength(1);
    await client.query('begin');
    await client.query('truncate t');
    await other.query("set lock_timeout = '200ms'");
    expect(await errorCode(byKey(other, '3'))).toBe('55P03');
    await other.query('reset lock_timeout');
    const waiting = byKey(other, '3');
    await client.query('commit');
    expect(await waiting).toEqual([]);
    await client.query("insert into t values (3, 'again')");
    expect((await byKey(other, '3'))[0]![0]).toBe('again');
    await client.query('drop table t');
    expect(await errorCode(byKey(other, '3'))).toBe('42P01');
    await client.query('create table t(a bigint, b int) distributed by (a)');
    await client.query('insert into t values (3, 33)');
    expect(await errorCode(byKey(other, '3', 'select * from t where a = $1'))).toBe('0A000');
    expect(await byKey(other, '3', 'select b from t where a = $1')).toEqual([[33]]);
  });
});
