import type { StoreDdl } from '../../model/log.js';
import type { TableDef } from '../../model/table.js';
import type { TableChange } from '../catalog/types.js';
import { sendWrites } from '../dispatch/write.js';
import { ddlOnTable } from '../txn/names.js';
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
  const ctx = session.context('', UNBOUND, [], { rows: () => undefined });
  await sendWrites(ctx, [...byContent.keys()], (content) => [{ op: 'ddl', gid: txn.gid, ddl: byContent.get(content)! }]);
}

export async function lockDefinitions(session: Session, tables: readonly TableDef[]): Promise<void> {
  if (tables.length === 0) return;
  const ids = tables.map((table) => table.tableId).sort((a, b) => a - b);
  await session.tx.transaction().lock(ids.map(ddlOnTable), session.lockOptions());
}
