import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Oid } from '../../model/storage.js';
import { type ColumnDef, rangeIndexOf } from '../../model/table.js';
import { type CopyBlock, CopyRouter, type CopyRouterConfig } from './copy-in.js';
import { type CopyOptionValue, copyOptionsSql, parseCopyOptions } from './copy-options.js';
import { CanonicalCsvReader, writeCanonicalRow } from './csv.js';
import { hashText } from './hash.js';
import { randomSource, randomText } from './testing.js';

const column = (attnum: number, name: string, typeOid: number, typmod = -1, notNull = false): ColumnDef => ({
  attnum,
  name,
  typeOid,
  typmod,
  notNull,
});
const text = (name: string, attnum = 1) => column(attnum, name, Oid.text);
const from = (...pairs: [string, CopyOptionValue][]) => parseCopyOptions(pairs, 'from');
const CSV: [string, CopyOptionValue] = ['format', 'csv'];

function router(columns: ColumnDef[], config: Partial<CopyRouterConfig> = {}): CopyRouter {
  return new CopyRouter({ columns, tableColumns: columns, options: from(), distribution: null, tableName: 't', ...config });
}

function feed(made: CopyRouter, input: Buffer, size = input.length): CopyBlock[] {
  const blocks: CopyBlock[] = [];
  for (let at = 0; at < input.length; at += size) blocks.push(...made.push(input.subarray(at, at + size)));
  return [...blocks, ...made.end()];
}

function taken(made: CopyRouter): (string | null)[][] {
  return made.takeShardBuffers(0).flatMap(({ csv }) => [...new CanonicalCsvReader(csv)]);
}

/** Rows that were routed, or the odd blocks' text. */
function outcome(columns: ColumnDef[], input: string, config: Partial<CopyRouterConfig> = {}): unknown {
  const made = router(columns, config);
  const blocks = feed(made, Buffer.from(input));
  const odd = blocks.flatMap((block) => (block.kind === 'odd' ? [[block.firstLine, block.rows, block.bytes.toString()]] : []));
  return odd.length > 0 ? { odd, rows: taken(made) } : taken(made);
}

describe('canonical CSV', () => {
  it('is read as it is written', () => {
    const random = randomSource();
    const rows = Array.from({ length: 500 }, () =>
      Array.from({ length: 1 + random.below(5) }, () => (random.below(5) === 0 ? null : randomText(random, 20))),
    );
    const csv = Buffer.from(rows.map(writeCanonicalRow).join(''));
    expect([...new CanonicalCsvReader(csv)]).toEqual(rows);
    expect([...new CanonicalCsvReader(Buffer.from('\n'))]).toEqual([[null]]);
    expect(() => [...new CanonicalCsvReader(Buffer.from('a,b'))]).toThrow('ends inside a row');
    expect(() => [...new CanonicalCsvReader(Buffer.from('"a\n'))]).toThrow('open quote');
  });
});

