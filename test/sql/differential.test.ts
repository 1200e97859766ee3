/** Statements on a real cluster against PostgreSQL itself (PGlite): the same rows, the same errors, the same tables afterwards. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pair } from '../helpers/pair.js';
import { fixtureRows, TABLES } from '../planner/fixtures.js';
import { Random } from '../planner/random.js';
import { type Statement, WriteGenerator } from './generate.js';

const SEED = Number(process.env.DAMSON_SEED ?? 20261);
const STATEMENTS = Number(process.env.DAMSON_QUERIES ?? 300);

let pair: Pair;

beforeAll(async () => {
  pair = await Pair.start();
});

afterAll(() => pair?.stop());

const quoted = (value: string | null) => (value === null ? 'NULL' : `'${value.replaceAll("'", "''")}'`);

async function createFixture(random: Random): Promise<void> {
  for (const { ddl, columnar, distribution } of TABLES) {
    const method = columnar === true ? ' using columnar' : '';
    const placed =
      distribution.kind === 'distributed'
        ? ` distributed by (${distribution.column})`
        : distribution.kind === 'reference'
          ? ' distributed replicated'
          : '';
    // The distribution column takes no NULL, which PostgreSQL has to be told.
    const key = distribution.kind === 'distributed' && !/primary key/.test(ddl) ? distribution.column : undefined;
    const text = key === undefined ? ddl : ddl.replace(new RegExp(`\\(${key} (\\w+)`), `(${key} $1 not null`);
    await pair.both(`${text}${method}${placed}`);
  }
  for (const [table, rows] of fixtureRows(random)) {
    await pair.both(`insert into ${table} values ${rows.map((row) => `(${row.map(quoted).join(', ')})`).join(', ')}`);
  }
}

class Campaign {
  readonly figures: Record<string, number> = {};
  readonly wrong: string[] = [];

  /** @returns whether both have run it. */
  async run({ sql, params, writes }: Statement): Promise<boolean> {
    const found = await pair.compare(sql, params);
    const name = typeof found === 'string' ? found : 'different';
    this.figures[name] = (this.figures[name] ?? 0) + 1;
    const told = `${sql}${params === undefined ? '' : `\n  ${JSON.stringify(params)}`}`;
    if (typeof found !== 'string') this.wrong.push(`${told}\n  ${found.difference}`);
    if (writes !== undefined && found === 'same') await this.contents(writes, told);
    return found === 'same';
  }

  async contents(table: string, after: string): Promise<void> {
    const difference = await pair.contents(table);
    if (difference !== null) this.wrong.push(`${after}\n  leaves ${difference}`);
  }
}

describe('statements against PostgreSQL', () => {
  it(`answers as PostgreSQL, or refuses with a hint, ${STATEMENTS} statements of seed ${SEED}`, async () => {
    console.log(`seed ${SEED}, ${STATEMENTS} statements; set DAMSON_SEED and DAMSON_QUERIES for others`);
    const random = new Random(SEED);
    await createFixture(random);
    const generator = new WriteGenerator(random);
    const campaign = new Campaign();
    for (let i = 0; i < STATEMENTS && campaign.wrong.length < 20; ) {
      if (!random.chance(0.12)) {
        await campaign.run(generator.statement());
        i++;
        continue;
      }
      // A block: until its end, or the first statement that fails on one of the two.
      await pair.both('begin');
      let ok = true;
      for (let n = random.int(1, 5); n > 0 && ok; n--, i++) ok = await campaign.run(generator.statement());
      const end = ok && random.chance(0.5) ? 'commit' : 'rollback';
      await pair.both(end);
      for (const { name } of TABLES) await campaign.contents(name, end);
    }
    console.log(campaign.figures);
    expect(campaign.wrong).toEqual([]);
  }, 600_000);
});
