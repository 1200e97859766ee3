/** Clusters and statements of unusual shape: few and many shards, wide and long rows, hostile names, many clients. */
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../helpers/cluster.js';

async function rows(client: pg.Client, sql: string, values?: unknown[]): Promise<unknown[][]> {
  return (await client.query({ text: sql, rowMode: 'array', ...(values === undefined ? {} : { values }) })).rows;
}

describe('one segment with one shard', () => {
  let cluster: TestCluster;
  let client: pg.Client;
  beforeAll(async () => {
    cluster = await TestCluster.start({ segments: 1, settings: { 'damson.shard_count': '1' } });
    client = await cluster.client();
  });
  afterAll(async () => {
    await client?.end();
    await cluster?.stop();
  });

  for (const method of ['heap', 'columnar']) {
    it(`writes and reads a ${method} table`, async () => {
      const table = `one_${method}`;
      await client.query(`CREATE TABLE ${table} (id int, v text) USING ${method} DISTRIBUTED BY (id)`);
      await client.query(`INSERT INTO ${table} SELECT i, 'v' || i FROM generate_series(1, 1000) i`);
      await client.query(`UPDATE ${table} SET v = 'new' WHERE id <= 10`);
      await client.query(`DELETE FROM ${table} WHERE id > 900`);
      expect(await rows(client, `SELECT count(*), count(*) FILTER (WHERE v = 'new') FROM ${table}`)).toEqual([['900', '10']]);
      expect(await rows(client, `SELECT a.v FROM ${table} a JOIN ${table} b USING (id) WHERE b.id = 11`)).toEqual([['v11']]);
      expect(await rows(client, 'SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = $1::regclass', [table])).toEqual([
        ['1'],
      ]);
    });
  }
});

describe('four segments with 256 shards', () => {
  let cluster: TestCluster;
  let client: pg.Client;
  beforeAll(async () => {
    cluster = await TestCluster.start({ segments: 4, settings: { 'damson.shard_count': '256' } });
    client = await cluster.client();
  });
  afterAll(async () => {
    await client?.end();
    await cluster?.stop();
  });

  for (const method of ['heap', 'columnar']) {
    it(`writes and reads a ${method} table`, async () => {
      const table = `many_${method}`;
      await client.query(`CREATE TABLE ${table} (id int, v text) USING ${method} DISTRIBUTED BY (id)`);
      await client.query(`INSERT INTO ${table} SELECT i, 'v' || i FROM generate_series(1, 3000) i`);
      expect(await rows(client, `SELECT count(*), sum(id) FROM ${table}`)).toEqual([['3000', '4501500']]);
      expect(await rows(client, `SELECT v FROM ${table} WHERE id = 77`)).toEqual([['v77']]);
      await client.query(`UPDATE ${table} SET v = 'all'`);
      expect(await rows(client, `SELECT v, count(*) FROM ${table} GROUP BY v`)).toEqual([['all', '3000']]);
      await client.query(`DROP TABLE ${table}`);
    });
  }

  it('serves 64 clients at once', async () => {
    await client.query('CREATE TABLE busy (id int PRIMARY KEY, n int) DISTRIBUTED BY (id)');
    const clients = await Promise.all(Array.from({ length: 64 }, () => cluster.client()));
    try {
      await Promise.all(
        clients.map(async (one, k) => {
          await one.query('INSERT INTO busy VALUES ($1, 0)', [k]);
          for (let n = 0; n < 4; n++) await one.query('UPDATE busy SET n = n + 1 WHERE id = $1', [k]);
          expect(await rows(one, 'SELECT n FROM busy WHERE id = $1', [k])).toEqual([[4]]);
        }),
      );
      expect(await rows(client, 'SELECT count(*), sum(n) FROM busy')).toEqual([['64', '256']]);
    } finally {
      await Promise.all(clients.map((one) => one.end()));
    }
  });
});

