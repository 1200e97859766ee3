import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CANONICAL_OUTPUT, textFromHeap } from '../../src/engine/codec/heap.js';
import { engineError } from '../../src/engine/dialect/engine-errors.js';
import { sqliteParams } from '../../src/engine/executor/params.js';
import type { ModifyPlan, Plan } from '../../src/engine/planner/types.js';
import type { HeapValue } from '../../src/model/storage.js';
import { Cluster, type Row } from './cluster.js';

const COLUMNS =
  'id int, a int, s smallint, big bigint, n numeric(10,2), v varchar(4), c char(3), t text, d date, f float8, b boolean, free numeric, j json';
let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.create([
    { name: 'w', ddl: `create table w (${COLUMNS})`, distribution: { kind: 'distributed', column: 'id', colocationId: 2 } },
    {
      name: 'q',
      ddl: `create table q (${COLUMNS})`,
      columnar: true,
      distribution: { kind: 'distributed', column: 'id', colocationId: 3 },
    },
    { name: 'z', ddl: 'create table z (id int, a int)', distribution: { kind: 'reference' } },
  ]);
});
afterAll(async () => {
  await cluster.close();
});

/** Runs a heap UPDATE or DELETE over one shard that holds all rows, as the executor does; the rows afterwards, as text. */
function runHeap(plan: ModifyPlan, rows: Row[], params: Row): Row[] {
  const table = cluster.table(plan.tableId)!;
  const db = new Database(':memory:');
  db.exec(`CREATE TABLE x (${table.columns.map((one) => `c${one.attnum} ANY`).join(', ')}) STRICT`);
  const insert = db.prepare(`INSERT INTO x VALUES (${table.columns.map(() => '?').join(', ')})`);
  for (const row of rows) insert.run(row.map((text, i) => cluster.heapValue(table.columns[i]!, text)));
  const { fragment } = plan;
  const set = fragment.assignments.map((one) => `c${one.attnum} = ${one.sql}`).join(', ');
  const where = fragment.where === null ? '' : ` WHERE ${fragment.where}`;
  const values = Object.fromEntries(sqliteParams(fragment.params, params));
  try {
    db.prepare(fragment.op === 'update' ? `UPDATE x SET ${set}${where}` : `DELETE FROM x${where}`).run(values);
  } catch (error) {
    throw engineError((error as Error).message) ?? error;
  }
  const stored = db.prepare('SELECT * FROM x').raw(true).safeIntegers(true).all() as HeapValue[][];
  db.close();
  return stored.map((row) =>
    row.map((value, i) =>
      value === null ? null : textFromHeap(table.columns[i]!.typeOid, table.columns[i]!.typmod, value, CANONICAL_OUTPUT),
    ),
  );
}

const ROWS: Row[] = [
  ['1', '5', '2', '7', '1.50', 'ab', 'x  ', 'tea', '2020-01-31', '1.5', 't', '1.10', '{}'],
  ['2', '-7', '-3', '9000000000', '-2.25', 'abcd', 'xyz', 'Été', '1999-12-31', '-0.25', 'f', '2', null],
  ['3', null, null, null, null, null, null, null, null, null, null, null, null],
  ['4', '2147483647', '32767', '9223372036854775807', '99999999.99', '', '   ', '', 'infinity', '1e300', null, 'NaN', '[]'],
];

async function sameUpdate(sql: string, params: Row = []): Promise<ModifyPlan> {
  const plan = await cluster.plan(sql);
  if (plan.kind !== 'modify') throw new Error(`plan of kind ${plan.kind}`);
  await cluster.pg.exec('DELETE FROM w');
  const list = ROWS.map((row) => `(${row.map((value) => (value === null ? 'NULL' : `'${value}'`)).join(',')})`);
  await cluster.pg.exec(`INSERT INTO w VALUES ${list.join(',')}`);
  const stored = (await cluster.oracle('SELECT * FROM w ORDER BY id')).rows;
  const expected = await cluster.oracle(sql, params).then(
    async () => (await cluster.oracle('SELECT * FROM w ORDER BY id')).rows,
    (error: Error & { code: string }) => error.code,
  );
  let got: Row[] | string;
  try {
    got = runHeap(plan, stored, params);
  } catch (error) {
    got = (error as { sqlstate?: string }).sqlstate ?? String(error);
  }
  expect(got, sql).toEqual(expected);
  return plan;
}