describe('CopyRouter, text format', () => {
  const ab = [column(1, 'a', Oid.int4), text('b', 2)];

  it('routes plain rows, NULLs and escapes', () => {
    expect(outcome(ab, '1\tone\n2\t\\N\n3\t\n4\ta\\tb\\\\c\\nd"e,f\n\\N\tx\n5\tlast')).toEqual([
      ['1', 'one'],
      ['2', null],
      ['3', ''],
      ['4', 'a\tb\\c\nd"e,f'],
      [null, 'x'],
      ['5', 'last'],
    ]);
  });

  it('hands back the rest of a block from the first odd row on', () => {
    expect(outcome(ab, '1\tone\n 2\ttwo\n3\tthree\n')).toEqual({ odd: [[2, 2, ' 2\ttwo\n3\tthree\n']], rows: [['1', 'one']] });
    expect(outcome(ab, '1\n')).toEqual({ odd: [[1, 1, '1\n']], rows: [] });
    expect(outcome(ab, '1\ta\tb\n')).toEqual({ odd: [[1, 1, '1\ta\tb\n']], rows: [] });
    expect(outcome(ab, '1\t\\x41\n')).toEqual({ odd: [[1, 1, '1\t\\x41\n']], rows: [] });
    expect(outcome(ab, '1\ta\\\nb\n2\tc\n')).toEqual({ odd: [[1, 2, '1\ta\\\nb\n2\tc\n']], rows: [] });
    expect(outcome(ab, '1\ta\\')).toEqual({ odd: [[1, 1, '1\ta\\']], rows: [] });
    expect(outcome([column(1, 'a', Oid.int4, -1, true)], '\\N\n')).toEqual({ odd: [[1, 1, '\\N\n']], rows: [] });
  });

  it('stops at the end marker', () => {
    expect(outcome(ab, '1\tone\n\\.\n2\ttwo\n')).toEqual([['1', 'one']]);
    expect(outcome(ab, ' 1\tone\n\\.\n2\ttwo\n')).toEqual({ odd: [[1, 1, ' 1\tone\n']], rows: [] });
    expect(outcome([text('b')], '\\.x\n')).toEqual({ odd: [[1, 1, '\\.x\n']], rows: [] });
  });

  it('takes CRLF, and refuses mixed line ends as PostgreSQL does', () => {
    expect(outcome(ab, '1\tone\r\n2\ttwo\r\n3\tthree')).toEqual([
      ['1', 'one'],
      ['2', 'two'],
      ['3', 'three'],
    ]);
    expect(() => outcome(ab, '1\tone\n2\ttwo\r\n')).toThrow('literal carriage return found in data');
    expect(() => outcome(ab, '1\tone\r\n2\ttwo\n')).toThrow('literal newline found in data');
  });

  it('refuses bytes that are not UTF-8, in the block where they are', () => {
    const made = router([text('b')]);
    const input = Buffer.concat([Buffer.from('ok\n'), Buffer.from([0x61, 0xff, 0x0a])]);
    expect(feed(made, input).map((block) => block.kind)).toEqual(['odd']);
  });

  it('permutes columns and fills absent ones with NULL where that is right', () => {
    const table = [column(1, 'a', Oid.int4), text('b', 2), text('c', 3)];
    const columns = [table[2]!, table[0]!];
    expect(outcome(columns, 'x\t1\n', { tableColumns: table, absentAreNull: true })).toEqual([['1', null, 'x']]);
    expect(outcome(columns, 'x\t1\n', { tableColumns: table })).toEqual({ odd: [[1, 1, 'x\t1\n']], rows: [] });
    expect(outcome(ab, '1\ta\n', { needsFront: true })).toEqual({ odd: [[1, 1, '1\ta\n']], rows: [] });
  });
});

describe('CopyRouter, CSV', () => {
  const ab = [column(1, 'a', Oid.int4), text('b', 2)];
  const csv = { options: from(CSV) };

  it('routes quoted and plain fields', () => {
    expect(outcome(ab, '1,one\n2,\n3,""\n"4","a ""b"", c\nd"\n5,"x"', csv)).toEqual([
      ['1', 'one'],
      ['2', null],
      ['3', ''],
      ['4', 'a "b", c\nd'],
      ['5', 'x'],
    ]);
    expect(
      outcome(ab, "1|'it''s'|x".slice(0, 9).concat('\n'), { options: from(CSV, ['delimiter', '|'], ['quote', "'"]) }),
    ).toEqual([['1', "it's"]]);
    expect(outcome(ab, '1,"a\\"b\\\\c"\n', { options: from(CSV, ['escape', '\\']) })).toEqual([['1', 'a"b\\c']]);
    expect(outcome(ab, '1,none\n', { options: from(CSV, ['null', 'none']) })).toEqual([['1', null]]);
    expect(outcome(ab, '1,"none"\n', { options: from(CSV, ['null', 'none']) })).toEqual([['1', 'none']]);
  });

  it('counts lines inside quotes, and skips the header', () => {
    expect(outcome(ab, 'a,b\n1,"x\ny"\n2,z\n 3,q\n', { options: from(CSV, ['header', true]) })).toEqual({
      odd: [[5, 1, ' 3,q\n']],
      rows: [
        ['1', 'x\ny'],
        ['2', 'z'],
      ],
    });
    expect(outcome(ab, 'a,b\n', { options: from(CSV, ['header', true]) })).toEqual([]);
    expect(outcome(ab, 'a,"b"\n1,x\n', { options: from(CSV, ['header', 'match']) })).toEqual([['1', 'x']]);
    expect(() => outcome(ab, 'a,c\n', { options: from(CSV, ['header', 'match']) })).toThrow(
      'column name mismatch in header line field 2: got "c", expected "b"',
    );
    expect(() => outcome(ab, 'a\n', { options: from(CSV, ['header', 'match']) })).toThrow(
      'wrong number of fields in header line: got 1, expected 2',
    );
  });

  it('hands back what is unusual', () => {
    expect(outcome(ab, '1,a"b"c\n', csv)).toEqual({ odd: [[1, 1, '1,a"b"c\n']], rows: [] });
    expect(outcome(ab, '1,"open\n2,x\n', csv)).toEqual({ odd: [[1, 1, '1,"open\n2,x\n']], rows: [] });
    expect(outcome(ab, '1,b\n\\.\n', csv)).toEqual([['1', 'b']]);
    expect(outcome([text('b')], '\\.\n\n', csv)).toEqual([['\\.'], [null]]);
  });
});

