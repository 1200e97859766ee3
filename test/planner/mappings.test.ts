import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ReadPlan } from '../../src/engine/planner/types.js';
import { Cluster, type Row } from './cluster.js';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.create([
    {
      name: 'h',
      ddl: `create table h (id int, i2 int2, i4 int4, i8 int8, n numeric(10,2), m numeric(12,4), f float8, t text, v varchar(8), c char(6), d date, ts timestamp, tz timestamptz, b boolean, by bytea, u uuid, free numeric, j json)`,
      distribution: { kind: 'distributed', column: 'id', colocationId: 2 },
    },
    {
      name: 'k',
      ddl: `create table k (id int, i2 int2, i4 int4, i8 int8, n numeric(10,2), m numeric(12,4), f float8, t text, v varchar(8), c char(6), d date, ts timestamp, tz timestamptz, b boolean, by bytea, u uuid, free numeric, j json)`,
      columnar: true,
      distribution: { kind: 'distributed', column: 'id', colocationId: 3 },
    },
    { name: 'r', ddl: 'create table r (i4 int4, t text)', distribution: { kind: 'reference' } },
    { name: 'l', ddl: 'create table l (i4 int4, t text)', distribution: { kind: 'local' } },
  ]);
  const rows: Row[] = [
    [
      '1',
      '3',
      '7',
      '9000000000',
      '1.50',
      '0.0001',
      '0.1',
      'alpha',
      'ab',
      'ab',
      '2020-02-29',
      '2020-02-29 23:59:59.999999',
      '2020-01-01 00:00:00+00',
      't',
      '\\x00ff',
      '00000000-0000-4000-8000-000000000001',
      '1.10',
      '{"a":1}',
    ],
    [
      '2',
      '-3',
      '-7',
      '-9000000000',
      '-1.50',
      '-2.5000',
      '-0.5',
      'Été ',
      'ab  ',
      'ab    ',
      '1969-12-31',
      '1969-12-31 12:00:00.5',
      '1999-12-31 23:00:00-01',
      'f',
      '\\x',
      null,
      '1.1',
      '[]',
    ],
    ['3', '0', '0', '0', '0.00', '0.0000', '0', '', '', '', 'infinity', 'infinity', '-infinity', null, null, null, '0', null],
    [
      '4',
      '32767',
      '2147483647',
      '9223372036854775807',
      '99999999.99',
      '12345678.1234',
      '1e300',
      'a%b_c\\d',
      'x',
      'abcdef',
      '0001-01-01',
      '9999-12-31 00:00:00',
      null,
      't',
      null,
      null,
      'NaN',
      null,
    ],
    ['5', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null],
    [
      '6',
      '-32768',
      '-2147483648',
      '-9223372036854775808',
      '0.05',
      '2.0000',
      'NaN',
      '日本語',
      '日本',
      'é',
      '2000-01-01',
      '2000-01-01 00:00:00',
      '2000-01-01 00:00:00+00',
      'f',
      '\\x01',
      null,
      '-5',
      null,
    ],
  ];
  await cluster.load('h', rows);
  await cluster.load('k', rows);
  await cluster.load('r', [
    ['7', 'seven'],
    ['0', 'zero'],
  ]);
  await cluster.load('l', [
    ['7', 'SEVEN'],
    ['1', null],
  ]);
});
afterAll(async () => {
  await cluster.close();
});

async function readPlan(sql: string): Promise<ReadPlan> {
  const plan = await cluster.plan(sql);
  if (plan.kind !== 'read') throw new Error(`plan of kind ${plan.kind}`);
  return plan;
}

/** The engines' answer is PostgreSQL's; gives the tier and the engines. */
async function same(sql: string, params: Row = []): Promise<string> {
  const plan = await readPlan(sql);
  if (plan.finish?.engine === 'pglite') throw new Error(`fell back: ${JSON.stringify(plan.declined)}`);
  const got = (await cluster.run(plan, params)).map((row) => JSON.stringify(row));
  const want = (await cluster.oracle(sql, params)).rows.map((row) => JSON.stringify(row));
  if (!/order by [^)]*$/i.test(sql)) {
    got.sort();
    want.sort();
  }
  expect(got, sql).toEqual(want);
  return `${plan.tier} ${plan.inputs.map((input) => input.fragment.engine).join('+')}`;
}

/** No engine answers: either the planner knows, or the engine raises. */
async function fallsBack(sql: string): Promise<void> {
  const plan = await readPlan(sql);
  if (plan.finish?.engine === 'pglite') return;
  await expect(cluster.run(plan), sql).rejects.toThrow();
}

