import { beforeAll, describe, expect, it } from 'vitest';
import { loadParser } from './parser.js';
import { splitStatements } from './split.js';

beforeAll(loadParser);

const textOf = (sql: string) => splitStatements(sql)[0]?.sql;

describe('names of catalog columns that older clients know', () => {
  it.each([
    [
      'SELECT d.daticulocale as "ICU Locale" FROM pg_catalog.pg_database d',
      'SELECT d.datlocale    as "ICU Locale" FROM pg_catalog.pg_database d',
    ],
    ['SELECT c.COLLICULOCALE AS x FROM pg_collation c', 'SELECT c.colllocale    AS x FROM pg_collation c'],
    ['SELECT \'daticulocale\' AS daticulocale_, "daticulocale" FROM pg_database', null],
    ['SELECT daticulocale FROM mine, pg_database', null],
    ['SELECT (SELECT daticulocale FROM s.pg_database) FROM pg_database', null],
  ])('%s', (sql, expected) => {
    expect(textOf(sql)).toBe(expected ?? sql);
  });
});
