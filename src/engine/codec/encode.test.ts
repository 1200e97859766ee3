import { DuckDBInstance } from '@duckdb/node-api';
import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HeapValue, Oid } from '../../model/storage.js';
import type { OutputColumn, OutputSettings } from '../../model/task.js';
import { duckChunkEncoder } from './encode-duck.js';
import { heapRowEncoder } from './encode-heap.js';
import { CANONICAL_OUTPUT } from './heap.js';
import { RowWriter } from './rowwriter.js';
import { randomSource } from './testing.js';

/** Fields of concatenated DataRow messages, as text. */
function readRows(bytes: Buffer, binary = false): (string | null)[][] {
  const rows: (string | null)[][] = [];
  for (let at = 0; at < bytes.length; ) {
    expect(bytes[at]).toBe(0x44);
    const end = at + 1 + bytes.readInt32BE(at + 1);
    const count = bytes.readInt16BE(at + 5);
    let field = at + 7;
    const row: (string | null)[] = [];
    for (let i = 0; i < count; i++) {
      const length = bytes.readInt32BE(field);
      field += 4;
      row.push(length < 0 ? null : bytes.toString(binary ? 'hex' : 'utf8', field, field + length));
      field += Math.max(0, length);
    }
    expect(field).toBe(end);
    rows.push(row);
    at = end;
  }
  return rows;
}

const column = (name: string, typeOid: number, typmod = -1): OutputColumn => ({ name, typeOid, typmod });
const numeric = (p: number, s: number) => ((p << 16) | s) + 4;

describe('RowWriter', () => {
  it('writes integers as decimal text', () => {
    const random = randomSource();
    const values = [
      0,
      -1,
      9,
      10,
      99,
      100,
      2147483647,
      -2147483648,
      -2147483647,
      4294967295,
      2 ** 53,
      ...Array.from({ length: 1000 }, () => Math.floor((random.next() - 0.5) * 10 ** random.below(12))),
    ];
    const out = new RowWriter(16);
    for (const value of values) {
      out.beginRow(1);
      out.intField(value);
      out.endRow();
    }
    expect(out.rows).toBe(values.length);
    expect(readRows(out.take()).flat()).toEqual(values.map((value) => String(value + 0)));
    expect([out.length, out.rows]).toEqual([0, 0]);
  });

  it('writes texts of any length', () => {
    const texts = ['', 'a', 'ä', '😀', 'x'.repeat(24), `${'x'.repeat(23)}ä`, 'ß'.repeat(5000), 'x'.repeat(100000)];
    const out = new RowWriter(1);
    out.beginRow(texts.length + 2);
    for (const text of texts) out.textField(text);
    out.nullField();
    out.asciiField('y'.repeat(30));
    out.endRow();
    expect(readRows(out.take())).toEqual([[...texts, null, 'y'.repeat(30)]]);
  });
});

