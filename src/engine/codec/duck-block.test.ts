import { DuckDBInstance, LIST, listValue } from '@duckdb/node-api';
import { describe, expect, it } from 'vitest';
import { fitsBlock, isBlock, packBlock, unpackBlock } from './duck-block.js';

/** One row of extremes for each type that a fragment can give, and how its lists are bound again. */
const VALUES: Record<string, string[]> = {
  BOOLEAN: ['true', 'false'],
  TINYINT: ['-128', '127'],
  UTINYINT: ['0', '255'],
  SMALLINT: ['-32768', '32767'],
  USMALLINT: ['65535'],
  INTEGER: ['-2147483648', '2147483647'],
  UINTEGER: ['4294967295'],
  BIGINT: ['-9223372036854775808', '9223372036854775807', '9007199254740993'],
  UBIGINT: ['18446744073709551615'],
  HUGEINT: [
    "'-170141183460469231731687303715884105728'",
    "'170141183460469231731687303715884105727'",
    '-1',
    '18446744073709551616',
  ],
  FLOAT: ["'-0.0'", "'NaN'", "'Infinity'", "'-Infinity'", '1.1'],
  DOUBLE: ["'-0.0'", "'NaN'", "'Infinity'", '0.1', '5e-324', '1.7976931348623157e308'],
  'DECIMAL(4,2)': ["'-99.99'", "'0.01'"],
  'DECIMAL(9,0)': ["'-999999999'"],
  'DECIMAL(18,6)': ["'-999999999999.999999'"],
  'DECIMAL(38,10)': ["'-9999999999999999999999999999.9999999999'", "'0'"],
  DATE: ["'infinity'", "'-infinity'", "'2024-02-29'", "'4000-01-01 (BC)'"],
  TIME: ["'00:00:00'", "'23:59:59.999999'", "'24:00:00'"],
  TIMESTAMP: ["'infinity'", "'-infinity'", "'2024-02-29 12:34:56.789012'", "'1900-01-01'"],
  TIMESTAMPTZ: ["'infinity'", "'2024-02-29 12:34:56.789012+00'"],
  UUID: [
    "'00000000-0000-0000-0000-000000000000'",
    "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    "'7fffffff-0000-4000-8000-00000000000a'",
  ],
  VARCHAR: ["''", "'žlutý kůň 🐎 and more than twelve bytes'", "'a''b'", "'x'", "'NULL'"],
  BLOB: ["'\\x00\\xFF'::BLOB", "''::BLOB", "'\\x00 longer than twelve bytes \\x80'::BLOB"],
};

describe('blocks of rows', () => {
  it('bring every type back as it was, NULLs too, through lists bound to a statement', async () => {
    const instance = await DuckDBInstance.create(':memory:', { autoload_known_extensions: 'false' });
    const connection = await instance.connect();
    await connection.run("SET TimeZone = 'UTC'");
    for (const [type, literals] of Object.entries(VALUES)) {
      const rows = [...literals, 'NULL', ...literals].map((literal) => `(CAST(${literal} AS ${type}))`).join(', ');
      await connection.run(
        `CREATE OR REPLACE TEMP TABLE original AS SELECT row_number() OVER () AS n, o0 FROM (VALUES ${rows}) AS v(o0)`,
      );
      const result = await connection.run('SELECT o0 FROM original ORDER BY n');
      expect(fitsBlock(result.columnTypes()), type).toBe(true);
      const block = packBlock(result.getChunk(0), result.columnTypes());
      expect(isBlock(block)).toBe(true);
      const [column] = unpackBlock(block);
      expect(String(column!.type).replace('TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ')).toBe(type);
      const statement = await connection.prepare(
        `SELECT count(*), count(*) FILTER (typeof(c.o0) = typeof(o.o0) AND hash(c.o0) = hash(o.o0) AND c.o0::VARCHAR IS NOT DISTINCT FROM o.o0::VARCHAR)
         FROM (SELECT unnest($1::${type}[]) AS o0, generate_subscripts($1::${type}[], 1) AS n) AS c JOIN original AS o USING (n)`,
      );
      statement.bindList(1, listValue(column!.values), LIST(column!.type));
      expect((await (await statement.run()).getRows())[0], type).toEqual([
        BigInt(literals.length * 2 + 1),
        BigInt(literals.length * 2 + 1),
      ]);
      statement.destroySync();
    }
    connection.closeSync();
    instance.closeSync();
  });

  it('take neither nested types nor rows without columns', async () => {
    const instance = await DuckDBInstance.create(':memory:');
    const connection = await instance.connect();
    const result = await connection.run("SELECT [1, 2] AS a, 'x' AS b");
    expect(fitsBlock(result.columnTypes())).toBe(false);
    expect(fitsBlock([])).toBe(false);
    connection.closeSync();
    instance.closeSync();
  });
});
