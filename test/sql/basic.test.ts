import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../helpers/cluster.js';

let cluster: TestCluster;
let client: pg.Client;

beforeAll(async () => {
  cluster = await TestCluster.start({ segments: 2 });
  client = await cluster.client();
});

// A test that fails inside of a block leaves it to nobody.
afterEach(() => client.query('rollback'));

afterAll(async () => {
  await client?.end();
  await cluster?.stop();
});

const rows = async (sql: string, params?: unknown[]) =>
  (await client.query({ text: sql, values: params as never, rowMode: 'array' })).rows;
const run = (sql: string, params?: unknown[]) => client.query(sql, params as never);

async function errorOf(sql: string, params?: unknown[], on: pg.Client = client): Promise<pg.DatabaseError> {
  try {
    await on.query(sql, params as never);
  } catch (error) {
    return error as pg.DatabaseError;
  }
  throw new Error(`no error from: ${sql}`);
}

async function copyIn(sql: string, data: string | string[], on: pg.Client = client): Promise<void> {
  await pipeline(Readable.from(typeof data === 'string' ? [data] : data), on.query(copyFrom(sql)));
}

async function copyOut(sql: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of client.query(copyTo(sql))) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe.each(['heap', 'columnar'])('a distributed %s table', (method) => {
  const t = `d_${method}`;

  beforeAll(async () => {
    await run(`create table ${t}(a int not null, b text, c numeric(10,2), d timestamptz) using ${method} distributed by (a)`);
  });

  it('takes and gives rows', async () => {
    const inserted = await run(
      `insert into ${t} values (1, 'one', 1.5, '2024-02-29 12:00:00+02'), (2, 'zwei', -2, null), (3, null, null, null)`,
    );
    expect([inserted.command, inserted.rowCount]).toEqual(['INSERT', 3]);
    expect(await rows(`select a, b, c, d at time zone 'UTC' from ${t} order by a`)).toEqual([
      [1, 'one', '1.50', new Date(2024, 1, 29, 10)],
      [2, 'zwei', '-2.00', null],
      [3, null, null, null],
    ]);
    await run(`insert into ${t}(a, b) values ($1, $2), ($3, $4)`, [4, 'vier', 5, 'é "\n,']);
    expect(await rows(`select b from ${t} where a = $1`, [5])).toEqual([['é "\n,']]);
    expect(await rows(`select count(*), sum(a), min(b), max(c) from ${t}`)).toEqual([['5', '15', 'one', '1.50']]);
    expect(await rows(`select b, count(*) from ${t} where a > 2 group by b order by b nulls first`)).toEqual([
      [null, '1'],
      ['vier', '1'],
      ['é "\n,', '1'],
    ]);
  });

  it('changes rows', async () => {
    expect((await run(`update ${t} set b = b || '!' where a = 4`)).rowCount).toBe(1);
    expect((await run(`update ${t} set c = coalesce(c, 0) + 1 where a >= $1`, [3])).rowCount).toBe(3);
    expect(await rows(`select a, b, c from ${t} where a in (3, 4) order by a`)).toEqual([
      [3, null, '1.00'],
      [4, 'vier!', '1.00'],
    ]);
    expect((await run(`delete from ${t} where a = 5`)).rowCount).toBe(1);
    expect(await rows(`select count(*) from ${t}`)).toEqual([['4']]);
  });

  it('undoes what a transaction did, and what a failed statement did', async () => {
    await run('begin');
    await run(`insert into ${t}(a) values (100), (101)`);
    await run(`delete from ${t} where a = 1`);
    expect(await rows(`select count(*) from ${t}`)).toEqual([['5']]);
    await run('rollback');
    expect(await rows(`select count(*) from ${t}`)).toEqual([['4']]);

    await run('begin');
    await run(`insert into ${t}(a) values (100)`);
    expect((await errorOf('select 1/0')).code).toBe('22012');
    expect((await errorOf('select 1')).code).toBe('25P02');
    expect((await run('commit')).command).toBe('ROLLBACK');
    expect(await rows(`select count(*) from ${t}`)).toEqual([['4']]);

    await run('begin');
    await run(`insert into ${t}(a) values (100)`);
    await run('commit');
    expect(await rows(`select count(*) from ${t}`)).toEqual([['5']]);
  });

  it('is private to its transaction until the commit', async () => {
    const other = await cluster.client();
    await run('begin');
    await run(`insert into ${t}(a) values (200)`);
    expect((await other.query(`select count(*)::int as n from ${t} where a = 200`)).rows).toEqual([{ n: 0 }]);
    await run('commit');
    expect((await other.query(`select count(*)::int as n from ${t} where a = 200`)).rows).toEqual([{ n: 1 }]);
    await other.end();
  });

  it('loads by COPY, and nothing of a broken one', async () => {
    await run(`truncate ${t}`);
    await copyIn(`copy ${t} from stdin`, ['1\tone\t1.5\t\\N\n2\tt', 'wo\\n\t2\t2024-01-01 00:00:00+00\n3\t\\N\t\\N\t\\N\n\\.\n']);
    await copyIn(`copy ${t}(b, a) from stdin (format csv, header)`, 'b,a\n"x,""y",4\n,5\n"",6\n');
    expect(await rows(`select a, b, c from ${t} order by a`)).toEqual([
      [1, 'one', '1.50'],
      [2, 'two\n', '2.00'],
      [3, null, null],
      [4, 'x,"y', null],
      [5, null, null],
      [6, '', null],
    ]);
    const lines = Array.from({ length: 5000 }, (_, i) => `${i + 1000}\tx\t1\t\\N\n`);
    lines[4000] = 'oops\tx\t1\t\\N\n';
    const error = await copyIn(`copy ${t} from stdin`, lines).then(
      () => undefined,
      (reason: pg.DatabaseError) => reason,
    );
    expect([error?.code, error?.message, error?.where]).toEqual([
      '22P02',
      'invalid input syntax for type integer: "oops"',
      `COPY ${t}, line 4001, column a: "oops"`,
    ]);
    expect(await rows(`select count(*) from ${t}`)).toEqual([['6']]);
    expect(await copyOut(`copy (select a, b, c from ${t} where a < 4 order by a) to stdout`)).toBe(
      '1\tone\t1.50\n2\ttwo\\n\t2.00\n3\t\\N\t\\N\n',
    );
    expect((await copyOut(`copy ${t}(a) to stdout (format csv, header)`)).trim().split('\n').sort()).toEqual([
      '1',
      '2',
      '3',
      '4',
      '5',
      '6',
      'a',
    ]);
  });

  it('takes many rows', async () => {
    await run(`truncate ${t}`);
    const lines = Array.from({ length: 20_000 }, (_, i) => `${i}\trow ${i}\t${i % 100}.25\t\\N\n`);
    await copyIn(`copy ${t} from stdin`, lines);
    expect(await rows(`select count(*), sum(c), max(b) from ${t}`)).toEqual([['20000', '995000.00', 'row 9999']]);
    const values = Array.from({ length: 500 }, (_, i) => `(${i + 50_000}, 'v${i}', ${i})`).join(', ');
    expect((await run(`insert into ${t}(a, b, c) values ${values}`)).rowCount).toBe(500);
    expect((await rows(`select a from ${t}`)).length).toBe(20_500);
  });
});