const EXACT: Record<string, string[]> = {
  'integer division and remainder': [
    'i4 / 2',
    'i4 / -2',
    'i4 % 3',
    'i4 % -4',
    'i2 / 2::int2',
    'i8 / 3',
    'mod(i4, 5)',
    'i2 + 1',
    'i4::bigint * 2',
    '-i2::int',
  ],
  'bit operators': ['i4 & 5', 'i4 | 8', 'i4 # 3', '~i4', 'i4 >> 2'],
  'numeric arithmetic': ['n + m', 'n - 0.125', 'n * m', 'n % 0.7', 'n * i4', 'abs(n)', '-n', 'n + i2'],
  'numeric quotient': ['n / 3', 'n / 7.125', 'm / 1000', '1 / nullif(n, 0)', 'n / nullif(i4, 0)', 'm / 0.0003'],
  'numeric rounding': [
    'round(n)',
    'round(n, 1)',
    'round(n, 5)',
    'trunc(m, 2)',
    'trunc(m)',
    'ceil(m)',
    'floor(m)',
    'sign(m)',
    'n::numeric(12,1)',
    'n::int8',
    'round(n / 3, 2)',
  ],
  'text functions': [
    'length(t)',
    'length(c)',
    'left(t, 2)',
    'left(t, -2)',
    'right(t, 3)',
    'right(t, -1)',
    "strpos(t, 'l')",
    "strpos(t, '')",
    "position('a' in t)",
    "replace(t, 'a', 'bb')",
    "replace(t, '', 'x')",
    "translate(t, 'abc', 'x')",
    'repeat(t, 2)',
    'repeat(t, -1)',
    'md5(t)',
    "starts_with(t, 'a')",
    'ltrim(t)',
    'rtrim(t)',
    'btrim(t)',
    "btrim(t, 'a')",
    "ltrim(t, 'al')",
    "rtrim(t, ' a')",
    "lpad(t, 8, 'xy')",
    'lpad(t, 3)',
    'rpad(t, 8)',
    "rpad(t, 2, 'z')",
    "lpad(t, 0, 'z')",
    "split_part(t, 'p', 2)",
    'octet_length(t)',
    "t || '!'",
    'c || v',
    't || c',
  ],
  substring: [
    'substring(t, 2)',
    'substring(t, 0, 3)',
    'substring(t, -2, 5)',
    'substring(t, 2, 0)',
    'substr(t, 3, 100)',
    'substr(t, -1)',
    'substring(t from 2 for 2)',
    'substr(t, 2147483647, 2147483647)',
  ],
  'char(n) and varchar(n)': [
    "c = 'ab'",
    "c = 'ab  '",
    'c::text',
    "c like 'ab%'",
    "c like 'ab'",
    't::varchar(3)',
    't::char(3)',
    'v::char(4)',
    'c',
  ],
  like: [
    "t like 'a%'",
    "t like 'A%'",
    "t like 'É_é%'",
    "t like '%[%'",
    "v like 'a?%'",
    "t like '%\\%%'",
    "t like 'a\\%b\\_c%'",
    "t not like '_l%'",
    "t like '%\\\\d'",
  ],
  dates: [
    'd + 3',
    'd - 10',
    "d = 'infinity'",
    'd is null',
    'ts::date',
    "ts > '2000-01-01'",
    'd < ts',
    "date_trunc('month', ts)",
    "date_trunc('hour', ts)",
    "ts = '-infinity'",
  ],
  floats: ['f', 'abs(f)', 'f > 0', "f = 'NaN'", 'f + 1', 'f * 0.5', 'floor(f)', 'ceil(f)', 'round(f)', 'f / 2'],
  conditions: [
    'coalesce(i4, 5)',
    'nullif(i4, 7)',
    'greatest(i4, 3)',
    'least(i4, 3)',
    'i4 is distinct from 7',
    'b is true',
    'b is not false',
    'b is unknown',
    'not b',
    "case i4 when 7 then 'x' else 'y' end",
    'case when n > 0 then n end',
    'i4 in (7, 0, null)',
    'i4 not in (7, 0)',
    'i4 = any(array[7, 1])',
    'i4 <> all(array[7, 1])',
    "i4 = any('{7,0}'::int[])",
    'i4 between 0 and 10',
  ],
  casts: [
    'i4::text',
    'i8::text',
    'b::text',
    'u::text',
    'n::text',
    'b::int',
    'i4::bool',
    'i4::float8',
    'i2::numeric',
    "'12'::text::int + i2",
  ],
  'carried values': ['j', 'free', 'by', 'u', 'tz', 'ts', 'free is null', 'coalesce(j, null)'],
};

