import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { numericAdd, numericDivide, scaledText } from './numeric.js';
import { randomSource } from './testing.js';

let pg: PGlite;
beforeAll(async () => {
  pg = await PGlite.create();
});
afterAll(() => pg.close());

describe('numericDivide', () => {
  const random = randomSource();
  const digits = (n: number) => Array.from({ length: 1 + random.below(n) }, () => random.below(10)).join('');
  const number = () => {
    const sign = random.below(3) === 0 ? '-' : '';
    if (random.below(4) === 0) return sign + BigInt(digits(25));
    if (random.below(4) === 0) return `${sign}0.${'0'.repeat(random.below(12))}${digits(8)}1`;
    return `${sign}${BigInt(digits(12))}.${digits(10)}`;
  };

  it('equals PostgreSQL on random pairs', async () => {
    const pairs = Array.from({ length: 800 }, () => [number(), number()] as const).filter(([, b]) => !/^-?[0.]+$/.test(b));
    const { rows } = await pg.query<{ q: string; s: string }>(
      'select (a::numeric / b::numeric)::text as q, (a::numeric + b::numeric)::text as s from unnest($1::text[], $2::text[]) with ordinality as u(a, b, n) order by n',
      [pairs.map(([a]) => a), pairs.map(([, b]) => b)],
    );
    expect(pairs.length).toBeGreaterThan(500);
    expect(pairs.map(([a, b]) => numericDivide(a, b))).toEqual(rows.map((row) => row.q));
    expect(pairs.map(([a, b]) => numericAdd(a, b))).toEqual(rows.map((row) => row.s));
  });

  it('special values', async () => {
    const values = ['NaN', 'Infinity', '-Infinity', '1', '-2.5', '0'];
    for (const a of values) {
      for (const b of values) {
        const expected = await pg.query<{ q: string }>('select ($1::numeric / $2::numeric)::text as q', [a, b]).then(
          ({ rows }) => rows[0]!.q,
          (error: Error) => error.message,
        );
        const ours = (() => {
          try {
            return numericDivide(a, b);
          } catch (error) {
            return (error as Error).message;
          }
        })();
        expect([a, b, ours]).toEqual([a, b, expected]);
      }
    }
  });

  it('prints scaled integers', () => {
    expect(scaledText(-5n, 2)).toBe('-0.05');
    expect(scaledText(1234, 2)).toBe('12.34');
    expect(scaledText(0, 3)).toBe('0.000');
  });
});
