import { SqlError } from '../../core/errors.js';
import type { TableDef } from '../../model/table.js';
import { journal } from '../catalog/builders.js';
import { quoteIdent } from '../executor/sql-text.js';
import type { FrontDdl } from '../front/types.js';
import type { RelationName } from './classify.js';
import type { Session } from './session.js';

/** The front, held by this session's transaction; taken where it is not yet. */
export async function heldFront(session: Session): Promise<FrontDdl> {
  const { tx } = session;
  if (tx.ddl !== null) return tx.ddl;
  tx.transaction();
  const ddl = await session.shared.deps.front.beginDdl(session.settings.front());
  tx.holdFront(ddl);
  return ddl;
}

/** Runs the statement in the front and journals it. Notices go to the client. */
export async function execInFront(session: Session, sql: string, tableIds: number[] = []): Promise<string> {
  const ddl = await heldFront(session);
  const { tag, notices } = await ddl.exec(sql);
  for (const text of notices) session.notice('NOTICE', new SqlError('00000', text));
  journalled(session, sql, tableIds);
  return tag;
}

export function journalled(session: Session, sql: string, tableIds: number[]): void {
  const { catalog } = session.shared.deps;
  const searchPath = session.settings.get('search_path') ?? '';
  session.tx.transaction().addCatalog(journal(catalog, { sql, role: session.settings.currentRole, searchPath, tableIds }));
}

/** OIDs of tables that this transaction has made are known before the catalog is. */
const ownOids = new WeakMap<object, Map<number, number>>();

export function oidOf(session: Session, table: TableDef): number | undefined {
  const own = session.tx.active === null ? undefined : ownOids.get(session.tx.active);
  return own?.get(table.tableId) ?? session.shared.deps.catalog.oidOf(table.tableId);
}

export function noteOid(session: Session, tableId: number, oid: number): void {
  const { catalog } = session.shared.deps;
  const txn = session.tx.transaction();
  let own = ownOids.get(txn);
  if (own === undefined) {
    own = new Map();
    ownOids.set(txn, own);
  }
  own.set(tableId, oid);
  // The planner finds the table by its OID from now on; nobody else can name it before the front commits.
  catalog.bindOid(tableId, oid);
  txn.onAborted(async () => catalog.unbindOid(tableId));
}

/** Our tables of these names; what is none of ours (a view, or nothing) is the front's to judge. */
export async function existing(session: Session, names: readonly RelationName[]): Promise<TableDef[]> {
  const view = session.tx.view();
  const out: TableDef[] = [];
  for (const name of names) {
    const oid = await relationOid(session, name);
    const table = oid === null ? undefined : tableOfOid(session, oid);
    if (table !== undefined) out.push(view.table(table.tableId) ?? table);
  }
  return out;
}

export function tableOfOid(session: Session, oid: number): TableDef | undefined {
  return session.tx.view().tableByOid(oid);
}

export async function relationOid(session: Session, name: RelationName): Promise<number | null> {
  const text = name.schema === null ? quoteIdent(name.name) : `${quoteIdent(name.schema)}.${quoteIdent(name.name)}`;
  const sql = 'SELECT pg_catalog.to_regclass($1)::pg_catalog.oid';
  const rows = await frontRows(session, sql, [text]);
  const value = rows[0]?.[0];
  return value === null || value === undefined ? null : Number(value);
}

export async function frontRows(session: Session, sql: string, params: (string | null)[]): Promise<(string | null)[][]> {
  return await (session.tx.ddl?.rows(sql, params) ?? session.shared.deps.front.rows(sql, params, session.settings.front()));
}
