import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SqlError } from '../../core/errors.js';
import { Oid } from '../../model/storage.js';
import { binaryFromText, textFromBinary } from './binary.js';
import { CANONICAL_OUTPUT, heapFromText, textFromHeap } from './heap.js';
import { randomSource } from './testing.js';

let pg: PGlite;
beforeAll(async () => {
  pg = await PGlite.create();
});
afterAll(() => pg.close());

const random = randomSource();
const many = <T>(n: number, make: () => T): T[] => Array.from({ length: n }, make);
const digits = (n: number) => many(1 + random.below(n), () => random.below(10)).join('');
const two = (n: number) => String(n).padStart(2, '0');

async function postgres(sql: string, values: string[]): Promise<string[]> {
  const { rows } = await pg.query<{ v: string }>(
    `select (${sql})::text as v from unnest($1::text[]) with ordinality as u(v, n) order by n`,
    [values],
  );
  return rows.map((row) => row.v);
}

/** PostgreSQL's text of each value, or its error. */
async function each(typeName: string, values: string[]): Promise<string[]> {
  const answers: string[] = [];
  for (const value of values) {
    answers.push(
      await pg.query<{ v: string }>(`select concat(($1::text)::${typeName}) as v`, [value]).then(
        ({ rows }) => rows[0]!.v,
        (error: Error & { code: string }) => `${error.code} ${error.message}`,
      ),
    );
  }
  return answers;
}

function ours(typeOid: number, typmod: number, value: string): string {
  try {
    return textFromHeap(typeOid, typmod, heapFromText(typeOid, typmod, value), CANONICAL_OUTPUT);
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    return `${error.sqlstate} ${error.message}`;
  }
}

const numericTypmod = (p: number, s: number) => ((p << 16) | (s & 0x7ff)) + 4;

