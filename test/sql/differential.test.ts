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

/** One statement each; `|||` stands before JSON parameters, `+` marks what has to be answered rather than refused. */
const NAMED: [subject: string, statements: string[]][] = [
  [
    'floats keep -0, NaN and infinities',
    [
      "+insert into orders (id, ratio) values (9001, '-0'), (9002, 'NaN'), (9003, '-Infinity')",
      "+insert into events (id, score) values (9001, '-0'), (9002, 'NaN'), (9003, '-Infinity')",
      '+select id, ratio, -ratio from orders where id > 9000',
      '+select id, score, -score from events where id > 9000',
    ],
  ],
  [
    'INSERT … SELECT of what only PostgreSQL can compute',
    [
      "+insert into marks (id, tag, w) select id + 9100, to_char(placed, 'YYYY-MM'), count(*) over () from orders where id < 9 and placed is not null",
      "+insert into orders (id, note) select id + 9200, note from orders where note ~ '^[ab]'",
      '+insert into orders (id, code) select id + 9300, repeat(note, 3) from orders where id < 9 and note is not null',
      '+insert into items (id, qty) select id + 9400, 1 / (id - 5) from orders where id < 9',
      '+insert into orders (id, note) select id + 9500, note from orders where false and upper(note) is null',
      '+insert into marks (id, tag) select null, status from orders',
    ],
  ],
  [
    'literals of an INSERT … SELECT, coerced to their columns',
    [
      "+insert into orders (id, status, amount, code, note) select id + 9600, 'abc', '1.25', 'x', null from orders where id < 4",
      "+insert into events (id, code, value, day) select id + 9600, 'x', 2.5, '2024-01-01' from orders where id < 4",
      "+insert into orders (id, status) select id + 9700, 'far too long for it' from orders where id < 4",
      '+insert into orders (id, amount, status) select id + 9800, $1, $2 from orders where id < 4 ||| ["3.14159", "p"]',
    ],
  ],
  [
    'an UPDATE that assigns the distribution column to itself',
    ['+update items set id = id where id = 3', '+update marks set id = id'],
  ],
  [
    'conditions that raise where the rows are',
    ["select id from events where kind like '%\\\\' ", 'select id from events where day > $1 ||| ["0044-01-01 BC"]'],
  ],
];

describe('found differences', () => {
  beforeAll(async () => {
    for (const { name } of TABLES) await pair.both(`drop table if exists ${name}`);
    await createFixture(new Random(7));
  });

  it.each(NAMED)('%s', async (_, statements) => {
    const campaign = new Campaign();
    for (const one of statements) {
      const [text, params] = one.replace(/^\+/, '').split(' ||| ');
      await campaign.run({ sql: text!, ...(params === undefined ? {} : { params: JSON.parse(params) }) });
    }
    for (const { name } of TABLES) await campaign.contents(name, 'all');
    expect(campaign.wrong).toEqual([]);
    if (statements.every((one) => one.startsWith('+'))) expect(campaign.figures.refused).toBeUndefined();
  });

  it('a statement without tables ends when its time is over, and others go on', async () => {
    const other = await pair.cluster.client();
    await pair.client.query('set statement_timeout = 2000');
    const long = pair.ours('select count(*) from generate_series(1, 2000000000)');
    expect((await other.query("select 1 as one from pg_class where relname = 'orders'")).rows).toEqual([{ one: 1 }]);
    expect(await long).toMatchObject({ code: '57014' });
    await pair.client.query('set statement_timeout = 0');
    await other.end();
  });
});
