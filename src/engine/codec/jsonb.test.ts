import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isCanonicalJsonb } from './jsonb.js';
import { randomSource, randomText } from './testing.js';

let pg: PGlite;
beforeAll(async () => {
  pg = await PGlite.create();
});
afterAll(() => pg.close());

const random = randomSource();
const SCALARS = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '-0.0',
  '1.50',
  '1e3',
  '1.5e-2',
  '-12.30',
  '100000000000000000000.001',
  '"\\u0041"',
  '"\\u0001"',
  '"\\/"',
];

/** JSON text with blanks or none, repeated keys, keys in any order. */
function randomJson(depth: number): string {
  const kind = random.below(depth > 0 ? 5 : 2);
  const space = random.below(4) === 0 ? '' : ' ';
  if (kind === 0) return SCALARS[random.below(SCALARS.length)]!;
  if (kind === 1) return JSON.stringify(randomText(random, 6));
  const items = Array.from({ length: random.below(4) }, () => randomJson(depth - 1));
  if (kind === 2) return `[${items.join(`,${space}`)}]`;
  return `{${items.map((item) => `${JSON.stringify(randomText(random, 2))}:${space}${item}`).join(`,${space}`)}}`;
}

it('says yes only where PostgreSQL prints the same, and to most of what it prints', async () => {
  const texts = Array.from({ length: 3000 }, () => randomJson(3));
  const { rows } = await pg.query<{ v: string }>(
    'select v::jsonb::text as v from unnest($1::text[]) with ordinality as u(v, n) order by n',
    [texts],
  );
  const says = (text: string) => isCanonicalJsonb(Buffer.from(text), 0, Buffer.byteLength(text));
  const wrong = texts.filter((text, i) => says(text) && text !== rows[i]!.v);
  expect(wrong).toEqual([]);
  const known = rows.filter(({ v }) => says(v));
  expect(known.length).toBeGreaterThan(rows.length * 0.8);
  expect(says(`${'['.repeat(1000)}${']'.repeat(1000)}`)).toBe(false);
});
