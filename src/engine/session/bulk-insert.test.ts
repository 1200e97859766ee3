import { beforeAll, describe, expect, it } from 'vitest';
import { firstRowOfBulkInsert } from './bulk-insert.js';
import { loadParser } from './parser.js';
import { splitStatements } from './split.js';

beforeAll(() => loadParser());

const first = (sql: string) => firstRowOfBulkInsert(splitStatements(sql).at(-1)!);
const many = (row: string) => new Array(100).fill(row).join(', ');

describe('an INSERT of many constant rows', () => {
  it('is analysed by its first row', () => {
    expect(
      first(`select 'é'; insert into "values" (a, b) values ${many("(-1, 'it''s )', null, default, '1'::numeric(3, 1))")}`),
    ).toBe(`insert into "values" (a, b) values (-1, 'it''s )', null, default, '1'::numeric(3, 1))`);
  });

  it.each([
    ['few rows', 'insert into t values (1), (2)'],
    ['expressions', `insert into t values ${many('(1 + 1)')}`],
    ['functions', `insert into t values ${many('(now())')}`],
    ['a conflict clause', `insert into t values ${many('(1)')} on conflict do nothing`],
    ['RETURNING', `insert into t values ${many('(1)')} returning a`],
    ['escapes', `insert into t values ${many("(E'\\'')")}`],
    ['a query', 'insert into t select 1'],
  ])('is analysed as a whole with %s', (_, sql) => expect(first(sql)).toBeNull());
});
