import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { open, shardDef, TestLog, testDirectory, transact } from './harness.test-util.js';
import type { Stores } from './types.js';

const SHARDS = [shardDef(102008, 'columnar'), shardDef(102009, 'columnar')];
const RELATION = `(${SHARDS.map(({ relation }) => `SELECT c1 FROM "${relation}"`).join(' UNION ALL ')})`;
/** The statistics of the tables say that it finds nothing, for as long as all ids are below. */
const ABOVE = `SELECT count(*) FROM ${RELATION} AS t WHERE c1 > 5000`;

let directory: string;
let log: TestLog;
let stores: Stores;

beforeEach(async () => {
  directory = testDirectory();
  log = new TestLog(`${directory}/log`);
  stores = await open(directory, log);
  await transact(stores, log, (txn) => txn.ddl(SHARDS.map((shard) => ({ op: 'createShard' as const, shard }))));
  await insert(1, 2, 3);
});

afterEach(async () => {
  await stores.close();
  rmSync(directory, { recursive: true, force: true });
});

function insert(...ids: number[]): Promise<unknown> {
  return transact(stores, log, async (txn) => {
    for (const { shardId } of SHARDS)
      await txn.insert(
        shardId,
        ids.map((id) => [id, 'x', null]),
      );
  });
}

async function prepare(sql: string): Promise<void> {
  const snapshot = await stores.openSnapshot({ heapSets: [], columnar: true });
  await stores.prepareColumnar(snapshot.duckdb(), sql);
  await snapshot.close();
}

const begin = (sql: string, stream = false) => stores.beginColumnar(sql, () => undefined, stream);

async function rowsOf(read: ReturnType<typeof begin>): Promise<unknown[][]> {
  const rows = await (await read!.pending.getResult()).getRows();
  read!.end(true);
  return rows;
}

describe('a statement that begins at once', () => {
  it('is not known before it was prepared', async () => {
    expect(begin(ABOVE)).toBeUndefined();
    await prepare(ABOVE);
    expect(await rowsOf(begin(ABOVE))).toEqual([[0n]]);
  });

  for (const stream of [false, true]) {
    it(`reads what was published when it began (${stream ? 'streamed' : 'in memory'})`, async () => {
      const sql = `SELECT c1 FROM ${RELATION} AS t ORDER BY c1`;
      await prepare(sql);
      const read = begin(sql, stream);
      await insert(4);
      expect(await rowsOf(read)).toEqual([[1n], [1n], [2n], [2n], [3n], [3n]]);
    });
  }

  it('is never run by a plan that was made before a commit', async () => {
    await prepare(ABOVE);
    await insert(7777);
    expect(begin(ABOVE)).toBeUndefined();
    await prepare(ABOVE);
    expect(await rowsOf(begin(ABOVE))).toEqual([[2n]]);
  });

  it('leaves no transaction behind that would hold back a checkpoint or a change of the table', async () => {
    await prepare(ABOVE);
    await rowsOf(begin(ABOVE, true));
    await rowsOf(begin(ABOVE));
    await transact(stores, log, (txn) => txn.ddl([{ op: 'dropShard', shardId: 102009 }]));
    expect(begin(ABOVE)).toBeUndefined();
    await expect(prepare(ABOVE)).rejects.toThrow('items_102009');
    await stores.wipe();
  });

  it('takes values for parameters each time', async () => {
    const sql = `SELECT count(*) FROM ${RELATION} AS t WHERE c1 >= $1::BIGINT`;
    await prepare(sql);
    for (const from of [1n, 3n, 4n, 2n]) {
      const read = stores.beginColumnar(sql, (statement) => statement.bindVarchar(1, String(from)), false);
      expect(await rowsOf(read)).toEqual([[2n * (4n - from)]]);
    }
  });
});