describe('wide, long and many', () => {
  let cluster: TestCluster;
  let client: pg.Client;
  beforeAll(async () => {
    cluster = await TestCluster.start();
    client = await cluster.client();
  });
  afterAll(async () => {
    await client?.end();
    await cluster?.stop();
  });

  for (const method of ['heap', 'columnar']) {
    it(`a ${method} table of 300 columns`, async () => {
      const table = `wide_${method}`;
      const columns = Array.from({ length: 300 }, (_, n) => `c${n} ${n % 2 === 0 ? 'int' : 'text'}`);
      await client.query(`CREATE TABLE ${table} (${columns.join(', ')}) USING ${method} DISTRIBUTED BY (c0)`);
      const line = (k: number) =>
        Array.from({ length: 300 }, (_, n) => (n % 2 === 0 ? String(k + n) : `'t${k}-${n}'`)).join(', ');
      await client.query(`INSERT INTO ${table} VALUES (${line(1)}), (${line(2)}), (${line(3)})`);
      await client.query(`UPDATE ${table} SET c298 = -1, c299 = 'last' WHERE c0 = 2`);
      const all = await rows(client, `SELECT * FROM ${table} WHERE c0 = 2`);
      expect(all[0]).toHaveLength(300);
      expect(all[0]!.slice(296)).toEqual([298, 't2-297', -1, 'last']);
      expect(await rows(client, `SELECT sum(c2), max(c299) FROM ${table}`)).toEqual([['12', 't3-299']]);
    });

    it(`a row of 5 MB in a ${method} table`, async () => {
      const table = `long_${method}`;
      await client.query(`CREATE TABLE ${table} (id int, v text) USING ${method} DISTRIBUTED BY (id)`);
      const text = 'åbc\t\\\n"\''.repeat(560_000);
      await client.query(`INSERT INTO ${table} VALUES ($1, $2)`, [1, text]);
      await client.query(`INSERT INTO ${table} VALUES (2, 'short')`);
      const [[found]] = (await rows(client, `SELECT v FROM ${table} WHERE id = 1`)) as [[string]];
      expect(found === text).toBe(true);
      expect(await rows(client, `SELECT id, length(v) FROM ${table} ORDER BY id`)).toEqual([
        [1, text.length],
        [2, 5],
      ]);
    });

    it(`an INSERT of 20,000 rows into a ${method} table`, async () => {
      const table = `values_${method}`;
      await client.query(`CREATE TABLE ${table} (id int, v text) USING ${method} DISTRIBUTED BY (id)`);
      const values = Array.from({ length: 20_000 }, (_, n) => `(${n}, 'value ''${n}''')`);
      const { rowCount } = await client.query(`INSERT INTO ${table} VALUES ${values.join(', ')}`);
      expect(rowCount).toBe(20_000);
      expect(await rows(client, `SELECT count(*), sum(id) FROM ${table}`)).toEqual([['20000', '199990000']]);
      expect(await rows(client, `SELECT v FROM ${table} WHERE id = 19999`)).toEqual([["value '19999'"]]);
    });
  }

  for (const method of ['heap', 'columnar']) {
    it(`hostile names of ${method} tables`, async () => {
      const names = [
        'we"ird',
        'with space',
        'größe',
        'select',
        "quo'te",
        'x'.repeat(63),
        'ü'.repeat(31),
        'a;b--c',
        '表',
        'back\\slash',
        'Upper',
      ];
      const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
      for (const name of names) {
        const schema = quoted(`${method === 'heap' ? 'h' : 'c'}${name}`.slice(0, name.startsWith('ü') ? 32 : 63));
        const q = quoted(name);
        await client.query(`CREATE SCHEMA ${schema}`);
        await client.query(`CREATE TABLE ${schema}.${q} (${q} int, "v ""2""" text) USING ${method} DISTRIBUTED BY (${q})`);
        await client.query(`INSERT INTO ${schema}.${q} VALUES (1, 'one'), (2, $1)`, [name]);
        await client.query(`UPDATE ${schema}.${q} SET "v ""2""" = "v ""2""" || '!' WHERE ${q} = 2`);
        const found = await client.query(
          `SELECT ${q}, "v ""2""" AS ${q}, count(*) OVER () FROM ${schema}.${q} AS ${q} WHERE ${q}.${q} > 1`,
        );
        expect(found.fields.map((field) => field.name)).toEqual([name, name, 'count']);
        const read = await rows(client, `SELECT * FROM ${schema}.${q} ORDER BY ${q}`);
        expect(read).toEqual([
          [1, 'one'],
          [2, `${name}!`],
        ]);
        await client.query(`DROP SCHEMA ${schema} CASCADE`);
        await expect(client.query(`SELECT * FROM ${schema}.${q}`)).rejects.toMatchObject({ code: '42P01' });
      }
    });
  }

  it('two tables of one name, and DROP SCHEMA CASCADE', async () => {
    await client.query('CREATE SCHEMA one; CREATE SCHEMA two');
    await client.query('CREATE TABLE one.same (id int, v text) DISTRIBUTED BY (id)');
    await client.query('CREATE TABLE two.same (id int, w int) USING columnar DISTRIBUTED BY (id)');
    await client.query('CREATE TABLE two.copied (id int) DISTRIBUTED REPLICATED');
    await client.query(
      "INSERT INTO one.same VALUES (1, 'one'); INSERT INTO two.same VALUES (1, 2); INSERT INTO two.copied VALUES (9)",
    );
    expect(await rows(client, 'SELECT v, w FROM one.same JOIN two.same USING (id)')).toEqual([['one', 2]]);
    await client.query('DROP SCHEMA two CASCADE');
    await expect(client.query('SELECT * FROM two.same')).rejects.toMatchObject({ code: '42P01' });
    expect(await rows(client, 'SELECT * FROM one.same')).toEqual([[1, 'one']]);
    expect(await rows(client, "SELECT count(*) FROM citus_tables WHERE table_name::text LIKE 'two.%'")).toEqual([['0']]);
    // The name is free again.
    await client.query('CREATE SCHEMA two; CREATE TABLE two.same (id int) DISTRIBUTED BY (id); INSERT INTO two.same VALUES (5)');
    expect(await rows(client, 'SELECT * FROM two.same')).toEqual([[5]]);
  });
});