describe('fields', () => {
  const jsonb = ['{"a": 1}', '{"a": 1, "b": [1, 2.50, "x\\n"], "aa": {"c": null}}', '[]', '"ä"', '-1.5', 'true', '{}'];
  const notJsonb = [
    '{"a":1}',
    '{"b": 1, "a": 2}',
    '{"a": 1, "a": 2}',
    '{"aa": 1, "b": 2}',
    '-0',
    '1e5',
    '01',
    '[1,2]',
    '"\\u00e4"',
    '"\\/"',
    ' 1',
    '1 ',
    '{"a": 1',
    '"\t"',
  ];
  const numeric = (p: number, s: number) => ((p << 16) | s) + 4;
  const cases: [string, number, number, string[], string[]][] = [
    ['int2', Oid.int2, -1, ['0', '-32768', '32767'], ['32768', '-0', '+1', '01', '', '1.0', ' 1', '99999999999999']],
    ['int4', Oid.int4, -1, ['-2147483648', '2147483647'], ['2147483648', '-2147483649', '1e3']],
    [
      'int8',
      Oid.int8,
      -1,
      ['9223372036854775807', '-9223372036854775808', '123'],
      ['9223372036854775808', '-9223372036854775809', '10000000000000000000'],
    ],
    ['oid', Oid.oid, -1, ['4294967295'], ['4294967296', '-1']],
    ['bool', Oid.bool, -1, ['t', 'f'], ['yes', '1', 'T', 'tr', '']],
    [
      'float8',
      Oid.float8,
      -1,
      ['1.5', '-0', '1e+09', '-1.25e-08', 'NaN', 'Infinity', '-Infinity'],
      ['1e400', '1.', '.5', 'nan', '1e+10', 'x', ''],
    ],
    ['decimal', Oid.numeric, numeric(5, 2), ['999.99', '-0.01', '0.00'], ['1000', '1.005', '-0.00', '.5', '1e2', 'NaN', '01.00']],
    ['numeric', Oid.numeric, -1, ['1.500', '123456789012345678901234567890'], ['-0', '1e5', 'NaN', '1.']],
    ['text', Oid.text, -1, ['a', 'ä😀', 'a,b', 'say "x"', ' blank ', '\\.'], []],
    ['varchar', Oid.varchar, 7, ['abc', 'äöü'], ['abcd', 'abc ']],
    ['bpchar', Oid.bpchar, 7, ['abc', 'a'], ['abcd']],
    ['bytea', Oid.bytea, -1, ['\\x00ff', '\\x'], ['\\x0', '\\xFF', 'abc']],
    [
      'date',
      Oid.date,
      -1,
      ['2024-02-29', '0001-01-01', '9999-12-31'],
      ['2023-02-29', '0000-01-01', '2024-1-1', 'infinity', '0044-03-15 BC', '20240101'],
    ],
    ['time', Oid.time, -1, ['23:59:59.999999', '00:00:00'], ['24:00:00', '12:34', '12:34:56.1234567', '12:34:60']],
    [
      'timestamp',
      Oid.timestamp,
      -1,
      ['2024-02-29 23:59:59.5'],
      ['2024-02-29', '2024-02-30 00:00:00', '2024-02-29 00:00:00+00', 'infinity'],
    ],
    ['timestamp(0)', Oid.timestamp, 0, ['2024-02-29 23:59:59'], ['2024-02-29 23:59:59.5']],
    ['timestamptz', Oid.timestamptz, -1, ['2024-02-29 23:59:59.5+00'], ['2024-02-29 23:59:59', '2024-02-29 23:59:59+99', 'now']],
    [
      'uuid',
      Oid.uuid,
      -1,
      ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
      ['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc999c0b4ef8bb6d6bb9bd380a11'],
    ],
    ['jsonb', Oid.jsonb, -1, jsonb, notJsonb],
    ['interval', Oid.interval, -1, [], ['1 day']],
  ];

  it.each(cases)('%s', (_, typeOid, typmod, plain, odd) => {
    const columns = [column(1, 'x', Oid.int4), column(2, 'v', typeOid, typmod)];
    const options = { options: from(CSV, ['null', 'NULL']) };
    const line = (value: string) => `1,"${value.replaceAll('"', '""')}"\n`;
    for (const value of plain) expect(outcome(columns, line(value), options)).toEqual([['1', value]]);
    for (const value of odd)
      expect([value, outcome(columns, line(value), options)]).toEqual([value, { odd: [[1, 1, line(value)]], rows: [] }]);
  });

  it('brings some forms to the canonical one', () => {
    const one = (typeOid: number, typmod: number, value: string) => outcome([column(1, 'v', typeOid, typmod)], `${value}\n`);
    expect(one(Oid.bool, -1, 'true')).toEqual([['t']]);
    expect(one(Oid.bpchar, 9, 'ab   ')).toEqual([['ab']]);
    expect(one(Oid.numeric, numeric(10, 3), '1.5')).toEqual([['1.500']]);
    expect(one(Oid.numeric, numeric(10, 3), '-7')).toEqual([['-7.000']]);
    expect(one(Oid.timestamp, -1, '2024-01-01T00:00:00')).toEqual([['2024-01-01 00:00:00']]);
    expect(one(Oid.timestamptz, -1, '2024-01-01T00:00:00Z')).toEqual([['2024-01-01 00:00:00+00']]);
    expect(one(Oid.timestamptz, -1, '2024-01-01 00:00:00+02')).toEqual([['2023-12-31 22:00:00+00']]);
    expect(one(Oid.timestamptz, -1, '2024-01-01 00:00:00-05:30')).toEqual([['2024-01-01 05:30:00+00']]);
  });
});

