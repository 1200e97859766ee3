import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SqlError } from '../../src/core/errors.js';
import type { Cluster, Row } from './cluster.js';
import { fixture } from './fixtures.js';
import { Generator } from './generate.js';
import { Random } from './random.js';

const SEED = Number(process.env.DAMSON_SEED ?? 20251);
const QUERIES = Number(process.env.DAMSON_QUERIES ?? 400);

let cluster: Cluster;
beforeAll(async () => {
  cluster = await fixture(new Random(SEED));
});
afterAll(async () => {
  await cluster.close();
});

function comparable(rows: Row[], ordered: boolean): string[] {
  const lines = rows.map((row) => JSON.stringify(row));
  return ordered ? lines : lines.sort();
}

describe('plans against PostgreSQL', () => {
  it(`gives PostgreSQL's answer or raises, for ${QUERIES} generated queries of seed ${SEED}`, async () => {
    console.log(`seed ${SEED}, ${QUERIES} queries; set DAMSON_SEED and DAMSON_QUERIES for others`);
    const generator = new Generator(new Random(SEED));
    const tiers: Record<string, number> = {};
    const wrong: string[] = [];
    const count = (name: string) => {
      tiers[name] = (tiers[name] ?? 0) + 1;
    };
    for (let i = 0; i < QUERIES; i++) {
      const sql = generator.query();
      const plan = await cluster.plan(sql).catch((error: Error) => error);
      if (plan instanceof Error) {
        // A query that PostgreSQL refuses, or a statement that no tier takes; never a defect of the planner.
        count('refused');
        if (plan instanceof TypeError || (plan instanceof SqlError && plan.sqlstate === 'XX000'))
          wrong.push(`${sql}\n  ${plan.stack}`);
        continue;
      }
      if (plan.kind !== 'read') {
        wrong.push(`${sql}\n  plan of kind ${plan.kind}`);
        continue;
      }
      if (plan.finish?.engine === 'pglite') {
        count('pglite');
        continue;
      }
      const got = await cluster.run(plan).catch((error: Error) => error);
      if (got instanceof Error) {
        // The fallback answers then; but SQL that an engine cannot even bind is a defect.
        count('raised');
        if (!/damson:|division|out of range|Overflow|overflow|Conversion Error|more than one row/i.test(got.message))
          wrong.push(`${sql}\n  ${got.message}`);
        continue;
      }
      count(
        `${plan.tier} ${plan.inputs.map((input) => input.fragment.engine).join('+')}${plan.finish === null ? '' : ' finish'}`,
      );
      const want = await cluster.oracle(sql).catch((error: Error) => error);
      if (want instanceof Error) {
        wrong.push(`${sql}\n  PostgreSQL: ${want.message}, Damson: ${got.length} rows`);
        continue;
      }
      const ordered = / ORDER BY [^)]*$/.test(sql);
      const [a, b] = [comparable(want.rows, ordered), comparable(got, ordered)];
      if (JSON.stringify(a) !== JSON.stringify(b)) {
        const missing = a.filter((line) => !b.includes(line)).slice(0, 3);
        const extra = b.filter((line) => !a.includes(line)).slice(0, 3);
        wrong.push(`${sql}\n  missing ${missing.join(' ')}\n  extra   ${extra.join(' ')}\n  rows ${a.length} and ${b.length}`);
      }
    }
    console.log(tiers);
    expect(wrong).toEqual([]);
  }, 600_000);
});
