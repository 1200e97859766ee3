import { join } from 'node:path';
import type { TableDef } from '../../model/table.js';
import type { Fragment } from '../../model/task.js';
import type { TableChange } from '../catalog/types.js';
import { CANONICAL_OUTPUT } from '../codec/heap.js';
import { csvOfRows } from '../dispatch/datarow.js';
import { ShardLoad } from '../dispatch/load.js';
import { Spool } from '../dispatch/spool.js';
import type { ReadPlan } from '../planner/types.js';
import type { Session } from './session.js';
import { UNBOUND } from './statement.js';
import { applyChange } from './store-ddl.js';

let sequence = 0;

/**
 * Carries the rows of a table into the shards of its new definition, in the session's transaction: the old shards are read through, the
 * new ones made, the rows written, the old ones dropped. The table's definition is locked.
 * @returns number of rows.
 */
export async function moveRows(session: Session, before: TableDef, change: TableChange): Promise<number> {
  sequence++;
  const spool = new Spool(join(session.shared.deps.tempDir, `move_${process.pid}_${sequence}.csv`));
  try {
    await readAll(session, before, spool);
    await applyChange(session, change, 'create');
    // From here on the transaction sees the new shards.
    session.tx.transaction().addCatalog(change.catalog);
    const rows = await writeAll(session, change.table, spool);
    await applyChange(session, { ...change, catalog: [] }, 'drop');
    return rows;
  } finally {
    await spool.close();
  }
}

async function readAll(session: Session, table: TableDef, spool: Spool): Promise<void> {
  const ctx = {
    ...session.context(
      '',
      UNBOUND,
      table.columns.map(() => 0),
      { rows: (messages: Buffer) => spool.add(csvOfRows(messages)) },
    ),
    output: CANONICAL_OUTPUT,
  };
  await session.shared.dispatcher.execute(readAllPlan(table), ctx, () => readAllPlan(table));
}

/** `SELECT` of all columns of all shards, in the store's own engine. */
export function readAllPlan(table: TableDef): ReadPlan {
  const output = table.columns.map((column) => ({ name: column.name, typeOid: column.typeOid, typmod: column.typmod }));
  const list = table.columns.map((column, i) => `c${column.attnum} AS o${i}`).join(', ');
  const fragment: Fragment = {
    engine: table.accessMethod === 'heap' ? 'sqlite' : 'duckdb',
    sql: `SELECT ${list} FROM {{t0}}`,
    relations: [{ alias: 't0', tableId: table.tableId, columns: table.columns.map((column) => column.attnum) }],
    params: [],
    output,
  };
  const { distribution } = table;
  const spread = distribution.kind === 'distributed' || distribution.kind === 'random';
  const where = spread
    ? ({ kind: 'colocated', colocationId: distribution.colocationId, keys: null } as const)
    : ({ kind: 'coordinator' } as const);
  return { kind: 'read', tier: 'pushdown', inputs: [{ name: 'in0', fragment, where }], finish: null, declined: [], output };
}

async function writeAll(session: Session, table: TableDef, spool: Spool): Promise<number> {
  const ctx = session.context('', UNBOUND, [], { rows: () => undefined });
  const load = await ShardLoad.begin(session.shared.dispatcher.load, ctx, table);
  return await load.whole(async () => {
    for await (const block of spool.blocks()) await load.canonical(block);
  });
}
