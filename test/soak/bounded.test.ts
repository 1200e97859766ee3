/** What grows while a cluster works is cut again: log files on primaries, mirrors and the coordinator, batch files, WALs, temporary files. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../helpers/cluster.js';

/** MB of a file of the log: small, so that it is recycled within seconds. */
const LOG_FILE_MB = 0.25;
const LOG_FILE = LOG_FILE_MB * 1024 * 1024;

function filesIn(directory: string): { name: string; bytes: number }[] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => ({ name, bytes: statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0 }));
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

describe('a cluster with small log files', () => {
  let cluster: TestCluster;
  let client: pg.Client;

  beforeAll(async () => {
    process.env.DAMSON_LOG_FILE_SIZE = String(LOG_FILE_MB);
    cluster = await TestCluster.start({ mirrors: true, settings: { 'damson.shard_count': '4' } });
    client = await cluster.client();
  });
  afterAll(async () => {
    delete process.env.DAMSON_LOG_FILE_SIZE;
    await client?.end();
    await cluster?.stop();
  });

  const logs = (datadir: string) => filesIn(join(datadir, 'changelog')).filter(({ name }) => name.endsWith('.log'));
  const batches = (datadir: string) => filesIn(join(datadir, 'changelog', 'batches'));
  const segments = () => cluster.instances.filter(({ content }) => content >= 0);
  const begins = (datadir: string) => Math.min(...logs(datadir).map(({ name }) => Number.parseInt(name, 10)));
  const bounded = (datadir: string) => begins(datadir) > 0 && logs(datadir).length <= 8;

  it('recycles the log of primaries and mirrors', async () => {
    await client.query('CREATE TABLE rows (id int PRIMARY KEY, v text) DISTRIBUTED BY (id)');
    for (let round = 0; round < 12; round++) {
      await client.query(
        `INSERT INTO rows SELECT i, repeat('x', 1000) FROM generate_series(${round * 1000 + 1}, ${round * 1000 + 1000}) i`,
      );
    }
    await client.query("UPDATE rows SET v = 'short' WHERE id <= 6000");
    await until('log files are recycled', () => segments().every(({ datadir }) => bounded(datadir)));
    for (const { datadir } of segments()) {
      for (const { name, bytes } of filesIn(join(datadir, 'sets'))) {
        if (name.endsWith('-wal')) expect(bytes).toBeLessThan(32 * 1024 * 1024);
      }
    }
  });

  it('drops batch files with their records, though the records are short', async () => {
    await client.query('CREATE TABLE bulk (id int, v text) USING columnar DISTRIBUTED BY (id)');
    let first = 1;
    const round = async () => {
      // Digests do not compress: each shard's rows are more than a record takes.
      await client.query(
        `INSERT INTO bulk SELECT i, md5(i::text) || md5((i + 1)::text) FROM generate_series(${first}, ${first + 29_999}) i`,
      );
      first += 30_000;
    };
    for (let n = 0; n < 8; n++) await round();
    const before = new Set(segments().flatMap(({ datadir }) => batches(datadir).map(({ name }) => name)));
    expect(before.size).toBeGreaterThan(0);
    for (let n = 0; n < 8; n++) await round();
    await until('batch files are gone', () =>
      segments().every(({ datadir }) => batches(datadir).reduce((sum, { bytes }) => sum + bytes, 0) <= 40 * LOG_FILE),
    );
    await until('the oldest went first', () =>
      segments().every(({ datadir }) => batches(datadir).some(({ name }) => !before.has(name))),
    );
    expect((await client.query('SELECT count(*)::int AS n FROM bulk')).rows).toEqual([{ n: first - 1 }]);
  });

  it('recycles the log of a coordinator whose catalog does not change', async () => {
    await client.query('CREATE TABLE here (id int, v text)');
    const { datadir } = cluster.coordinator;
    for (let n = 0; n < 12; n++) {
      await client.query(`INSERT INTO here SELECT i, repeat('y', 1000) FROM generate_series(1, 200) i`);
    }
    await until('its log files are recycled', () => bounded(datadir));
    expect((await client.query('SELECT count(*)::int AS n FROM here')).rows).toEqual([{ n: 2400 }]);
  });

  it('makes heap and columnar tables of the same sets in turn', async () => {
    // The client is answered before a DROP is in the stores, so the next CREATE meets it there.
    for (let n = 0; n < 20; n++) {
      await client.query(`CREATE TABLE turn${n} (a int, b text) USING ${n % 2 === 0 ? 'columnar' : 'heap'} DISTRIBUTED BY (a)`);
      await client.query(`INSERT INTO turn${n} SELECT i, 'x' FROM generate_series(1, 20) i`);
      await client.query(`UPDATE turn${n} SET b = 'y' WHERE a <= 10`);
      const { rows } = await client.query(`SELECT b, count(*)::int AS n FROM turn${n} GROUP BY b ORDER BY b`);
      expect(rows).toEqual([
        { b: 'x', n: 10 },
        { b: 'y', n: 10 },
      ]);
      await client.query(`DROP TABLE turn${n}`);
    }
  });

  it('leaves no temporary files', async () => {
    await until('temporary files are gone', () =>
      cluster.instances.every(({ datadir }) => filesIn(join(datadir, 'tmp')).length === 0),
    );
  });

  it('has all rows after everything was killed', async () => {
    await client.end();
    for (const { dbid } of cluster.instances) await cluster.kill(dbid);
    for (const { dbid } of [...cluster.instances].sort((a, b) => b.content - a.content)) await cluster.startDaemon(dbid);
    client = await cluster.client();
    expect(
      (await client.query("SELECT count(*)::int AS n, count(*) FILTER (WHERE v = 'short')::int AS short FROM rows")).rows,
    ).toEqual([{ n: 12_000, short: 6000 }]);
    expect((await client.query('SELECT count(*)::int AS n, count(DISTINCT id)::int AS ids FROM bulk')).rows).toEqual([
      { n: 480_000, ids: 480_000 },
    ]);
    expect((await client.query('SELECT count(*)::int AS n FROM here')).rows).toEqual([{ n: 2400 }]);
  });
});
