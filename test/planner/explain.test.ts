import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { explainJson, explainPlan } from '../../src/engine/planner/explain.js';
import type { Cluster } from './cluster.js';
import { fixture } from './fixtures.js';
import { Random } from './random.js';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await fixture(new Random(1));
});
afterAll(async () => {
  await cluster.close();
});

describe('EXPLAIN', () => {
  it('names the tier, the segments and the finish', async () => {
    const lines = explainPlan(await cluster.plan('select kind, count(*) from events group by kind'), cluster);
    expect(lines).toEqual([
      'Damson plan: pushdown',
      '  Finish: DuckDB on the coordinator',
      '  ->  Fragment in0 (DuckDB)',
      '        Task Count: 2',
      '        Tasks: on segments 0, 1 (all shards)',
      '        Tables: t0 = events',
    ]);
    expect(explainPlan(await cluster.plan('select * from orders where id = 3'), cluster)).toEqual([
      'Damson plan: router',
      '  ->  Fragment in0 (SQLite)',
      '        Task Count: 1',
      "        Tasks: on the segments of '3'",
      '        Tables: t0 = orders',
    ]);
  });

  it('says why better tiers declined, and gives the SQL, when asked', async () => {
    const plan = await cluster.plan("select string_agg(kind, ',') from events");
    const lines = explainPlan(plan, cluster, { verbose: true });
    expect(lines[1]).toBe('  Finish: PostgreSQL (statement as written)');
    expect(lines.filter((line) => line.includes('Declined:')).length).toBe(3);
    expect(explainJson(plan, cluster, { verbose: true })).toMatchObject([
      { Plan: { 'Custom Plan Provider': 'Damson', Tier: 'gather', Finish: { Engine: 'pglite' } } },
    ]);
  });

  it('shows writes', async () => {
    expect(explainPlan(await cluster.plan('update orders set small = 1 where id = 2'), cluster)).toEqual([
      'Damson plan: update of orders',
      '  Engine: SQLite',
      "  Tasks: on the segments of '2'",
    ]);
    expect(explainPlan(await cluster.plan("insert into kinds values ('a', 1, 2)"), cluster)).toEqual([
      'Damson plan: insert into kinds',
      '  ->  Values: 1 row',
    ]);
  });
});