describe('constraints', () => {
  it('keep keys unique over segments', async () => {
    await run('create table pk(a int primary key, b text not null, c int check (c > 0), d int default 7) distributed by (a)');
    await run("insert into pk values (1, 'x', 1, default), (2, 'y', 2, 8)");
    const duplicate = await errorOf("insert into pk values (2, 'z', 1)");
    expect([duplicate.code, duplicate.message, duplicate.detail]).toEqual([
      '23505',
      'duplicate key value violates unique constraint "pk_pkey"',
      'Key (a)=(2) already exists.',
    ]);
    expect((await errorOf('insert into pk values (3, null, 1)')).code).toBe('23502');
    expect((await errorOf("insert into pk values (3, 'x', -1)")).code).toBe('23514');
    expect(await rows('select a, d from pk order by a')).toEqual([
      [1, 7],
      [2, 8],
    ]);
    expect(await rows("insert into pk values (9, 'r', 3) returning d, a, b as e")).toEqual([[7, 9, 'r']]);
    expect((await errorOf('create table nokey(a int primary key, b int) distributed by (b)')).code).toBe('0A000');
  });
});

describe('reference and local tables', () => {
  it('join with distributed ones', async () => {
    await run('create table country(id int primary key, name text) distributed replicated');
    await run('create table person(id bigint, country int, name text) distributed by (id)');
    await run('create table note(id int, text text)');
    await run("insert into country values (1, 'Chile'), (2, 'Nepal')");
    await run("insert into person select g, g % 2 + 1, 'p' || g from generate_series(1, 100) g");
    await run("insert into note values (1, 'hello')");
    expect(await rows('select c.name, count(*) from person p join country c on c.id = p.country group by 1 order by 1')).toEqual([
      ['Chile', '50'],
      ['Nepal', '50'],
    ]);
    expect(await rows('select n.text, p.name from note n join person p on p.id = n.id')).toEqual([['hello', 'p1']]);
    await run("update country set name = 'Peru' where id = 1");
    expect(await rows('select name from country order by id')).toEqual([['Peru'], ['Nepal']]);
  });

  it('become distributed with their rows', async () => {
    await run('create table grow(a int, b text)');
    await run("insert into grow select g, 'x' || g from generate_series(1, 300) g");
    expect(await rows("select create_distributed_table('grow', 'a')")).toEqual([['']]);
    expect(await rows('select count(*), sum(a) from grow')).toEqual([['300', '45150']]);
    expect(await rows("select count(*) from pg_dist_shard where logicalrelid = 'grow'::regclass")).toEqual([['32']]);
    expect((await errorOf("select create_distributed_table('grow', 'a')")).code).toBe('42P16');
    await run("select undistribute_table('grow')");
    expect(await rows('select count(*) from grow')).toEqual([['300']]);
    await run('alter table grow set access method columnar');
    expect(await rows('select count(*), max(b) from grow')).toEqual([['300', 'x99']]);
  });
});

