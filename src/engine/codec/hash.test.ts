import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Oid } from '../../model/storage.js';
import { hashInt, hashInt8, hashText } from './hash.js';
import { randomSource, randomText } from './testing.js';

let pg: PGlite;
beforeAll(async () => {
  pg = await PGlite.create();
});
afterAll(() => pg.close());

describe('known answers', () => {
  it('of PostgreSQL and Citus', () => {
    expect(hashInt(1)).toBe(-1905060026);
    expect(hashText(Oid.int4, '42')).toBe(1509752520);
    expect(hashInt8(42)).toBe(1509752520);
    expect(hashText(Oid.text, 'a')).toBe(1075015857);
    expect(hashText(Oid.uuid, '00000000-0000-0000-0000-000000000001')).toBe(-1046387463);
    expect(hashText(Oid.date, '2020-01-01')).toBe(462473164);
  });
});

describe('against PostgreSQL', () => {
  const random = randomSource();

  async function compare(typeOid: number, sql: string, values: string[]): Promise<void> {
    const { rows } = await pg.query<{ h: number }>(
      `select ${sql} as h from unnest($1::text[]) with ordinality as u(v, n) order by n`,
      [values],
    );
    const ours = values.map((value) => hashText(typeOid, value));
    expect(ours).toEqual(rows.map((row) => row.h));
  }

  const many = (make: () => string) => Array.from({ length: 300 }, make);
  const digits = (n: number) => Array.from({ length: 1 + random.below(n) }, () => random.below(10)).join('');

  it('integers', async () => {
    await compare(
      Oid.int2,
      'hashint2(v::int2)',
      many(() => String(random.below(65536) - 32768)),
    );
    await compare(Oid.int4, 'hashint4(v::int4)', [
      ...many(() => String((random.next() * 2 ** 32 - 2 ** 31) | 0)),
      '-2147483648',
      '2147483647',
      '0',
      '-1',
    ]);
    const wide = () =>
      BigInt.asIntN(64, (BigInt((random.next() * 2 ** 32) >>> 0) << 32n) | BigInt((random.next() * 2 ** 32) >>> 0)).toString();
    await compare(Oid.int8, 'hashint8(v::int8)', [
      ...many(wide),
      ...many(() => String(random.below(2 ** 50) - 2 ** 49)),
      '-1',
      '0',
      '-9223372036854775808',
      '9223372036854775807',
    ]);
    await compare(Oid.oid, 'hashoid(v::oid)', [...many(() => String((random.next() * 2 ** 32) >>> 0)), '4294967295']);
    await compare(Oid.bool, 'hashbool(v::bool)', ['t', 'f']);
  });

  it('texts', async () => {
    const texts = many(() => randomText(random, 40));
    await compare(Oid.text, 'hashtext(v)', texts);
    await compare(
      Oid.bpchar,
      'hashbpchar(v::bpchar)',
      texts.map((text) => `${text}  `),
    );
    await compare(
      Oid.bytea,
      'hashbytea(v::bytea)',
      many(() => `\\x${digits(8)}${digits(8)}`.slice(0, 10)).filter((text) => text.length % 2 === 0),
    );
  });

  it('dates, times, uuid, floats, numerics', async () => {
    const day = () => `${1000 + random.below(3000)}-0${1 + random.below(9)}-1${random.below(10)}`;
    const clock = () => `1${random.below(10)}:3${random.below(10)}:2${random.below(10)}.${digits(6)}`;
    await compare(Oid.date, 'hashdate(v::date)', many(day));
    await compare(Oid.time, 'time_hash(v::time)', many(clock));
    await compare(
      Oid.timestamp,
      'timestamp_hash(v::timestamp)',
      many(() => `${day()} ${clock()}`),
    );
    await compare(
      Oid.timestamptz,
      'timestamptz_hash(v::timestamptz)',
      many(() => `${day()} ${clock()}+03`),
    );
    await compare(
      Oid.uuid,
      'uuid_hash(v::uuid)',
      many(() => crypto.randomUUID()),
    );
    await compare(Oid.float8, 'hashfloat8(v::float8)', [
      ...many(() => String((random.next() - 0.5) * 10 ** (random.below(40) - 20))),
      '0',
      '-0',
      'NaN',
      'Infinity',
    ]);
    await compare(Oid.float4, 'hashfloat4(v::float4)', [...many(() => String(random.next() * 1000)), '0', 'NaN', '-Infinity']);
    await compare(Oid.numeric, 'hash_numeric(v::numeric)', [
      ...many(() => `${random.below(2) === 0 ? '-' : ''}${digits(20)}.${digits(12)}`),
      ...many(() => `${digits(3)}00000`),
      ...many(() => `0.0000${digits(6)}`),
      '0',
      '0.000',
      'NaN',
      'Infinity',
    ]);
  });
});