describe('mappings of front.md, section 6, on both access methods', () => {
  for (const [topic, expressions] of Object.entries(EXACT)) {
    it(topic, async () => {
      for (const expression of expressions) {
        // Infinity and the ends of the integers raise in arithmetic: the rows that both can compute.
        for (const table of ['h', 'k']) {
          const rows = /^(-?[id]|n |-n|mod|~|round\(f|f|date|d |numeric|abs\(f|ceil\(f|floor\(f|greatest|least)/.test(expression)
            ? 'id in (1, 2, 5)'
            : 'true';
          await same(`select id, ${expression} from ${table} where ${rows}`);
        }
      }
    });
  }

  it('aggregates, whole and grouped', async () => {
    const list = [
      'count(*)',
      'count(i4)',
      'sum(i2)',
      'sum(i4)',
      'sum(i8)',
      'sum(n)',
      'avg(i4)',
      'avg(n)',
      'avg(i8)',
      'min(t)',
      'max(c)',
      'min(d)',
      'max(ts)',
      'bool_and(b)',
      'bool_or(b)',
      'every(b)',
      'bit_and(i4)',
      'bit_or(i2)',
      'bit_xor(i4)',
      'count(distinct v)',
      'sum(n) filter (where b)',
      'count(*) filter (where i4 > 0)',
      'avg(n) filter (where i4 = 12345)',
      'min(u)',
      'max(by)',
      'sum(distinct i2)',
    ];
    for (const item of list) {
      if (/min\(u\)|max\(by\)/.test(item)) continue;
      for (const table of ['h', 'k']) {
        await same(`select ${item} from ${table}`);
        await same(`select b, ${item} from ${table} group by b`);
        await same(`select ${item} from ${table} where id = 1`);
        await same(`select id, ${item} from ${table} group by id`);
        await same(`select ${item} from ${table} where false`);
      }
    }
  });

  it('windows', async () => {
    for (const item of [
      'row_number() over (order by id)',
      'rank() over (order by b, i2)',
      'lag(t) over (order by id)',
      'lead(n, 2) over (order by id)',
      'first_value(t) over (partition by b order by id)',
      'sum(i4) over (order by id rows between 1 preceding and current row)',
      'count(*) over ()',
      'max(n) over (partition by b)',
      'sum(n) over (order by id)',
    ]) {
      await same(`select id, ${item} from h`);
    }
    expect(await same('select id, count(*) over (partition by id) from k')).toBe('pushdown duckdb');
  });

  it('falls back where front.md says so', async () => {
    const list = [
      'i4 << 2',
      'least(i4, n)',
      'case when b then n else 0 end',
      'sqrt(n)',
      'n ^ 2',
      'sum(free)',
      'avg(free)',
      'free + 1',
      "string_agg(t, ',')",
      'array_agg(i4)',
      'stddev(i4)',
      'percentile_cont(0.5) within group (order by n)',
      "to_char(d, 'YYYY')",
      "t ~ 'a'",
      "regexp_replace(t, 'a', 'b')",
      "interval '1 mon' = interval '30 days'",
      'age(d)',
      "j->>'a'",
      'n::text::float8',
      'sum(f::float4)',
      'exp(f)',
      'reverse(t)',
      'initcap(t)',
      'upper(t)',
      't::date',
      'row(i4, i2)',
      'tz::date',
      "date_trunc('century', ts)",
      'array[i4]',
      't collate "en_US" = t',
      'grouping(b)',
    ];
    for (const item of list) {
      const plan = await cluster
        .plan(`select ${item} from h${item === 'grouping(b)' ? ' group by rollup(b)' : ''}`)
        .catch(() => null);
      if (plan !== null) await fallsBack(`select ${item} from h${item === 'grouping(b)' ? ' group by rollup(b)' : ''}`);
    }
  });

  it('raises rather than answer what PostgreSQL refuses', async () => {
    for (const item of [
      'i4 / 0',
      'i4 % (i4 - i4)',
      'n / 0',
      'i4 + 1',
      'i8 * 2',
      'i2::int2 + 1::int2',
      'f / 0',
      'f * 1e10::float8 * f',
      'substring(t, 1, -1)',
      'n::numeric(3,2)',
      '(select i4 from r)',
      'i8::int4',
    ]) {
      for (const table of ['h', 'k']) {
        await expect(cluster.oracle(`select ${item} from ${table}`), item).rejects.toThrow();
        await fallsBack(`select ${item} from ${table}`);
      }
    }
  });
});

describe('tiers', () => {
  it('router: one value of the distribution column, reference tables beside it', async () => {
    expect(await same('select * from h where id = 1')).toBe('router sqlite');
    expect(await same('select * from k where id = 1')).toBe('router duckdb');
    expect(await same('select h.id, r.t from h join r on h.i4 = r.i4 where h.id = 1')).toBe('router duckdb');
    expect(await same('select a.id, b.t from h a join h b on a.id = b.id where b.id = 2 order by 1 limit 1')).toBe(
      'router sqlite',
    );
    expect(await same('select count(*), avg(n) from k where id = 4 group by b having count(*) > 0')).toBe('router duckdb');
    expect(await same('select * from (select id, count(*) c from k group by id) x where id = 3')).toBe('router duckdb');
    expect(await same('select x.id from (select * from h where id = 1) x join h y on x.id = y.id')).toBe('router sqlite');
    expect(await same('select * from r')).toBe('router sqlite');
    expect(await same('select * from l order by 1')).toBe('router sqlite');
    expect(await same('select r.t, l.t from r left join l using (i4) order by 1')).toBe('router duckdb');
  });

  it('prunes shards by lists and parameters', async () => {
    const plan = await readPlan('select * from h where id in (1, 2)');
    expect(plan.tier).toBe('pushdown');
    expect(plan.inputs[0]!.where).toMatchObject({ keys: [{ text: '1' }, { text: '2' }] });
    await same('select * from h where id in (1, 2)');
    expect(await same('select t from h where id = $1', ['4'])).toBe('router sqlite');
    expect(await same('select t from k where id = $1 and n > $2', ['4', '1.005'])).toBe('router duckdb');
    expect(await same('select n from h where id = $1 and n = $2', ['1', '1.5'])).toBe('router sqlite');
    await same('select id, n from h where n > $1 order by id limit $2', ['-1.50001', '3']);
    await same('select id from h where i4 = any($1)', ['{7,0}']);
    await same('select id from k where i4 = any($1)', ['{7,0}']);
    await same('select id from k where t = $1 or d > $2 or b = $3', ['alpha', '2000-01-01', 't']);
    await same('select id from h where t = $1 or d > $2 or b = $3 or c = $4', ['alpha', '2000-01-01', 't', 'ab ']);
  });

  it('never prunes by what an outer join says of its kept side', async () => {
    for (const sql of [
      'select a.id, b.id from h a left join h b on a.id = b.id and b.id = 2',
      'select a.id, b.id from h a left join h b on a.id = b.id and a.id = 2',
      'select a.id, b.id from h a full join h b on a.id = b.id and a.id = 2',
      'select a.id, b.id from h a right join h b on a.id = b.id and b.id = 2',
      'select a.id, b.id from h a left join h b on a.id = b.id where b.id = 2',
      'select r.t, k.id from r left join k on r.i4 = k.i4',
      'select id from h where id = 1 or id = 2',
      'select id from h where not (id = 1)',
      'select id from h a where id not in (select id from h b where b.id = 1)',
    ]) {
      await same(sql);
    }
  });

  it('loads what a fallback needs, and no more than it may filter', async () => {
    const plan = await cluster.fallback("select string_agg(t, ',') from h where i4 > 0 and upper(t) <> 'X'");
    expect(plan.finish).toMatchObject({ engine: 'pglite', load: [{ tableId: 1, columns: [3, 8].map((n) => n) }] });
    const rows = [...(await cluster.gather(plan)).values()][0]!;
    expect(rows.length).toBe(2);
    const twice = await cluster.fallback('select a.t from h a, h b where a.i4 > 0 and b.i4 < 0');
    expect([...(await cluster.gather(twice)).values()][0]!.length).toBe(6);
  });

  it('refuses what no tier may answer', async () => {
    for (const sql of [
      'select ctid from h',
      'select tableoid, * from h',
      'select * from h for update',
      "select nextval('s') from h",
      'select pg_relation_size(16384) from h',
      'select txid_current(), id from h',
    ]) {
      await cluster.pg.exec('create sequence if not exists s');
      await expect(cluster.plan(sql), sql).rejects.toMatchObject({ sqlstate: '0A000' });
    }
  });
});