describe('against PostgreSQL', () => {
  let pg: PGlite;
  beforeAll(async () => {
    pg = await PGlite.create();
    await pg.exec('create table t(k int8, s text, v varchar(10), d date, n numeric(8,2), b bool)');
  });
  afterAll(() => pg.close());
  const columns = [
    column(1, 'k', Oid.int8),
    text('s', 2),
    column(3, 'v', Oid.varchar, 14),
    column(4, 'd', Oid.date),
    column(5, 'n', Oid.numeric, ((8 << 16) | 2) + 4),
    column(6, 'b', Oid.bool),
  ];
  const random = randomSource();

  function randomRow(): (string | null)[] {
    const maybe = (value: string) => (random.below(6) === 0 ? null : value);
    return [
      String(random.below(1e6) - 5e5),
      maybe(randomText(random, 20)),
      maybe(randomText(random, 5)),
      maybe(`20${10 + random.below(90)}-0${1 + random.below(9)}-1${random.below(10)}`),
      maybe(`${random.below(1000)}.${random.below(10)}`),
      maybe(random.below(2) === 0 ? 't' : 'false'),
    ];
  }

  const forms: [string, [string, CopyOptionValue][]][] = [
    ['text', []],
    [
      'text with |',
      [
        ['delimiter', '|'],
        ['null', ''],
      ],
    ],
    ['csv', [CSV]],
    ['csv with ; and \\', [CSV, ['delimiter', ';'], ['escape', '\\'], ['null', 'NIL']]],
  ];

  it.each(forms)('the same rows by both ways: %s', async (_, pairs) => {
    const options = from(...pairs);
    const rows = Array.from({ length: 400 }, randomRow);
    const line = (row: (string | null)[]) => row.map((value) => field(value, options)).join(options.delimiter);
    const input = Buffer.from(rows.map((row) => `${line(row)}\n`).join(''));
    await pg.exec('truncate t');
    await pg.query(`copy t from '/dev/blob' ${copyOptionsSql(options)}`, [], { blob: new Blob([input]) });
    const expected = (
      await pg.query<{ r: (string | null)[] }>(
        "select array[k::text, s, v, d::text, n::text, case when b then 't' when not b then 'f' end] as r from t",
      )
    ).rows.map(({ r }) => r);
    for (const size of [input.length, 1, 7, 4096]) {
      const made = router(columns, { options, distribution: { columnIndex: 0, typeOid: Oid.int8, shardCount: 32 } });
      const blocks = feed(made, input, size);
      expect(blocks.map((block) => (block.kind === 'odd' ? block.bytes.toString('utf8', 0, 200) : ''))).toEqual(
        blocks.map(() => ''),
      );
      const buffers = made.takeShardBuffers(0);
      expect(buffers.reduce((sum, { rows: count }) => sum + count, 0)).toBe(rows.length);
      const got: (string | null)[][] = [];
      for (const { index, csv } of buffers) {
        for (const row of new CanonicalCsvReader(csv)) {
          expect(rangeIndexOf(hashText(Oid.int8, row[0]!), 32)).toBe(index);
          got.push(row);
        }
      }
      const sorted = (list: (string | null)[][]) => list.map((row) => JSON.stringify(row)).sort();
      expect(sorted(got)).toEqual(sorted(expected));
    }
  });

  /** A field as COPY TO would write it. */
  function field(
    value: string | null,
    { format, delimiter, nullText, quote, escape: escaping }: ReturnType<typeof from>,
  ): string {
    if (value === null) return nullText;
    if (format === 'csv') {
      const inner = [...value].map((char) => (char === quote || char === escaping ? escaping + char : char)).join('');
      return value === nullText || /[^a-z0-9]/i.test(value) ? quote + inner + quote : value;
    }
    const names: Record<string, string> = { '\n': '\\n', '\t': '\\t', '\\': '\\\\' };
    if (value === nullText) return value === '' ? ' ' : `\\${value}`;
    return [...value].map((char) => (char === delimiter ? `\\${char}` : (names[char] ?? char))).join('');
  }
});