describe('heapRowEncoder', () => {
  const columns = [
    column('i', Oid.int4),
    column('b', Oid.bool),
    column('d', Oid.numeric, numeric(10, 2)),
    column('n', Oid.numeric),
    column('t', Oid.text),
    column('c', Oid.bpchar, 8),
    column('f', Oid.float8),
    column('day', Oid.date),
    column('at', Oid.timestamptz),
    column('u', Oid.uuid),
    column('x', Oid.bytea),
    column('big', Oid.int8),
    column('j', Oid.jsonb),
  ];
  const row: HeapValue[] = [
    -7,
    1,
    12345,
    '1.500',
    'ä',
    'ab',
    'NaN',
    0,
    0,
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    Buffer.from([0, 255]),
    9223372036854775807n,
    '{"a": 1}',
  ];

  it('writes text', () => {
    const out = new RowWriter();
    const encode = heapRowEncoder(
      columns,
      columns.map(() => 0),
      { ...CANONICAL_OUTPUT, timeZone: 'Europe/Berlin' },
    );
    encode(row, out);
    encode(
      row.map(() => null),
      out,
    );
    expect(readRows(out.take())).toEqual([
      [
        '-7',
        't',
        '123.45',
        '1.500',
        'ä',
        'ab  ',
        'NaN',
        '2000-01-01',
        '2000-01-01 01:00:00+01',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
        '\\x00ff',
        '9223372036854775807',
        '{"a": 1}',
      ],
      columns.map(() => null),
    ]);
  });

  it('writes binary', () => {
    const out = new RowWriter();
    heapRowEncoder(
      columns,
      columns.map(() => 1),
      CANONICAL_OUTPUT,
    )(row, out);
    const [fields] = readRows(out.take(), true);
    expect(fields!.slice(0, 3)).toEqual(['fffffff9', '01', '0002000000000002007b1194']);
    expect(fields!.slice(5, 9)).toEqual(['61622020', '7ff8000000000000', '00000000', '0000000000000000']);
    expect(fields!.slice(11)).toEqual(['7fffffffffffffff', `01${Buffer.from('{"a": 1}').toString('hex')}`]);
    expect(() => heapRowEncoder([column('i', Oid.interval)], [1], CANONICAL_OUTPUT)).toThrow('binary format');
  });
});

