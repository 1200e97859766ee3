/** Count and checksum of every shard, and how big each is. Checksums compare like with like: the same access method, library and version. */
import type { DuckDBConnection } from '@duckdb/node-api';
import type { Lsn } from '../../model/log.js';
import { storageOf } from '../../model/storage.js';
import type { ColumnDef, ShardDef } from '../../model/table.js';
import type { ShardChecksum, ShardSize } from '../../model/task.js';
import { duckNumber, duckRows } from './connections.js';
import type { StoreCore } from './core.js';
import { allColumns, columnName, quoteIdent } from './sql.js';
import { SqliteWorker } from './sqlite-worker.js';

/** All shards at one position, in the order of their ids. */
export async function checksums(core: StoreCore, highest: () => Lsn): Promise<{ shards: ShardChecksum[]; applied: Lsn }> {
  await core.applier.flush();
  const worker = new SqliteWorker();
  const conn = await core.columnar.connections.acquire();
  try {
    await core.lock.acquire('open');
    let applied: Lsn;
    let shards: ShardDef[];
    const paths = new Map<string, string>();
    try {
      shards = [...core.instance.shards.values()].map(({ def }) => def).sort((a, b) => a.shardId - b.shardId);
      for (const set of core.heaps.values()) paths.set(set.setKey, set.path);
      applied = highest();
      await conn.run('BEGIN');
      await conn.run('SELECT 1 FROM _damson LIMIT 0');
      await worker.call('open', { paths: [...paths.values()] });
    } finally {
      core.lock.release();
    }
    const result: ShardChecksum[] = [];
    for (const shard of shards) {
      result.push(
        shard.accessMethod === 'heap'
          ? await heapChecksum(worker, paths.get(shard.setKey)!, shard)
          : await columnarChecksum(conn, shard),
      );
    }
    return { shards: result, applied };
  } finally {
    core.columnar.connections.discard(conn);
    await worker.close();
  }
}

async function heapChecksum(worker: SqliteWorker, path: string, shard: ShardDef): Promise<ShardChecksum> {
  const expressions = ['_rid', ...shard.columns.map(checksumExpression)];
  const { rows, checksum } = await worker.call('checksum', { path, relation: shard.relation, expressions });
  return { shardId: shard.shardId, rows, checksum };
}

/** A float column may hold 1 and 1.0, which are the same value. */
function checksumExpression(column: ColumnDef): string {
  const name = columnName(column);
  if (storageOf(column.typeOid, column.typmod).class !== 'float') return name;
  return `CASE typeof(${name}) WHEN 'integer' THEN CAST(${name} AS REAL) ELSE ${name} END`;
}

async function columnarChecksum(conn: DuckDBConnection, shard: ShardDef): Promise<ShardChecksum> {
  const hash = `hash(${allColumns(shard)})`;
  const [row] = await duckRows(
    conn,
    `SELECT count(*), bit_xor(${hash}), sum(${hash}::HUGEINT) FROM ${quoteIdent(shard.relation)}`,
  );
  return { shardId: shard.shardId, rows: Number(row![0]), checksum: `${row![1] ?? 0}:${row![2] ?? 0}` };
}

/**
 * Rows are exact. Bytes of a heap shard are its part of the set's file, those of a columnar shard its part of the database, both divided by
 * rows times columns.
 */
export async function sizes(core: StoreCore): Promise<ShardSize[]> {
  const result: ShardSize[] = [];
  for (const set of core.heaps.values()) {
    const rows = new Map(set.shardStates().map((state) => [state.shardId, state.rows]));
    const shards = core.shardsOfSet(set.setKey).filter((shard) => shard.accessMethod === 'heap');
    result.push(...divide(shards, (shard) => rows.get(shard.shardId) ?? 0, set.bytes()));
  }
  const columnar = [...core.instance.shards.values()].flatMap(({ def }) => (def.accessMethod === 'columnar' ? [def] : []));
  if (columnar.length === 0) return result;
  await core.applier.flush();
  const counts = new Map<number, number>();
  await core.columnar.connections.use(async (conn) => {
    for (const shard of columnar)
      counts.set(shard.shardId, await duckNumber(conn, `SELECT count(*) FROM ${quoteIdent(shard.relation)}`));
  });
  result.push(...divide(columnar, (shard) => counts.get(shard.shardId)!, core.columnar.bytes()));
  return result;
}

function divide(shards: ShardDef[], rowsOf: (shard: ShardDef) => number, bytes: number): ShardSize[] {
  const weight = (shard: ShardDef) => rowsOf(shard) * (shard.columns.length + 1);
  const total = shards.reduce((sum, shard) => sum + weight(shard), 0);
  return shards.map((shard) => {
    const part = total === 0 ? 1 / shards.length : weight(shard) / total;
    return { shardId: shard.shardId, setKey: shard.setKey, bytes: Math.round(bytes * part), rows: rowsOf(shard) };
  });
}
