import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HeapValue, Oid, storageOf } from '../../model/storage.js';
import type { ColumnDef } from '../../model/table.js';
import { writeCanonicalRow } from '../codec/csv.js';
import { CANONICAL_OUTPUT, textFromHeap } from '../codec/heap.js';
import { column, open, rowsOf, shardDef, TestLog, testDirectory, transact } from './harness.test-util.js';
import { duckFromHeap, heapCsvType, heapRowsToDuckTable } from './heap-duck.js';
import type { Stores } from './types.js';

const numeric = (precision: number, scale: number) => ((precision << 16) | (scale & 0x7ff)) + 4;
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/** A column, its heap values, and what DuckDB says of each (its own text). */
const CASES: { name: string; column: ColumnDef; values: [HeapValue, string][] }[] = [
  {
    name: 'int2',
    column: column(1, Oid.int2),
    values: [
      [-32768, '-32768'],
      [32767, '32767'],
    ],
  },
  { name: 'int4', column: column(1, Oid.int4), values: [[-2147483648, '-2147483648']] },
  {
    name: 'int8',
    column: column(1, Oid.int8),
    values: [
      [INT64_MAX, String(INT64_MAX)],
      [INT64_MIN, String(INT64_MIN)],
      [0, '0'],
    ],
  },
  { name: 'oid', column: column(1, Oid.oid), values: [[4294967295, '4294967295']] },
  {
    name: 'bool',
    column: column(1, Oid.bool),
    values: [
      [0, 'false'],
      [1, 'true'],
    ],
  },
  {
    name: 'float8',
    column: column(1, Oid.float8),
    values: [
      ['NaN', 'nan'],
      [Infinity, 'inf'],
      [-Infinity, '-inf'],
      [-0, '-0.0'],
      [0, '0.0'],
      [0.1, '0.1'],
      [5e-324, '5e-324'],
      [1.7976931348623157e308, '1.7976931348623157e+308'],
      [1 / 3, '0.3333333333333333'],
      [3, '3.0'],
    ],
  },
  {
    name: 'float4',
    column: column(1, Oid.float4),
    values: [
      ['NaN', 'nan'],
      [Math.fround(0.1), '0.1'],
      [-0, '-0.0'],
      [-Infinity, '-inf'],
      [3.4028234663852886e38, '3.4028235e+38'],
      [1.401298464324817e-45, '1e-45'],
    ],
  },
  {
    name: 'numeric(12,2)',
    column: column(1, Oid.numeric, numeric(12, 2)),
    values: [
      [12345, '123.45'],
      [-1, '-0.01'],
      [999999999999, '9999999999.99'],
      [0, '0.00'],
    ],
  },
  {
    name: 'numeric(18,18)',
    column: column(1, Oid.numeric, numeric(18, 18)),
    values: [
      [-999999999999999999n, '-.999999999999999999'],
      [1, '.000000000000000001'],
    ],
  },
  {
    name: 'numeric(18,0)',
    column: column(1, Oid.numeric, numeric(18, 0)),
    values: [[999999999999999999n, '999999999999999999']],
  },
  {
    name: 'numeric(38,10)',
    column: column(1, Oid.numeric, numeric(38, 10)),
    values: [
      ['1234567890123456789012345678.0123456789', '1234567890123456789012345678.0123456789'],
      ['-0.0000000001', '-0.0000000001'],
    ],
  },
  {
    name: 'numeric(50,2)',
    column: column(1, Oid.numeric, numeric(50, 2)),
    values: [
      ['1.50', '1.50'],
      ['NaN', 'NaN'],
    ],
  },
  {
    name: 'numeric',
    column: column(1, Oid.numeric),
    values: [
      ['1.500', '1.500'],
      ['NaN', 'NaN'],
      ['Infinity', 'Infinity'],
      ['1e3', '1e3'],
    ],
  },
  {
    name: 'text',
    column: column(1, Oid.text),
    values: [
      ['', ''],
      ['a"b""c', 'a"b""c'],
      ['l1\nl2\r\nl3\r', 'l1\nl2\r\nl3\r'],
      [',', ','],
      ['äß€😀', 'äß€😀'],
      ['\\N', '\\N'],
      ["'", "'"],
      ['NULL', 'NULL'],
      [' ', ' '],
    ],
  },
  {
    name: 'char(5)',
    column: column(1, Oid.bpchar, 9),
    values: [
      ['ab', 'ab'],
      ['', ''],
    ],
  },
  {
    name: 'bytea',
    column: column(1, Oid.bytea),
    values: [
      [Buffer.alloc(0), ''],
      [Buffer.from([0, 255, 10, 34]), '\\x00\\xFF\\x0A\\x22'],
    ],
  },
  {
    name: 'date',
    column: column(1, Oid.date),
    values: [
      [0, '2000-01-01'],
      [2147483647, 'infinity'],
      [-2147483648, '-infinity'],
      [-2451507, '4713-01-01 (BC)'],
      [2921939, '9999-12-31'],
      [-730485, '0001-01-01 (BC)'],
    ],
  },
  {
    name: 'time',
    column: column(1, Oid.time),
    values: [
      [0, '00:00:00'],
      [86399999999, '23:59:59.999999'],
      [86400000000, '24:00:00'],
    ],
  },
  {
    name: 'timestamp',
    column: column(1, Oid.timestamp),
    values: [
      [0, '2000-01-01 00:00:00'],
      [-1, '1999-12-31 23:59:59.999999'],
      [INT64_MAX, 'infinity'],
      [INT64_MIN, '-infinity'],
      [-63113904000000000n, '0001-01-01 (BC) 00:00:00'],
    ],
  },
  {
    name: 'timestamptz',
    column: column(1, Oid.timestamptz),
    values: [
      [1, '2000-01-01 00:00:00.000001+00'],
      [INT64_MAX, 'infinity'],
      [INT64_MIN, '-infinity'],
      [-63113904000000000n, '0001-01-01 (BC) 00:00:00+00'],
    ],
  },
  {
    name: 'uuid',
    column: column(1, Oid.uuid),
    values: [['00000000-0000-0000-0000-0000000000ff', '00000000-0000-0000-0000-0000000000ff']],
  },
  { name: 'jsonb', column: column(1, Oid.jsonb), values: [['{"a": "b"}', '{"a": "b"}']] },
  { name: 'interval', column: column(1, Oid.interval), values: [['1 mon -1 days', '1 mon -1 days']] },
];