describe('duckChunkEncoder', () => {
  let duck: DuckDBInstance;
  let pg: PGlite;
  beforeAll(async () => {
    duck = await DuckDBInstance.create(':memory:');
    pg = await PGlite.create();
  });
  afterAll(async () => {
    duck.closeSync();
    await pg.close();
  });

  async function run(
    sql: string,
    columns: OutputColumn[],
    settings: OutputSettings = CANONICAL_OUTPUT,
    format = 0,
  ): Promise<(string | null)[][]> {
    const connection = await duck.connect();
    try {
      await connection.run("SET TimeZone = 'UTC'");
      const result = await connection.stream(sql);
      const encode = duckChunkEncoder(
        columns,
        result.columnTypes(),
        columns.map(() => format),
        settings,
      );
      const out = new RowWriter();
      for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk())
        encode(chunk, out);
      return readRows(out.take(), format === 1);
    } finally {
      connection.closeSync();
    }
  }

  const types: [string, number, number, string[]][] = [
    ['BOOLEAN', Oid.bool, -1, ['true', 'false']],
    ['TINYINT', Oid.int2, -1, ['-128', '127']],
    ['UTINYINT', Oid.int2, -1, ['0', '255']],
    ['SMALLINT', Oid.int2, -1, ['-32768', '5']],
    ['USMALLINT', Oid.int4, -1, ['65535']],
    ['INTEGER', Oid.int4, -1, ['-2147483648', '2147483647']],
    ['UINTEGER', Oid.oid, -1, ['4294967295']],
    ['BIGINT', Oid.int8, -1, ['-9223372036854775808', '9223372036854775807', '-1', '4294967296', '-9007199254740993']],
    ['UBIGINT', Oid.numeric, -1, ['18446744073709551615', '1']],
    [
      'HUGEINT',
      Oid.numeric,
      -1,
      [
        '-170141183460469231731687303715884105728',
        '170141183460469231731687303715884105727',
        '-1',
        '0',
        '18446744073709551616',
        '9223372036854775808',
      ],
    ],
    ['UHUGEINT', Oid.numeric, -1, ['340282366920938463463374607431768211455']],
    ['DECIMAL(4,2)', Oid.numeric, numeric(4, 2), ['-99.99', '0.01', '0.00']],
    ['DECIMAL(9,3)', Oid.numeric, numeric(9, 3), ['-999999.999', '0.500']],
    ['DECIMAL(18,4)', Oid.numeric, numeric(18, 4), ['-99999999999999.9999', '0.0001']],
    [
      'DECIMAL(38,10)',
      Oid.numeric,
      numeric(38, 10),
      ['-9999999999999999999999999999.9999999999', '0.0000000001', '-0.5000000000'],
    ],
    ['FLOAT', Oid.float4, -1, ['0.1', '-1e+20', 'NaN', 'Infinity']],
    ['DOUBLE', Oid.float8, -1, ['0.1', '1e+15', '-Infinity', '100']],
    ['VARCHAR', Oid.text, -1, ['short', 'ä text that is longer than twelve bytes 😀', '']],
    ['VARCHAR', Oid.bpchar, 9, ['ab   ', 'äöüß ']],
    ['DATE', Oid.date, -1, ['2020-02-29', '0044-03-15 BC', 'infinity', '-infinity']],
    ['TIME', Oid.time, -1, ['12:34:56.789', '00:00:00']],
    [
      'TIMESTAMP',
      Oid.timestamp,
      -1,
      ['2020-01-01 12:34:56.789', '0044-03-15 00:00:00 BC', 'infinity', '-infinity', '1969-12-31 23:59:59.999999'],
    ],
    ['TIMESTAMPTZ', Oid.timestamptz, -1, ['2020-01-01 12:34:56.789+00', 'infinity']],
    [
      'UUID',
      Oid.uuid,
      -1,
      ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-ffff-ffff-ffffffffffff'],
    ],
  ];

  it.each(types)('%s', async (duckType, typeOid, typmod, values) => {
    const literal = (value: string) => (value.endsWith(' BC') ? value.replace(' BC', '').replace(/^(\S+)/, '$1 (BC)') : value);
    const list = [...values.map((value) => `('${literal(value)}'::${duckType})`), `(NULL::${duckType})`].join(', ');
    const expected = values.map((value) => (duckType === 'BOOLEAN' ? value[0] : value));
    const rows = await run(`SELECT * FROM (VALUES ${list}) t(v)`, [column('v', typeOid, typmod)]);
    expect(rows.flat()).toEqual([...expected, null]);
    // The binary form is the one of the text form.
    const { binaryFromText } = await import('./binary.js');
    const binary = await run(`SELECT * FROM (VALUES ${list}) t(v)`, [column('v', typeOid, typmod)], CANONICAL_OUTPUT, 1);
    expect(binary.flat()).toEqual([...expected.map((value) => binaryFromText(typeOid, value!).toString('hex')), null]);
  });

  it('blobs, nulls, and floats under another name', async () => {
    expect(
      await run("SELECT '\\x00\\xFF'::BLOB, NULL, repeat('a', 20)::BLOB", [
        column('b', Oid.bytea),
        column('n', Oid.text),
        column('l', Oid.bytea),
      ]),
    ).toEqual([['\\x00ff', null, `\\x${'61'.repeat(20)}`]]);
    await expect(run('SELECT 1.5::DOUBLE', [column('n', Oid.numeric)])).rejects.toThrow('was computed as DOUBLE');
    await expect(run('SELECT [1]', [column('n', Oid.text)])).rejects.toThrow('cannot be sent');
  });

  it('intervals as PostgreSQL prints them', async () => {
    const parts = [
      [0, 0, 0],
      [14, 3, 3723004000],
      [-14, 3, -3723004000],
      [-1, 0, 5000000],
      [1, -1, 1],
      [-13, -1, 0],
      [0, 1, -1],
      [24, 0, 360000000000],
    ];
    for (const [months, days, us] of parts) {
      const { rows } = await pg.query<{ v: string }>(
        `select concat(make_interval(months => ${months}, days => ${days}) + ${us} * interval '1 microsecond') as v`,
      );
      expect(
        await run(`SELECT to_months(${months}) + to_days(${days}) + to_microseconds(${us})`, [column('v', Oid.interval)]),
      ).toEqual([[rows[0]!.v]]);
    }
  });

  it('many rows over several chunks', async () => {
    const rows = await run("SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE 'text ' || i END FROM range(10000) t(i)", [
      column('i', Oid.int8),
      column('t', Oid.text),
    ]);
    expect(rows).toEqual(Array.from({ length: 10000 }, (_, i) => [String(i), i % 3 === 0 ? null : `text ${i}`]));
  });
});