describe('definitions', () => {
  it('are one with the transaction', async () => {
    await run('begin');
    await run('create table tmp1(a int, b text) distributed by (a)');
    await run("insert into tmp1 values (1, 'x')");
    expect(await rows('select a from tmp1')).toEqual([[1]]);
    await run('rollback');
    expect((await errorOf('select * from tmp1')).code).toBe('42P01');
    expect(await rows("select count(*) from pg_class where relname = 'tmp1'")).toEqual([['0']]);
  });

  it('follow CREATE TABLE AS, RENAME, DROP', async () => {
    await run('create table made as select g as a, g * 2 as b from generate_series(1, 50) g distributed by (a)');
    expect(await rows('select count(*), sum(b) from made')).toEqual([['50', '2550']]);
    await run('alter table made rename column b to c');
    await run('alter table made rename to made2');
    expect(await rows('select sum(c) from made2')).toEqual([['2550']]);
    await run('create index made_c on made2(c)');
    expect(await rows('select a from made2 where c = 20')).toEqual([[10]]);
    await run('drop index made_c');
    await run('create view seen as select a from made2 where a < 4');
    expect(await rows('select * from seen order by a')).toEqual([[1], [2], [3]]);
    expect((await errorOf('drop table made2')).code).toBe('2BP01');
    await run('drop table made2 cascade');
    expect((await errorOf('select * from seen')).code).toBe('42P01');
  });

  it.each([
    'create temp table x(a int)',
    'create table x(a int references pk(a)) distributed by (a)',
    'create table x(a int, b int) distributed by (a, b)',
    'alter table pk add column z int',
    'create table x(a jsonb) distributed by (a)',
    'savepoint s',
    'listen x',
    'create database x',
    'begin isolation level serializable',
  ])('refuse %s with a hint', async (sql) => {
    const error = await errorOf(sql);
    expect(error.code).toBe('0A000');
    expect(error.hint).toBeTruthy();
  });
});

describe('catalogs', () => {
  it('read as in Citus', async () => {
    await run('create table ids(a int) distributed by (a)');
    const [[shard]] = (await rows("select min(shardid) from pg_dist_shard where logicalrelid = 'ids'::regclass")) as [[string]];
    const found = await run(
      `SELECT
        shardid,
        node.nodename,
        node.nodeport
    FROM pg_dist_placement placement
    JOIN pg_dist_node node
      ON placement.groupid = node.groupid
     AND node.noderole = 'primary'::noderole
    WHERE shardid = ${shard};`,
    );
    expect(found.rows).toEqual([{ shardid: shard, nodename: expect.any(String), nodeport: expect.any(Number) }]);
    const shards = await run('SELECT * from pg_dist_shard;');
    expect(shards.fields.map((field) => field.name)).toEqual([
      'logicalrelid',
      'shardid',
      'shardstorage',
      'shardminvalue',
      'shardmaxvalue',
    ]);
    expect(await rows("select get_shard_id_for_distribution_column('ids', 5)")).toEqual([[expect.any(String)]]);
    expect(await rows('select content, role from gp_segment_configuration order by 1')).toEqual([
      [-1, 'p'],
      [0, 'p'],
      [1, 'p'],
    ]);
  });

  it('answer what psql asks for \\d', async () => {
    expect(
      await rows(
        "select n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.relname = 'ids'",
      ),
    ).toEqual([['public', 'ids', 'postgres']]);
  });
});

