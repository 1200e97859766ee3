import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Oid } from '../../model/storage.js';
import { packBlock } from '../codec/duck-block.js';
import type { Input } from '../planner/types.js';
import { FinishingDuckdb } from './duckdb.js';
import { Pieces } from './pieces.js';
import type { Running } from './run.js';

let directory: string;
let duckdb: FinishingDuckdb;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'damson-pieces-'));
  duckdb = new FinishingDuckdb(join(directory, 'rows'), { threads: 1, memoryMb: 128 });
});

afterEach(async () => {
  await duckdb.close();
  rmSync(directory, { recursive: true, force: true });
});

const input = {
  name: 'in0',
  fragment: { output: [{ name: 'a', typeOid: Oid.int8, typmod: -1 }] },
} as unknown as Input;

const task = (content: number) => ({ input, target: { content, shards: {} } }) as unknown as Running;

async function blockOf(sql: string): Promise<Buffer> {
  const one = await duckdb.connect('UTC', true);
  const result = await one.connection.run(sql);
  duckdb.release(one, true);
  return packBlock(result.getChunk(0), result.columnTypes());
}

async function parquetOf(sql: string): Promise<Buffer> {
  const one = await duckdb.connect('UTC', true);
  const path = join(directory, 'made.parquet');
  await one.connection.run(`COPY (${sql}) TO '${path}' (FORMAT parquet)`);
  duckdb.release(one, true);
  return readFileSync(path);
}

async function answer(pieces: Pieces, sql: (relation: string) => string): Promise<unknown> {
  if (!pieces.inMemory) await pieces.close();
  const one = await duckdb.connect('UTC', true);
  const statement = await duckdb.prepare(one, sql(pieces.relation(input)));
  pieces.bind(statement);
  const rows = await (await statement.run()).getRows();
  duckdb.release(one, true);
  await pieces.remove();
  return rows;
}

const sum = (relation: string) => `SELECT sum(i.o0)::BIGINT, count(*) FROM ${relation} AS i`;

describe('pieces of an answer', () => {
  it('are put together from blocks by one statement, whatever their rows', async () => {
    for (const rows of [0, 1, 5, 0, 2000]) {
      const pieces = new Pieces(duckdb);
      const block = await blockOf(
        `SELECT range::BIGINT AS o0 FROM range(0, ${Math.max(rows, 1)}) WHERE range < ${rows} OR ${rows} = 0`,
      );
      if (rows > 0) for (const content of [0, 1]) await pieces.append(task(content), { bytes: block, rows });
      expect(pieces.inMemory).toBe(true);
      expect(await answer(pieces, sum)).toEqual([[rows === 0 ? null : BigInt(rows * (rows - 1)), BigInt(2 * rows)]]);
    }
  });

  it('may be blocks from one segment and a file from another, and of types that differ', async () => {
    const pieces = new Pieces(duckdb);
    const file = await parquetOf('SELECT 100::BIGINT AS o0');
    await pieces.append(task(0), { bytes: await blockOf('SELECT 1::BIGINT AS o0'), rows: 1 });
    const second = task(1);
    await pieces.append(second, { bytes: file.subarray(0, 7), rows: 0 });
    await pieces.append(second, { bytes: file.subarray(7), rows: 1 });
    await pieces.append(task(2), { bytes: await blockOf('SELECT 1000::INTEGER AS o0'), rows: 1 });
    expect(pieces.inMemory).toBe(false);
    expect(await answer(pieces, sum)).toEqual([[1101n, 3n]]);
    expect(readdirSync(join(directory, 'rows'))).toEqual([]);
  });

  it('keep statements apart by time zone', async () => {
    const seen: unknown[] = [];
    for (const zone of ['UTC', 'Asia/Tokyo', 'UTC', 'Asia/Tokyo']) {
      const one = await duckdb.connect(zone, true);
      const statement = await duckdb.prepare(one, "SELECT ('2024-01-01 00:00:00+00'::TIMESTAMPTZ)::TIMESTAMP::VARCHAR");
      seen.push((await (await statement.run()).getRows())[0]![0]);
      duckdb.release(one, true);
    }
    expect(seen).toEqual(['2024-01-01 00:00:00', '2024-01-01 09:00:00', '2024-01-01 00:00:00', '2024-01-01 09:00:00']);
  });
});