let directory: string;
let stores: Stores;
let log: TestLog;

beforeEach(async () => {
  directory = testDirectory();
  log = new TestLog(join(directory, 'batches'));
  stores = await open(join(directory, 'a'), log);
});

afterEach(async () => {
  await stores.close();
  rmSync(directory, { recursive: true, force: true });
});

/** One column for each case; row i holds value i of each, NULL where it has none. */
const columns = CASES.map((one, i) => ({ ...one.column, attnum: i + 1, name: one.name }));
const height = Math.max(...CASES.map((one) => one.values.length)) + 1;
const rows = Array.from({ length: height }, (_, r) => CASES.map((one) => one.values[r]?.[0] ?? null));
const expected = Array.from({ length: height }, (_, r) => CASES.map((one) => one.values[r]?.[1] ?? null));

describe('every storage class', () => {
  it('goes from heap rows to DuckDB exactly', async () => {
    const shard = shardDef(102008, 'heap', { columns });
    await transact(stores, log, async (txn) => {
      await txn.ddl([{ op: 'createShard', shard }]);
      await txn.insert(102008, rows);
    });
    const snapshot = await stores.openSnapshot({ heapSets: [shard.setKey], columnar: true });
    const db = snapshot.heap(shard.setKey);
    const count = await heapRowsToDuckTable(
      snapshot.duckdb(),
      db,
      shard.relation,
      columns,
      null,
      'carried',
      stores.temporaryDirectory,
    );
    expect(count).toBe(height);
    const texts = columns.map((c) => `CAST(c${c.attnum} AS VARCHAR)`).join(', ');
    const reader = await snapshot.duckdb().runAndReadAll(`SELECT ${texts} FROM carried ORDER BY _rid`);
    expect(reader.getRows()).toEqual(expected);
    const types = await snapshot.duckdb().runAndReadAll('SELECT column_type FROM (DESCRIBE carried)');
    expect(
      types
        .getRows()
        .map((row) => String(row[0]))
        .slice(1),
    ).toEqual(columns.map((c) => storageOf(c.typeOid, c.typmod).duckdb.replace('TIMESTAMPTZ', 'TIMESTAMP WITH TIME ZONE')));
    const some = await heapRowsToDuckTable(
      snapshot.duckdb(),
      db,
      shard.relation,
      [columns[0]!],
      'c1 > ?1',
      'some',
      stores.temporaryDirectory,
      [0],
    );
    expect(some).toBe(1);
    await snapshot.close();
  });

  it.each(['heap', 'columnar'] as const)('is kept by a %s shard and its mirror, from values and from CSV', async (method) => {
    const shard = shardDef(102008, method, { columns });
    const loaded = shardDef(102012, method, { columns });
    const csv = rows.map((row) => {
      const fields = row.map((value, i) => {
        if (value === null) return null;
        // char(n) is trimmed in canonical CSV.
        return columns[i]!.typeOid === Oid.bpchar
          ? String(value)
          : textFromHeap(columns[i]!.typeOid, columns[i]!.typmod, value, CANONICAL_OUTPUT);
      });
      return writeCanonicalRow(fields);
    });
    const plain = csv.join('').replaceAll('1e3', '1000');
    await transact(stores, log, async (txn) => {
      await txn.ddl([
        { op: 'createShard', shard },
        { op: 'createShard', shard: loaded },
      ]);
      await txn.insert(
        102008,
        rows.map((row) => row.map((value) => (value === '1e3' ? '1000' : value))),
      );
      await txn.insertCsv(102012, Buffer.from(plain), height);
    });
    const sums = (await stores.checksums()).shards;
    expect(sums[0]!.checksum).toBe(sums[1]!.checksum);
    expect(await rowsOf(stores, loaded)).toEqual(await rowsOf(stores, shard));
    if (method === 'columnar') {
      const wanted = expected.map((row, i) => [String(i + 1), ...row.map((text) => (text === '1e3' ? '1000' : text))]);
      expect(await rowsOf(stores, shard)).toEqual(wanted);
    }
    const other = await open(join(directory, 'b'), log);
    await log.replay(other);
    expect((await other.checksums()).shards).toEqual(sums);
    expect(await rowsOf(other, shard)).toEqual(await rowsOf(stores, shard));
    await other.close();
  });

  it('is refused where DuckDB cannot hold it', async () => {
    const shard = shardDef(102009, 'columnar', { columns: [column(1, Oid.timestamp), column(2, Oid.numeric, numeric(30, 2))] });
    await transact(stores, log, (txn) => txn.ddl([{ op: 'createShard', shard }]));
    const bad = async (row: HeapValue[]) =>
      transact(stores, log, (txn) => txn.insert(102009, [row])).catch((e: unknown) => (e as { sqlstate: string }).sqlstate);
    expect(await bad([9224318015999999999n - 946684800000000n, null])).toBe('0A000');
    expect(await bad([0, 'NaN'])).toBe('0A000');
    const text = await transact(stores, log, (txn) => txn.insertCsv(102009, Buffer.from('294276-12-31 23:59:59,\n'), 1)).catch(
      (e: unknown) => e,
    );
    expect((text as { sqlstate: string }).sqlstate).toBe('0A000');
  });
});

