import { notSupported, SqlError } from '../../core/errors.js';
import type { TableDef } from '../../model/table.js';
import { createDistributed, createRandom, createReference, newTable } from '../catalog/builders.js';
import { tableFromFront } from '../catalog/from-front.js';
import type { TableChange } from '../catalog/types.js';
import { isHashable } from '../codec/hash.js';
import { quoteIdent } from '../executor/sql-text.js';
import type { FrontDdl, FrontTable } from '../front/types.js';
import type { Kind, RelationName } from './classify.js';
import type { DistributionClause } from './clauses.js';
import { execInFront, heldFront, journalled, noteOid, relationOid } from './front-ddl.js';
import type { Session } from './session.js';
import type { RawStatement } from './split.js';
import { applyChange, lockDefinitions } from './store-ddl.js';

export async function createTable(
  session: Session,
  statement: RawStatement,
  kind: Kind & { kind: 'createTable' },
): Promise<string> {
  refuseKindsOfTable(kind.persistence, kind.partitioned);
  if (kind.ifNotExists && (await relationOid(session, kind.relation)) !== null) return await execInFront(session, statement.sql);
  const ddl = await heldFront(session);
  const { tag, notices } = await ddl.exec(statement.sql);
  for (const text of notices) session.notice('NOTICE', new SqlError('00000', text));
  await registerNew(session, ddl, kind, statement.sql);
  return tag;
}

/** What a statement has just created in the front becomes one of our tables. */
export async function registerNew(
  session: Session,
  ddl: FrontDdl,
  kind: { relation: RelationName; accessMethod: string | null; distribution: DistributionClause | null },
  sql: string,
): Promise<TableDef> {
  let front = await createdTable(session, ddl, kind.relation);
  const method = kind.accessMethod ?? session.settings.get('default_table_access_method') ?? 'heap';
  const alter = `ALTER TABLE ${quoteIdent(front.schema)}.${quoteIdent(front.name)} SET ACCESS METHOD ${quoteIdent(method)}`;
  if (front.accessMethod !== method) {
    await ddl.exec(alter);
    front = await createdTable(session, ddl, kind.relation);
  }
  const table = await register(session, front, kind.distribution, sql);
  // The journal is replayed under the settings of then: what came from one is written down.
  if (kind.accessMethod === null && method !== 'heap') journalled(session, alter, []);
  return table;
}

/** A table that the front has just made becomes one of ours, and gets its shards. */
async function register(session: Session, front: FrontTable, clause: DistributionClause | null, sql: string): Promise<TableDef> {
  const { catalog } = session.shared.deps;
  const definition = tableFromFront(front, 0, { kind: 'local' });
  const local = newTable(catalog, definition);
  const txn = session.tx.transaction();
  await lockDefinitions(session, [local.table]);
  noteOid(session, local.table.tableId, front.oid);
  if (clause === null) {
    await applyChange(session, local);
    journalled(session, sql, [local.table.tableId]);
    return local.table;
  }
  txn.addCatalog(local.catalog);
  const change = distribute(session, local.table, clause);
  // The local shard was never made, so there is none to drop.
  await applyChange(session, { ...change, drop: new Map() });
  journalled(session, sql, [local.table.tableId]);
  return change.table;
}

function distribute(session: Session, table: TableDef, clause: DistributionClause): TableChange {
  const { catalog } = session.shared.deps;
  const view = session.tx.view();
  const shardCount = shardCountOf(session);
  switch (clause.kind) {
    case 'hash':
      checkDistributionColumn(table, clause.column);
      return createDistributed(
        catalog,
        view,
        table,
        shardCount === undefined ? { column: clause.column } : { column: clause.column, shardCount },
      );
    case 'random':
      return createRandom(catalog, view, table, shardCount);
    case 'replicated':
      return createReference(catalog, view, table);
  }
}

/** The column's type must be one whose PostgreSQL hash is known here; an unknown column is the builder's to refuse. */
export function checkDistributionColumn(table: TableDef, name: string): void {
  const column = table.columns.find((candidate) => candidate.name === name);
  if (column === undefined || (isHashable(column.typeOid) && column.typtype === undefined)) return;
  throw notSupported(
    `column "${name}" cannot be the distribution column: its type has no hash here`,
    'Use a column of a number, text, date, time, boolean or uuid type.',
  );
}

/** The session's own setting; undefined: the cluster's. */
export function shardCountOf(session: Session): number | undefined {
  const value = session.settings.own('damson.shard_count');
  return value === undefined ? undefined : Number(value);
}

export function refuseKindsOfTable(persistence: string, partitioned: boolean): void {
  if (persistence === 't')
    throw notSupported('temporary tables are not supported', 'Create a plain table and drop it at the end.');
  if (persistence === 'u') throw notSupported('unlogged tables are not supported', 'Leave UNLOGGED out.');
  if (partitioned)
    throw notSupported('partitioned tables are not supported', 'Use DISTRIBUTED BY: the cluster cuts the table into shards.');
}

async function createdTable(session: Session, ddl: FrontDdl, name: RelationName): Promise<FrontTable> {
  const oid = await relationOid(session, name);
  const [table] = oid === null ? [] : await ddl.tables([oid]);
  if (table === undefined) throw new SqlError('XX000', `the front does not show table "${name.name}"`);
  await refuseInheritance(ddl, table);
  return table;
}

async function refuseInheritance(ddl: FrontDdl, table: FrontTable): Promise<void> {
  const rows = await ddl.rows('SELECT 1 FROM pg_catalog.pg_inherits WHERE inhrelid = $1::pg_catalog.oid', [String(table.oid)]);
  if (rows.length > 0)
    throw notSupported('inheritance of tables is not supported', 'Create the table with LIKE, and query both with UNION ALL.');
}
