import type { LockName, StoreDdl } from '../../model/log.js';
import type { SetKey, TableDef } from '../../model/table.js';
import type { TableChange } from '../catalog/types.js';
import { sendWrites } from '../dispatch/write.js';
import { ddlOnTable, writeOfSet } from '../txn/names.js';
import type { Session } from './session.js';
import { UNBOUND } from './statement.js';

/** Tells the stores of each content, and puts the change into the transaction. */
export async function applyChange(
  session: Session,
  change: TableChange,
  order: 'create' | 'drop' | 'both' = 'both',
): Promise<void> {
  if (order !== 'drop') await sendDdl(session, change.create);
  if (order !== 'create') {
    await sendDdl(session, change.drop);
    session.tx.transaction().addCatalog(change.catalog);
  }
}

async function sendDdl(session: Session, byContent: Map<number, StoreDdl[]>): Promise<void> {
  if (byContent.size === 0) return;
  const txn = session.tx.transaction();
  await txn.lock(setsMade(byContent), session.lockOptions());
  const ctx = session.context('', UNBOUND, [], { rows: () => undefined });
  await sendWrites(ctx, [...byContent.keys()], (content) => [{ op: 'ddl', gid: txn.gid, ddl: byContent.get(content)! }]);
}

/** A heap shard is made in its set's file, which has one writer, whichever of the set's tables he writes. */
function setsMade(byContent: Map<number, StoreDdl[]>): LockName[] {
  const sets = new Set<SetKey>();
  for (const one of [...byContent.values()].flat())
    if (one.op === 'createShard' && one.shard.accessMethod === 'heap') sets.add(one.shard.setKey);
  return [...sets].map(writeOfSet);
}

/** Locks definitions of tables, and the heap sets in whose files changes of them are made. */
export async function lockDefinitions(session: Session, tables: readonly TableDef[]): Promise<void> {
  if (tables.length === 0) return;
  const view = session.tx.view();
  const sets = new Set<SetKey>();
  for (const table of tables)
    if (table.accessMethod === 'heap') for (const shard of view.shards(table.tableId)) sets.add(shard.setKey);
  const names = [...tables.map((table) => ddlOnTable(table.tableId)), ...[...sets].map(writeOfSet)];
  await session.tx.transaction().lock(names, session.lockOptions());
}