describe('floats', () => {
  it('keep every bit on the way through CSV', async () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    let state = seed;
    const next = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state;
    };
    const bits = new DataView(new ArrayBuffer(8));
    const db = new Database(':memory:');
    db.exec('CREATE TABLE f (_rid INTEGER PRIMARY KEY, c1 ANY) STRICT');
    const insert = db.prepare('INSERT INTO f VALUES (?, ?)');
    const values: number[] = [];
    for (let i = 0; i < 20_000; i++) {
      bits.setUint32(0, next() ^ (next() >>> 16));
      bits.setUint32(4, next() ^ (next() >>> 16));
      const value = bits.getFloat64(0);
      if (Number.isNaN(value)) continue;
      values.push(value);
      insert.run(values.length, value);
    }
    const instance = await DuckDBInstance.create(':memory:');
    const conn = await instance.connect();
    db.exec('BEGIN');
    await heapRowsToDuckTable(conn, db, 'f', [column(1, Oid.float8)], null, 't', directory);
    const back = (await conn.runAndReadAll('SELECT c1 FROM t ORDER BY _rid')).getRows().map((row) => row[0]);
    const wrong = values.filter((value, i) => !Object.is(value, back[i]));
    expect(wrong, `seed ${seed}`).toEqual([]);
    conn.closeSync();
  });
});

describe('duckFromHeap', () => {
  it('reads each class in the type that heapCsvType names', () => {
    expect(heapCsvType(storageOf(Oid.numeric, numeric(12, 2)))).toBe('BIGINT');
    expect(duckFromHeap(storageOf(Oid.text, -1), 'c1')).toBe('c1');
  });
});
