import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, it } from 'vitest';
import { Oid } from '../../model/storage.js';
import { numericDivide, scaledText } from '../codec/numeric.js';
import type { Expr } from './expr.js';
import { quotient } from './quotient.js';

function column(sql: string, scale: number): Expr {
  return { sql, type: Oid.numeric, typmod: -1, rep: 'plain', depth: 1, scale, precision: 18 };
}

describe('the numeric quotient in DuckDB SQL', () => {
  it('is the one of the numeric library, digit by digit, or raises', async () => {
    const seed = 7;
    let state = seed;
    const random = (limit: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state % limit;
    };
    const connection = await (await DuckDBInstance.create(':memory:')).connect();
    let raised = 0;
    for (let round = 0; round < 40; round++) {
      const [s1, s2] = [random(5), random(7)];
      const pairs = Array.from({ length: 25 }, () => {
        const a = BigInt(random(2 ** 30)) * 10n ** BigInt(random(6)) * (random(2) === 0 ? 1n : -1n);
        const b = BigInt(1 + random(10 ** (1 + random(8))));
        return [random(12) === 0 ? 0n : a, b] as const;
      });
      const texts = pairs.map(([a, b]) => [scaledText(a, s1), scaledText(b, s2)] as const);
      const { text = '', sql } = quotient([], column('p.a', s1), column('p.b', s2));
      const list = texts
        .map(([a, b], i) => `(${i}, CAST('${a}' AS DECIMAL(38,${s1})), CAST('${b}' AS DECIMAL(38,${s2})))`)
        .join(', ');
      const from = `FROM (VALUES ${list}) AS p(i, a, b)`;
      const shown = await connection.runAndReadAll(`SELECT ${text} ${from} ORDER BY p.i`);
      const want = texts.map(([a, b]) => numericDivide(a, b));
      expect(
        shown.getRows().map((row) => row[0]),
        `seed ${seed}`,
      ).toEqual(want);
      const value = await connection
        .runAndReadAll(`SELECT ${sql} = CAST('${want[0]}' AS DECIMAL(38,20)) ${from} WHERE p.i = 0`)
        .catch(() => null);
      // The value form has 20 digits after the point; what needs more raises.
      if (value === null) raised++;
      else expect(value.getRows()[0]![0]).toBe(true);
    }
    expect(raised).toBeLessThan(20);
    connection.closeSync();
  });
});
