import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CopyOptionValue, parseCopyOptions } from './copy-options.js';
import { CopyOutWriter } from './copy-out.js';
import { RowWriter } from './rowwriter.js';
import { randomSource, randomText } from './testing.js';

let pg: PGlite;
beforeAll(async () => {
  pg = await PGlite.create();
  await pg.exec('create table t(a text, "B,c" text)');
});
afterAll(() => pg.close());

const CSV: [string, CopyOptionValue] = ['format', 'csv'];
const cases: [string, [string, CopyOptionValue][]][] = [
  ['', []],
  [
    "(header, delimiter '|', null '')",
    [
      ['header', true],
      ['delimiter', '|'],
      ['null', ''],
    ],
  ],
  ["(null 'abc')", [['null', 'abc']]],
  ['(format csv)', [CSV]],
  ["(format csv, header, force_quote *, delimiter ';')", [CSV, ['header', true], ['force_quote', '*'], ['delimiter', ';']]],
  [
    "(format csv, quote '''', escape '\\', null 'NIL', force_quote (a))",
    [CSV, ['quote', "'"], ['escape', '\\'], ['null', 'NIL'], ['force_quote', ['a']]],
  ],
];

describe('CopyOutWriter against PostgreSQL', () => {
  const random = randomSource();
  const some = (): string | null => (random.below(6) === 0 ? null : randomText(random, 12));
  const rows: (string | null)[][] = [
    ['', null],
    ['abc', 'NIL'],
    ['\\.', '\\N'],
    ['\b\f\v\r', '\u0001|;'],
    [' lead', 'trail '],
    ...Array.from({ length: 300 }, () => [some(), some()]),
  ];

  it.each(cases)('COPY t TO STDOUT %s', async (sql, pairs) => {
    await pg.exec('truncate t');
    for (const row of rows) await pg.query('insert into t values ($1, $2)', row);
    const { blob } = await pg.query(`copy t to '/dev/blob' ${sql}`);
    const out = new RowWriter();
    for (const row of rows) {
      out.beginRow(2);
      for (const value of row) value === null ? out.nullField() : out.textField(value);
      out.endRow();
    }
    const writer = new CopyOutWriter(['a', 'B,c'], parseCopyOptions(pairs, 'to'));
    const ours = Buffer.concat([writer.header(), writer.lines(out.take())]);
    expect(ours.toString()).toBe(await blob!.text());
  });

  it('quotes what would read as NULL or as the end, in one column', async () => {
    await pg.exec('create table one(a text)');
    const values = ['', null, '\\.', 'x'];
    for (const value of values) await pg.query('insert into one values ($1)', [value]);
    const { blob } = await pg.query("copy one to '/dev/blob' (format csv)");
    const out = new RowWriter();
    for (const value of values) {
      out.beginRow(1);
      value === null ? out.nullField() : out.textField(value);
      out.endRow();
    }
    const writer = new CopyOutWriter(['a'], parseCopyOptions([CSV], 'to'));
    expect(writer.lines(out.take()).toString()).toBe(await blob!.text());
  });

  it('refuses FORCE_QUOTE of an unknown column', () => {
    expect(() => new CopyOutWriter(['a'], parseCopyOptions([CSV, ['force_quote', ['z']]], 'to'))).toThrow(
      'FORCE_QUOTE column "z" not referenced by COPY',
    );
  });
});
