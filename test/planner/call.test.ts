import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planStatement } from '../../src/engine/planner/plan.js';
import { Cluster } from './cluster.js';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.create([{ name: 't', ddl: 'create table t (id int, a int)', distribution: { kind: 'local' } }]);
  await cluster.pg.exec(`create function pg_catalog.create_distributed_table(table_name regclass, distribution_column text, shard_count int default null)
    returns void language sql as 'select null::void'`);
});
afterAll(async () => {
  await cluster.close();
});

async function plan(sql: string) {
  const { rows } = await cluster.oracle("select oid::text, provolatile from pg_proc where proname = 'create_distributed_table'");
  const analyzed = await cluster.analyze(sql);
  const functions = [
    {
      oid: Number(rows[0]![0]),
      schema: 'pg_catalog',
      name: 'create_distributed_table',
      argNames: ['table_name', 'distribution_column', 'shard_count'],
      volatility: 'v' as const,
    },
  ];
  return planStatement({ ...analyzed, functions, catalogOnly: !/from t/.test(sql) }, cluster);
}

describe("calls of Damson's own functions", () => {
  it('are taken from the top of a SELECT, with their arguments by name', async () => {
    const { rows } = await cluster.oracle("select 't'::regclass::oid::text");
    expect(await plan("select create_distributed_table('t', 'id')")).toMatchObject({
      kind: 'call',
      name: 'create_distributed_table',
      args: {
        table_name: { kind: 'const', typeOid: 2205, text: rows[0]![0] },
        distribution_column: { kind: 'const', text: 'id' },
      },
    });
    expect(await plan("select create_distributed_table('t', distribution_column => $1, shard_count => 8)")).toMatchObject({
      args: { distribution_column: { kind: 'param', n: 1 }, shard_count: { kind: 'const', text: '8' } },
    });
    expect(await plan("select * from create_distributed_table('t', null)")).toMatchObject({
      kind: 'call',
      args: { distribution_column: null },
    });
  });

  it('are refused as a part of something larger', async () => {
    for (const sql of [
      "select create_distributed_table('t', 'id'), 1",
      "select create_distributed_table('t', 'id') from t",
      "select create_distributed_table('t', 'i' || 'd')",
    ]) {
      await expect(plan(sql), sql).rejects.toMatchObject({ sqlstate: '0A000' });
    }
  });

  it('other statements without tables run in the front', async () => {
    expect(await plan('select 1 + 1, version()')).toEqual({ kind: 'catalog' });
    expect(await plan('select relname from pg_class')).toEqual({ kind: 'catalog' });
  });
});