describe('text to heap value and back, against PostgreSQL', () => {
  it('values and errors of single texts', async () => {
    await pg.exec("set timezone = 'UTC'");
    const cases: [string, number, number, string[]][] = [
      ['int2', Oid.int2, -1, ['1', ' -5 ', '32768', '', 'a', '1.5', '0x7F', '1_000', '+7', '--1', '-32768']],
      ['int4', Oid.int4, -1, ['2147483647', '2147483648', '-2147483648', '007', '0b101', '0o17', '1e3', '-0']],
      ['int8', Oid.int8, -1, ['9223372036854775807', '9223372036854775808', '-9223372036854775808', '99999999999999999999999']],
      ['oid', Oid.oid, -1, ['4294967295', '-1', '4294967296', 'x']],
      ['bool', Oid.bool, -1, ['t', 'TRUE', 'y', 'off', 'of', 'o', '1', '0', ' no ', 'nope', '']],
      [
        'float8',
        Oid.float8,
        -1,
        [
          '1e400',
          '1e-400',
          'nan',
          '-inf',
          'Infinity',
          '.5',
          '5.',
          '1e15',
          '1e14',
          '123456789012345678',
          '0.0001',
          '0.00001',
          '-0',
          'x',
          '',
        ],
      ],
      [
        'float4',
        Oid.float4,
        -1,
        [
          '1e39',
          '1e-46',
          '0.1',
          '16777217',
          '1e6',
          '123456',
          '1234567',
          '3.4028235e38',
          '1.17549435e-38',
          '8.5899345e9',
          '1.4e-45',
        ],
      ],
      [
        'numeric(5,2)',
        Oid.numeric,
        numericTypmod(5, 2),
        ['1.005', '999.994', '999.995', '-0.004', '1e2', 'Infinity', '.5', 'x', '-12.3'],
      ],
      [
        'numeric(25,3)',
        Oid.numeric,
        numericTypmod(25, 3),
        ['1.0005', '1234567890123456789012.5', '12345678901234567890123', 'NaN', 'inf', '-.0004'],
      ],
      ['numeric(3,-2)', Oid.numeric, numericTypmod(3, -2), ['12345', '99950', '49', '50']],
      ['numeric(2,4)', Oid.numeric, numericTypmod(2, 4), ['0.0012', '0.00999', '0.01']],
      [
        'numeric',
        Oid.numeric,
        -1,
        [
          '1.50',
          '1e5',
          '1.5e-3',
          '.5',
          '5.',
          'nan',
          '-Infinity',
          '1_0.5',
          '0x1F',
          '-0.0',
          '00012.30',
          '+3',
          '1e',
          'NaNx',
          '+nan',
        ],
      ],
      ['name', Oid.name, -1, ['x'.repeat(70), 'ä'.repeat(40)]],
      ['bytea', Oid.bytea, -1, ['\\x00ff', '\\xAB cd', 'abc', 'a\\\\b', 'a\\001', '\\x0', '\\xzz', 'a\\9', '\\x']],
      [
        'date',
        Oid.date,
        -1,
        [
          '2020-02-29',
          '2021-02-29',
          '0044-03-15 BC',
          'infinity',
          '-infinity',
          '12345-01-01',
          '5874897-12-31',
          '5874898-01-01',
          '4714-11-24 BC',
          '4714-11-23 BC',
          '2020-13-01',
          'epoch',
          '2020-01-01 10:00:00',
        ],
      ],
      [
        'time',
        Oid.time,
        -1,
        ['00:00:00', '24:00:00', '24:00:01', '12:34', '12:34:56.1234567', '23:59:59.9999999', '12:34:60', '25:00:00', 'x'],
      ],
      ['time(2)', Oid.time, 2, ['12:34:56.125', '12:34:56.135', '23:59:59.999']],
      [
        'timestamp',
        Oid.timestamp,
        -1,
        [
          '2020-01-01 00:00:00',
          '2020-01-01T12:34:56.789',
          '2020-01-01 12:34:56.1234565',
          '0001-01-01 00:00:00',
          '0001-12-31 23:00:00.5 BC',
          'infinity',
          '-infinity',
          '294276-12-31 23:59:59.999999',
          '294277-01-01',
          '4714-11-24 00:00:00 BC',
          '4714-11-23 00:00:00 BC',
          '2020-01-01',
          '1999-12-31 23:59:60',
          '2020-01-01 25:00:00',
          '2020-01-01 24:00:00',
        ],
      ],
      ['timestamp(3)', Oid.timestamp, 3, ['2020-01-01 12:34:56.7895', '1990-01-01 12:34:56.7895', '2020-01-01 12:34:56.78949']],
      [
        'timestamptz',
        Oid.timestamptz,
        -1,
        [
          '2020-01-01 00:00:00+02',
          '2020-01-01 00:00:00Z',
          '2020-01-01 00:00:00 -05:30',
          '2020-01-01 00:00:00+0530',
          '2020-01-01 00:00:00+16',
          'infinity',
          '1900-01-01 00:00:00+00:19:32',
          '0001-01-01 00:00:00+05',
          '2020-01-01 00:00:00 UTC',
        ],
      ],
      [
        'uuid',
        Oid.uuid,
        -1,
        [
          'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
          '{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}',
          'a0eebc999c0b4ef8bb6d6bb9bd380a11',
          'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1',
          '{a0eebc999c0b4ef8bb6d6bb9bd380a11',
        ],
      ],
    ];
    for (const [typeName, typeOid, typmod, values] of cases) {
      const expected = await each(typeName, values);
      expect([typeName, ...values.map((value) => ours(typeOid, typmod, value))]).toEqual([typeName, ...expected]);
    }
  });

  it('varchar(n) as on assignment', () => {
    expect(['abc', 'abc  ', 'äöü', '😀😀😀', '😀😀😀 '].map((v) => ours(Oid.varchar, 7, v))).toEqual([
      'abc',
      'abc',
      'äöü',
      '😀😀😀',
      '😀😀😀',
    ]);
    expect(ours(Oid.varchar, 7, 'äöüß')).toBe('22001 value too long for type character varying(3)');
  });

  it('char(n) is trimmed, and padded on output', () => {
    expect(heapFromText(Oid.bpchar, 9, 'ab   ')).toBe('ab');
    expect(textFromHeap(Oid.bpchar, 9, 'ab', CANONICAL_OUTPUT)).toBe('ab   ');
    expect(textFromHeap(Oid.bpchar, 7, '😀', CANONICAL_OUTPUT)).toBe('😀  ');
    expect(() => heapFromText(Oid.bpchar, 7, 'abcd')).toThrow('value too long for type character(3)');
  });

  it('floats print as PostgreSQL prints them', async () => {
    const wide = many(500, () => String((random.next() - 0.5) * 10 ** (random.below(60) - 30)));
    expect(wide.map((v) => ours(Oid.float8, -1, v))).toEqual(await postgres('v::float8', wide));
    expect(wide.map((v) => ours(Oid.float4, -1, v))).toEqual(await postgres('v::float4', wide));
    const powers = Array.from({ length: 250 }, (_, i) => String(2 ** (i - 125)));
    expect(powers.map((v) => ours(Oid.float8, -1, v))).toEqual(await postgres('v::float8', powers));
    expect(powers.map((v) => ours(Oid.float4, -1, v))).toEqual(await postgres('v::float4', powers));
    const whole = many(2000, () => String(BigInt(digits(8)) * 2n ** BigInt(random.below(60)) + BigInt(random.below(100))));
    expect(whole.map((v) => ours(Oid.float8, -1, v))).toEqual(await postgres('v::float8', whole));
    expect(whole.map((v) => ours(Oid.float4, -1, v))).toEqual(await postgres('v::float4', whole));
    const short = many(200, () => `${digits(8)}.${digits(3)}`);
    expect(short.map((v) => ours(Oid.float4, -1, v))).toEqual(await postgres('v::float4', short));
    for (const extra of [0, -3]) {
      await pg.exec(`set extra_float_digits = ${extra}`);
      const settings = { ...CANONICAL_OUTPUT, extraFloatDigits: extra };
      const texts = [...wide, '100000', '1e15', '0.1', '123456789012345678'];
      expect(texts.map((v) => textFromHeap(Oid.float8, -1, Number(v), settings))).toEqual(await postgres('v::float8', texts));
      expect(texts.map((v) => textFromHeap(Oid.float4, -1, heapFromText(Oid.float4, -1, v), settings))).toEqual(
        await postgres('v::float4', texts),
      );
    }
    await pg.exec('reset extra_float_digits');
  });

  it('timestamps in time zones', async () => {
    const zones = [
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Asia/Kolkata',
      'Australia/Lord_Howe',
      'America/Sao_Paulo',
      'Africa/Monrovia',
      'Pacific/Apia',
      '<+02>-02',
    ];
    const stamps = many(400, () => {
      const year = random.below(4) === 0 ? 1 + random.below(9999) : 1850 + random.below(200);
      return `${String(year).padStart(4, '0')}-${two(1 + random.below(12))}-${two(1 + random.below(28))} ${two(random.below(24))}:${two(random.below(60))}:${two(random.below(60))}.${digits(6)}`;
    });
    for (const timeZone of zones) {
      await pg.exec(`set timezone = '${timeZone}'`);
      const settings = { ...CANONICAL_OUTPUT, timeZone };
      const inUtc = stamps.map((text) => `${text}+00`);
      expect([
        timeZone,
        ...inUtc.map((v) => textFromHeap(Oid.timestamptz, -1, heapFromText(Oid.timestamptz, -1, v), settings)),
      ]).toEqual([timeZone, ...(await postgres('v::timestamptz', inUtc))]);
      expect([
        timeZone,
        ...stamps.map((v) => textFromHeap(Oid.timestamptz, -1, heapFromText(Oid.timestamptz, -1, v, timeZone), settings)),
      ]).toEqual([timeZone, ...(await postgres('v::timestamptz', stamps))]);
    }
    await pg.exec("set timezone = 'Europe/Berlin'");
    const changes = [
      '2024-03-31 02:30:00',
      '2024-03-31 01:59:59',
      '2024-03-31 03:00:00',
      '2024-10-27 02:30:00',
      '2024-10-27 01:59:59',
      '2024-10-27 03:00:00',
      '1893-04-01 00:03:00',
    ];
    const berlin = { ...CANONICAL_OUTPUT, timeZone: 'Europe/Berlin' };
    expect(
      changes.map((v) => textFromHeap(Oid.timestamptz, -1, heapFromText(Oid.timestamptz, -1, v, 'Europe/Berlin'), berlin)),
    ).toEqual(await postgres('v::timestamptz', changes));
    await pg.exec("set timezone = 'UTC'");
  });

  it('bytea in escape form', async () => {
    await pg.exec("set bytea_output = 'escape'");
    const values = ['\\x00ff5c2041', '\\x'];
    const settings = { ...CANONICAL_OUTPUT, byteaOutput: 'escape' as const };
    expect(values.map((v) => textFromHeap(Oid.bytea, -1, heapFromText(Oid.bytea, -1, v), settings))).toEqual(
      await postgres('v::bytea', values),
    );
    await pg.exec('reset bytea_output');
  });
});

