import { Cluster, type Row, type TableSpec } from './cluster.js';
import type { Random } from './random.js';

/** Two colocated heap tables, two colocated columnar ones, a reference and a local table. */
export const TABLES: TableSpec[] = [
  {
    name: 'orders',
    ddl: `create table orders (id int primary key, customer int, amount numeric(10,2), status varchar(10), placed date, at timestamp,
      big bigint, small smallint, flag boolean, code char(4), ratio float8, free numeric, note text, ref uuid, doc json)`,
    distribution: { kind: 'distributed', column: 'id', colocationId: 2 },
  },
  {
    name: 'items',
    ddl: 'create table items (id int, line int, qty int, price numeric(8,3), label text)',
    distribution: { kind: 'distributed', column: 'id', colocationId: 2 },
  },
  {
    name: 'events',
    ddl: `create table events (id bigint, kind text, value numeric(12,2), n int, at timestamp, day date, ok boolean, code char(4), score float8, wide numeric(30,4))`,
    columnar: true,
    distribution: { kind: 'distributed', column: 'id', colocationId: 3 },
  },
  {
    name: 'marks',
    ddl: 'create table marks (id bigint, tag text, w int)',
    columnar: true,
    distribution: { kind: 'distributed', column: 'id', colocationId: 3 },
  },
  {
    name: 'kinds',
    ddl: 'create table kinds (kind text primary key, rank int, factor numeric(5,3))',
    distribution: { kind: 'reference' },
  },
  { name: 'plain', ddl: 'create table plain (a int, b text, c numeric(6,2))', distribution: { kind: 'local' } },
];

const WORDS = [
  'alpha',
  'beta',
  'gamma',
  'Delta',
  'eps ilon',
  'zeta',
  'été',
  "o'clock",
  '',
  'a%b',
  'x_y',
  'back\\slash',
  '{{t0}}',
  '$1',
];

/** The rows of all tables, in the order in which they are drawn. */
export function fixtureRows(random: Random): [table: string, rows: Row[]][] {
  const loads: [string, Row[]][] = [];
  const load = (table: string, list: Row[]) => loads.push([table, list]);
  const maybe = (value: () => string, chance = 0.12): string | null => (random.chance(chance) ? null : value());
  const numeric = (digits: number, scale: number) => (random.int(-(10 ** digits), 10 ** digits) / 10 ** scale).toFixed(scale);
  const date = () => new Date(Date.UTC(1995, 0, random.int(1, 12000))).toISOString().slice(0, 10);
  const stamp = () => `${date()} ${new Date(random.int(0, 86399999)).toISOString().slice(11, 23)}`;
  const word = () => random.pick(WORDS);
  const rows = (count: number, make: (i: number) => Row): Row[] => Array.from({ length: count }, (_, i) => make(i));
  load(
    'orders',
    rows(60, (i) => [
      String(i + 1),
      maybe(() => String(random.int(1, 8))),
      maybe(() => numeric(5, 2)),
      maybe(() => random.pick(['new', 'paid', 'sent', 'lost'])),
      maybe(date),
      maybe(stamp),
      maybe(() => String(random.int(-(2 ** 40), 2 ** 40))),
      maybe(() => String(random.int(-50, 50))),
      maybe(() => (random.chance(0.5) ? 't' : 'f')),
      maybe(() => random.pick(['a', 'ab', 'abc', 'abcd'])),
      maybe(() => String(random.int(-1000, 1000) / 8)),
      maybe(() => numeric(4, random.int(0, 5))),
      maybe(word),
      maybe(() => `00000000-0000-4000-8000-0000000000${String(random.int(10, 99))}`),
      maybe(() => '{"a": 1}'),
    ]),
  );
  load(
    'items',
    rows(120, (i) => [
      String(random.int(1, 65)),
      String(i % 7),
      maybe(() => String(random.int(-5, 20))),
      maybe(() => numeric(5, 3)),
      maybe(word),
    ]),
  );
  load(
    'events',
    rows(150, () => [
      String(random.int(1, 40)),
      maybe(() => random.pick(['view', 'click', 'buy', 'none'])),
      maybe(() => numeric(6, 2)),
      maybe(() => String(random.int(-9, 9))),
      maybe(stamp),
      maybe(date),
      maybe(() => (random.chance(0.5) ? 't' : 'f')),
      maybe(() => random.pick(['a', 'ab', 'abcd'])),
      maybe(() => String(random.int(-100, 100) / 4)),
      maybe(() => numeric(9, 4)),
    ]),
  );
  load(
    'marks',
    rows(60, () => [String(random.int(1, 45)), maybe(word), maybe(() => String(random.int(1, 30)))]),
  );
  load('kinds', [
    ['view', '1', '0.500'],
    ['click', '2', '1.250'],
    ['buy', '3', '2.000'],
    ['gone', null, null],
  ]);
  load(
    'plain',
    rows(20, (i) => [String(i), maybe(word), maybe(() => numeric(4, 2))]),
  );
  return loads;
}

export async function fixture(random: Random): Promise<Cluster> {
  const cluster = await Cluster.create(TABLES);
  for (const [table, list] of fixtureRows(random)) await cluster.load(table, list);
  return cluster;
}