describe('the protocol', () => {
  it('runs several statements of one string as one transaction', async () => {
    await run('create table multi(a int primary key) distributed by (a)');
    const error = await errorOf('insert into multi values (1); insert into multi values (2); select 1/0');
    expect(error.code).toBe('22012');
    expect(await rows('select count(*) from multi')).toEqual([['0']]);
    const results = (await client.query(
      'insert into multi values (1); select a from multi; commit; begin; delete from multi; rollback',
    )) as unknown as pg.QueryResult[];
    expect(results.map((result) => result.command)).toEqual(['INSERT', 'SELECT', 'COMMIT', 'BEGIN', 'DELETE', 'ROLLBACK']);
    expect(await rows('select a from multi')).toEqual([[1]]);
    expect((await errorOf('select 1; selec 2')).position).toBe('11');
    expect((await errorOf('select 1; select nosuch')).position).toBe('18');
  });

  it('keeps settings as PostgreSQL does', async () => {
    const other = await cluster.client();
    await other.query("set timezone = 'Asia/Tokyo'");
    expect((await other.query('show timezone')).rows).toEqual([{ TimeZone: 'Asia/Tokyo' }]);
    await other.query('begin');
    await other.query("set timezone = 'UTC'");
    await other.query('rollback');
    expect((await other.query("select to_char('2024-01-01 00:00:00+00'::timestamptz, 'HH24') as h")).rows).toEqual([{ h: '09' }]);
    expect((await errorOf('set timezone = nowhere', [], other)).code).toBe('22023');
    await other.query('set citus.shard_count = 3');
    expect((await other.query('show damson.shard_count')).rows).toEqual([{ 'damson.shard_count': '3' }]);
    await other.end();
  });

  it('binds text and binary parameters', async () => {
    await run(
      'create table kinds(a int, b bigint, c float8, d bool, e date, f timestamptz, g jsonb, h int[], i bytea, j uuid) distributed by (a)',
    );
    await run('insert into kinds values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)', [
      1,
      '9007199254740993',
      0.1,
      true,
      '2024-02-29',
      '2024-06-01 12:00:00 Europe/Prague',
      JSON.stringify({ b: 1, a: [true, null] }),
      [1, 2],
      Buffer.from([0, 255]),
      'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
    ]);
    expect(
      await rows(
        "select b, c, d, e::text, f at time zone 'UTC' = '2024-06-01 10:00:00', g::text, h, i, j from kinds where a = 1",
      ),
    ).toEqual([
      [
        '9007199254740993',
        0.1,
        true,
        '2024-02-29',
        true,
        '{"a": [true, null], "b": 1}',
        [1, 2],
        Buffer.from([0, 255]),
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
      ],
    ]);
    expect((await errorOf('select $1::int', ['abc'])).code).toBe('22P02');
  });

  it('cancels, and limits time', async () => {
    const other = await cluster.client();
    await other.query('set statement_timeout = 300');
    expect((await errorOf('select count(*) from generate_series(1, 100000000) a, person', [], other)).code).toBe('57014');
    await other.query('set statement_timeout = 0');
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await other.end();
  });

  it('refuses who does not belong here', async () => {
    await expect(cluster.client({ database: 'other' })).rejects.toMatchObject({ code: '3D000' });
    await expect(cluster.client({ user: 'nobody' })).rejects.toMatchObject({ code: '28000' });
  });

  it('makes writers wait for each other, and breaks a circle', async () => {
    const [one, two] = [await cluster.client(), await cluster.client()];
    await run('create table waits(a int primary key, b int) distributed by (a)');
    await run('insert into waits select g, 0 from generate_series(1, 64) g');
    const [[x], [y]] = (await rows(
      'select distinct on (get) a from (select a, a % 2 as get from waits) q order by get, a limit 2',
    )) as [[number], [number]];
    await one.query('begin');
    await two.query('begin');
    await one.query('update waits set b = 1 where a = $1', [x]);
    await two.query('update waits set b = 2 where a = $1', [y]);
    const first = one.query('update waits set b = 1 where a = $1', [y]).catch((error: pg.DatabaseError) => error.code);
    const second = two.query('update waits set b = 2 where a = $1', [x]).catch((error: pg.DatabaseError) => error.code);
    const answers = await Promise.all([first, second]);
    expect(answers.filter((answer) => answer === '40P01')).toHaveLength(1);
    await one.query('rollback');
    await two.query('rollback');
    await one.end();
    await two.end();
  });
});