describe('UPDATE and DELETE of a heap table', () => {
  it('computes what PostgreSQL computes', async () => {
    for (const sql of [
      'update w set a = a + 1 where id = 1',
      'update w set a = a * 2 - s, s = s + 1 where id < 4',
      'update w set a = a + 1',
      'update w set s = s * 2',
      'update w set big = big + 1',
      'update w set big = big - a where id < 4',
      'update w set a = a / s where id < 4',
      'update w set a = a % (s - s)',
      'update w set n = n - 100.505 where id = 1',
      'update w set n = n * 1.055 where id < 3',
      'update w set n = -n',
      'update w set n = 12',
      'update w set n = n + a where id < 3',
      'update w set n = n * 1000',
      'update w set n = 0.005 where id = 1',
      'update w set n = -0.005',
      "update w set v = 'ab      '",
      "update w set c = 'q', t = t || '!'",
      "update w set v = v || 'x' where id = 1",
      "update w set v = v || 'x'",
      'update w set d = d + 3, t = null',
      "update w set d = '2021-02-03' where d < '2020-06-01'",
      'update w set f = 2, b = not b',
      "update w set f = 'NaN' where id = 1",
      'update w set free = 3.14000, j = \'{"k": [1, 2]}\' where id = 3',
      "update w set t = case when a > 0 then 'pos' when a < 0 then 'neg' else coalesce(t, 'none') end",
      'delete from w where n > 1.499 and n < 1.501',
      "delete from w where t like '%e%' or a is null",
      'delete from w',
      "update w set a = id where v in ('ab', 'abcd')",
      "update w set t = v where c = 'x'",
      'update w set a = length(t)',
    ]) {
      await sameUpdate(sql);
    }
  });

  it('raises on constants that the column cannot hold', async () => {
    await expect(cluster.plan("update w set v = 'toolong'")).rejects.toMatchObject({ sqlstate: '22001' });
    await expect(cluster.plan('update w set n = 1e10')).rejects.toMatchObject({ sqlstate: '22003' });
  });

  it('takes parameters in the form of the column', async () => {
    await sameUpdate('update w set n = $1, v = $2, c = $3, d = $4, f = $5, b = $6, free = $7 where id = $8', [
      '3.14159',
      'ok',
      'z',
      '2022-02-02',
      '3',
      'f',
      '5.50',
      '2',
    ]);
    await sameUpdate('update w set n = n + $1 where id = $2', ['0.125', '1']);
    await sameUpdate('update w set n = n - $1 where n >= $1', ['1.499']);
    await sameUpdate('update w set v = $1', ['12345']);
    await sameUpdate('update w set a = a + $1', ['-2']);
    await sameUpdate('delete from w where n = $1', ['1.500']);
  });

  it('prunes by the distribution column, and returns rows', async () => {
    const plan = await sameUpdate('update w set a = 0 where id = 3 returning id, a + 1, n');
    expect(plan.where).toEqual({ kind: 'colocated', colocationId: 2, keys: [{ kind: 'const', typeOid: 23, text: '3' }] });
    expect(plan.fragment.returning!.map((one) => one.output.typeOid)).toEqual([23, 23, 1700]);
    expect(((await cluster.plan('update z set a = 1')) as ModifyPlan).where).toEqual({
      kind: 'colocated',
      colocationId: 1,
      keys: null,
    });
    const columnar = (await cluster.plan(
      "update q set n = n / 2, t = upper(t) where id in (1, 2) and d > '2020-01-01'",
    )) as ModifyPlan;
    expect(columnar.fragment.engine).toBe('duckdb');
  });

  it('refuses with a hint what it cannot do', async () => {
    for (const sql of [
      'update w set id = id + 1',
      'update w set a = z.a from z where z.id = w.id',
      'delete from w using z where z.id = w.id',
      'delete from w where id in (select id from z)',
      'update w set t = upper(t)',
      'update w set a = (random() * 10)::int',
      'update w set n = n / 3 where f > 0',
      'insert into w (id) values (1) on conflict do nothing',
      'merge into w using z on w.id = z.id when matched then delete',
      'with x as (delete from w returning id) select * from x join z using (id)',
    ]) {
      await expect(cluster.plan(sql), sql).rejects.toMatchObject({ sqlstate: '0A000', fields: { hint: expect.any(String) } });
    }
  });
});

describe('INSERT', () => {
  it('takes constants and parameters as they are', async () => {
    const plan = (await cluster.plan(
      "insert into w (id, n, v, big, d, c) values (1, 2.345, 'abc', 5, '2020-01-01', 'x'), ($1, $2, $3, 7, null, 'y')",
    )) as Plan & { kind: 'insert' };
    expect(plan.source.kind).toBe('values');
    const rows = (plan.source as { rows: unknown[][] }).rows;
    expect(rows[0]!.slice(0, 5)).toEqual([
      { kind: 'const', typeOid: 23, text: '1' },
      null,
      null,
      { kind: 'const', typeOid: 23, text: '5' },
      { kind: 'const', typeOid: 1700, text: '2.345' },
    ]);
    expect(rows[1]!.slice(0, 1)).toEqual([{ kind: 'param', n: 1, typeOid: 23 }]);
    const one = (await cluster.plan('insert into z values ($1, 3) returning a, id')) as Plan & { kind: 'insert' };
    expect(one.returning!.map((column) => column.attnum)).toEqual([2, 1]);
  });

  it('leaves to the front what has to be computed', async () => {
    for (const sql of [
      'insert into w (id, a) values (1, 1 + 1)',
      'insert into w (id, j) values (1, $1)',
      'insert into w (id, t) select g, g::text from generate_series(1, 10) g',
      "insert into w (id, v) values (1, 'abcdef'::varchar(3))",
    ]) {
      expect((await cluster.plan(sql)) as unknown, sql).toMatchObject({ kind: 'insert', source: { kind: 'front' } });
    }
  });

  it('plans the SELECT of INSERT … SELECT', async () => {
    const plan = (await cluster.plan(
      'insert into w (id, n, t) select a, sum(n), max(t) from q where id > 3 group by a',
    )) as Plan & { kind: 'insert' };
    expect(plan.source).toMatchObject({ kind: 'select', columns: [1, 5, 8], read: { tier: 'pushdown' } });
    expect(await cluster.plan("insert into w (id, t) select 1, string_agg(t, ',') from q")).toMatchObject({
      source: { kind: 'select', read: { tier: 'gather', finish: { engine: 'pglite' } } },
    });
    expect(await cluster.plan("insert into w (id, t) select a, 'x' from q")).toMatchObject({ source: { columns: [1, 8] } });
  });
});