describe('binary formats, against PostgreSQL', () => {
  const cases: [string, number, string[]][] = [
    ['bool', Oid.bool, ['t', 'f']],
    ['int2', Oid.int2, ['-32768', '7']],
    ['int4', Oid.int4, ['-2147483648', '2147483647']],
    ['int8', Oid.int8, ['-9223372036854775808', '9223372036854775807', '0']],
    ['oid', Oid.oid, ['4294967295']],
    ['float4', Oid.float4, ['0.1', 'NaN', '-Infinity', '1e+30']],
    ['float8', Oid.float8, ['0.1', 'NaN', 'Infinity', '1e-300']],
    ['text', Oid.text, ['', 'äöü😀']],
    ['bytea', Oid.bytea, ['\\x00ff', '\\x']],
    ['date', Oid.date, ['2020-02-29', 'infinity', '-infinity', '0044-03-15 BC']],
    ['time', Oid.time, ['12:34:56.789']],
    ['timestamp', Oid.timestamp, ['2020-01-01 12:34:56.789', 'infinity', '-infinity', '0044-03-15 00:00:00 BC']],
    ['timestamptz', Oid.timestamptz, ['2020-01-01 12:34:56.789+00', 'infinity']],
    ['uuid', Oid.uuid, ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11']],
    [
      'numeric',
      Oid.numeric,
      [
        '0',
        '0.00',
        '-0.05',
        '12345.678900',
        '1000000000',
        '0.00001234',
        'NaN',
        'Infinity',
        '-Infinity',
        '99999999999999999999.9999',
      ],
    ],
    ['json', Oid.json, ['{"a": 1}']],
    ['jsonb', Oid.jsonb, ['{"a": 1}']],
  ];
  const sends: Record<string, string> = {
    date: 'date_send',
    time: 'time_send',
    timestamp: 'timestamp_send',
    timestamptz: 'timestamptz_send',
    uuid: 'uuid_send',
    numeric: 'numeric_send',
    json: 'json_send',
    jsonb: 'jsonb_send',
  };

  it.each(cases)('%s', async (typeName, typeOid, values) => {
    await pg.exec("set timezone = 'UTC'");
    const send = sends[typeName] ?? `${typeName}send`;
    const expected = await postgres(`encode(${send}(v::${typeName}), 'hex')`, values);
    expect(values.map((value) => binaryFromText(typeOid, value).toString('hex'))).toEqual(expected);
    expect(expected.map((hex) => textFromBinary(typeOid, Buffer.from(hex, 'hex')))).toEqual(values);
  });

  it('random numerics', async () => {
    const values = many(300, () => `${random.below(2) === 0 ? '-' : ''}${BigInt(digits(30))}.${digits(20)}1`);
    const expected = await postgres("encode(numeric_send(v::numeric), 'hex')", values);
    expect(values.map((value) => binaryFromText(Oid.numeric, value).toString('hex'))).toEqual(expected);
    expect(expected.map((hex) => textFromBinary(Oid.numeric, Buffer.from(hex, 'hex')))).toEqual(values);
  });
});