describe('shards', () => {
  const columns = [column(1, 'k', Oid.int4), text('s', 2)];
  const distribution = { columnIndex: 0, typeOid: Oid.int4, shardCount: 4 };

  it('refuses a NULL key, in both ways', () => {
    expect(() => outcome(columns, '\\N\tx\n', { distribution })).toThrow('cannot be NULL');
    expect(() => router(columns, { distribution }).routeCanonical(Buffer.from(',x\n'))).toThrow('cannot be NULL');
  });

  it('routes computed rows, and gives buffers by size', () => {
    const made = router(columns, { distribution });
    const csv = Array.from({ length: 1000 }, (_, i) => writeCanonicalRow([String(i), 'some "text"'])).join('');
    expect(made.routeCanonical(Buffer.from(csv))).toBe(1000);
    expect(made.takeShardBuffers(1e6)).toEqual([]);
    const buffers = made.takeShardBuffers(0);
    expect(buffers.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(buffers.reduce((sum, { rows }) => sum + rows, 0)).toBe(1000);
    for (const { index, csv: part } of buffers)
      for (const [key] of new CanonicalCsvReader(part)) expect(rangeIndexOf(hashText(Oid.int4, key!), 4)).toBe(index);
    expect(made.takeShardBuffers(0)).toEqual([]);
  });

  it('takes rows longer than a block', () => {
    const made = router([text('s')]);
    const long = 'x'.repeat(3 * 1024 * 1024);
    feed(made, Buffer.from(`a\n${long}\nb\n`), 100000);
    expect(taken(made)).toEqual([['a'], [long], ['b']]);
  });
});

describe('parseCopyOptions', () => {
  const failure = (pairs: [string, CopyOptionValue][], direction: 'from' | 'to' = 'from') => {
    try {
      parseCopyOptions(pairs, direction);
    } catch (error) {
      return (error as Error).message;
    }
    return 'no error';
  };

  it('says what PostgreSQL says', () => {
    expect(failure([['format', 'xml']])).toBe('COPY format "xml" not recognized');
    expect(failure([['foo', '1']])).toBe('option "foo" not recognized');
    expect(failure([CSV, CSV])).toBe('conflicting or redundant options');
    expect(failure([['delimiter', '||']])).toBe('COPY delimiter must be a single one-byte character');
    expect(failure([['delimiter', 'a']])).toBe('COPY delimiter cannot be "a"');
    expect(failure([['quote', '"']])).toBe('COPY QUOTE requires CSV mode');
    expect(failure([CSV, ['delimiter', '"']])).toBe('COPY delimiter and quote must be different');
    expect(failure([['null', '\t']])).toBe('COPY delimiter character must not appear in the NULL specification');
    expect(failure([CSV, ['force_quote', '*']])).toBe('COPY FORCE_QUOTE cannot be used with COPY FROM');
    expect(failure([CSV, ['header', 'match']], 'to')).toBe('cannot use "match" with HEADER in COPY TO');
    expect(failure([['header', 'maybe']])).toBe('header requires a Boolean value or "match"');
    expect(failure([['encoding', 'latin1']])).toContain('not supported');
  });
});
