/** For tests of the stores: real files in a temporary directory, and a log that is a list. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Packr } from 'msgpackr';
import { silentLogger } from '../../core/log.js';
import type { Lsn, TxnBody } from '../../model/log.js';
import { Oid } from '../../model/storage.js';
import type { AccessMethod, ColumnDef, ShardDef } from '../../model/table.js';
import { openStores } from './stores.js';
import type { BatchFiles, Stores, StoreTxn } from './types.js';

const packr = new Packr({ useRecords: false });

/** Two instances may share one log: its batch files are in one directory. */
export class TestLog implements BatchFiles {
  readonly records: { lsn: Lsn; body: Buffer }[] = [];
  readonly directory: string;
  next = 100;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  batchPath(name: string): string {
    return join(this.directory, name);
  }

  async syncBatch(_name: string): Promise<void> {}

  removeBatch(name: string): void {
    rmSync(this.batchPath(name), { force: true });
  }

  /** As a record goes through the log: MessagePack and back. */
  append(txn: TxnBody): Lsn {
    const lsn = this.next;
    this.next += 10;
    this.records.push({ lsn, body: packr.pack(txn) });
    return lsn;
  }

  txn(i: number): { lsn: Lsn; txn: TxnBody } {
    const record = this.records[i]!;
    return { lsn: record.lsn, txn: packr.unpack(record.body) as TxnBody };
  }

  /** Applies all records above `from`. */
  async replay(stores: Stores, from: Lsn = -1): Promise<void> {
    for (let i = 0; i < this.records.length; i++) {
      const { lsn, txn } = this.txn(i);
      if (lsn > from) await stores.apply(lsn, txn);
    }
    await stores.flush();
  }
}

export function testDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'damson-store-'));
}

export function open(directory: string, log: BatchFiles): Promise<Stores> {
  return openStores({
    directory,
    files: log,
    logger: silentLogger(),
    memoryMb: 256,
    onFatal: () => {},
  });
}

/** Freezes, logs and publishes a transaction; its lsn. */
export async function commit(log: TestLog, txn: StoreTxn): Promise<Lsn> {
  const { ddl, shards } = await txn.freeze();
  const lsn = log.append({ participants: [0], locks: [], ddl, shards });
  await txn.publish(lsn, log.txn(log.records.length - 1).txn);
  return lsn;
}

let gids = 0;

/** Runs `work` in a transaction and commits it. */
export async function transact(stores: Stores, log: TestLog, work: (txn: StoreTxn) => unknown): Promise<Lsn> {
  const txn = stores.openTxn(`1.1.${++gids}`);
  try {
    await work(txn);
    return await commit(log, txn);
  } catch (error) {
    await txn.rollback();
    throw error;
  }
}

export function column(attnum: number, typeOid: number, typmod = -1): ColumnDef {
  return { attnum, name: `col${attnum}`, typeOid, typmod, notNull: false };
}

export const PLAIN_COLUMNS = [column(1, Oid.int8), column(2, Oid.text), column(3, Oid.timestamp)];

export function shardDef(shardId: number, accessMethod: AccessMethod, more: Partial<ShardDef> = {}): ShardDef {
  return {
    shardId,
    tableId: 1,
    setKey: `c2_${shardId % 4}`,
    relation: `items_${shardId}`,
    accessMethod,
    columns: PLAIN_COLUMNS,
    uniques: [],
    indexes: [],
    ...more,
  };
}

/** Rows of a shard by rid, as text of DuckDB or values of SQLite. */
export async function rowsOf(stores: Stores, shard: ShardDef): Promise<unknown[][]> {
  const names = ['_rid', ...shard.columns.map((c) => `c${c.attnum}`)];
  if (shard.accessMethod === 'heap') {
    const db = stores.heapReader(shard.setKey);
    return db
      .prepare(`SELECT ${names.join(', ')} FROM "${shard.relation}" ORDER BY _rid`)
      .raw(true)
      .all() as unknown[][];
  }
  const snapshot = await stores.openSnapshot({ heapSets: [], columnar: true });
  try {
    const texts = names.map((name) => `CAST(${name} AS VARCHAR)`).join(', ');
    const reader = await snapshot.duckdb().runAndReadAll(`SELECT ${texts} FROM "${shard.relation}" ORDER BY _rid`);
    return reader.getRows() as unknown[][];
  } finally {
    await snapshot.close();
  }
}
