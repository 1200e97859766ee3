import { notSupported, SqlError } from '../../core/errors.js';
import type { StoreDdl } from '../../model/log.js';
import type { AccessMethod, TableDef } from '../../model/table.js';
import {
  addIndex,
  createDistributed,
  createRandom,
  createReference,
  dropIndex,
  dropTable,
  journal,
  newTable,
  replaceTable,
  setAccessMethod,
  truncateTable,
} from '../catalog/builders.js';
import { tableFromFront } from '../catalog/from-front.js';
import type { TableChange } from '../catalog/types.js';
import { sendWrites } from '../dispatch/write.js';
import type { FrontDdl, FrontTable } from '../front/types.js';
import { ddlOnTable } from '../txn/names.js';
import type { Kind, RelationName } from './classify.js';
import type { DistributionClause } from './clauses.js';
import { createTableAs } from './create-table-as.js';
import { moveRows } from './move-rows.js';
import type { Session } from './session.js';
import type { RawStatement } from './split.js';
import { UNBOUND } from './statement.js';

type DdlKind = Exclude<
  Kind,
  {
    kind:
      | 'query'
      | 'begin'
      | 'commit'
      | 'rollback'
      | 'set'
      | 'show'
      | 'discard'
      | 'copy'
      | 'explain'
      | 'prepare'
      | 'execute'
      | 'deallocate';
  }
>;

/** Definitions: in the front, in the catalog and on every shard, in one transaction, or in none. */
export async function runDdl(session: Session, statement: RawStatement, kind: DdlKind): Promise<string> {
  switch (kind.kind) {
    case 'createTable':
      return await createTable(session, statement, kind);
    case 'createTableAs':
      return await createTableAs(session, kind);
    case 'dropTable':
      return await inFront(session, statement, await existing(session, kind.relations));
    case 'truncate':
      return await truncate(session, statement, kind);
    case 'createIndex':
      return await changeIndexes(session, statement, await existing(session, [kind.relation]));
    case 'dropIndex':
      return await changeIndexes(session, statement, await tablesOfIndexes(session, kind.names));
    case 'alterTable':
      return await alterTable(session, statement, kind);
    case 'frontDdl':
      if (kind.relation !== null) return await inFront(session, statement, await existing(session, [kind.relation]));
      return await inFront(session, statement, kind.touchesTables ? session.tx.view().tables() : []);
    case 'analyze':
      return await analyzeTables(session);
  }
}

// ---- the front's part

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

function journalled(session: Session, sql: string, tableIds: number[]): void {
  const { catalog } = session.shared.deps;
  const searchPath = session.settings.get('search_path') ?? '';
  session.tx.transaction().addCatalog(journal(catalog, { sql, role: session.settings.currentRole, searchPath, tableIds }));
}

/**
 * A statement whose effect on tables is read back from the front: tables that are gone are dropped everywhere, changed names and owners
 * go to the catalog. `tables` are those that it may touch; their definitions are locked first.
 */
async function inFront(session: Session, statement: RawStatement, tables: TableDef[]): Promise<string> {
  await lockDefinitions(session, tables);
  const tag = await execInFront(session, statement.sql);
  if (tables.length > 0) await followFront(session, tables);
  return tag;
}

/** Brings the catalog of these tables up to what the front says now. */
async function followFront(session: Session, tables: TableDef[]): Promise<void> {
  const ddl = await heldFront(session);
  const oids = new Map<number, TableDef>();
  for (const table of tables) {
    const oid = oidOf(session, table);
    if (oid !== undefined) oids.set(oid, table);
  }
  const now = new Map((await ddl.tables([...oids.keys()])).map((table) => [table.oid, table]));
  for (const [oid, table] of oids) {
    const front = now.get(oid);
    if (front === undefined) await applyChange(session, dropTable(session.tx.view(), table));
    else {
      const next = tableFromFront(front, table.tableId, table.distribution);
      refuseStoredChange(table, next);
      if (JSON.stringify(next) !== JSON.stringify(table))
        await applyChange(session, replaceTable(session.tx.view(), table, next));
    }
  }
}

/** Names and owners may change; what the stores hold may not, by these statements. */
function refuseStoredChange(before: TableDef, after: TableDef): void {
  const stored = (table: TableDef) =>
    JSON.stringify([
      table.accessMethod,
      table.columns.map((c) => [c.attnum, c.typeOid, c.typmod, c.notNull]),
      table.uniques.map((u) => u.attnums),
    ]);
  if (stored(before) === stored(after)) return;
  throw notSupported(
    `this change of table "${before.name}" is not supported`,
    'Create a new table with CREATE TABLE … AS, and rename it.',
  );
}

/** OIDs of tables that this transaction has made are known before the catalog is. */
const ownOids = new WeakMap<object, Map<number, number>>();

function oidOf(session: Session, table: TableDef): number | undefined {
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

// ---- the stores' part

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

// ---- finding tables

/** Our tables of these names; what is none of ours (a view, or nothing) is the front's to judge. */
async function existing(session: Session, names: readonly RelationName[]): Promise<TableDef[]> {
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

async function relationOid(session: Session, name: RelationName): Promise<number | null> {
  const text = name.schema === null ? quoted(name.name) : `${quoted(name.schema)}.${quoted(name.name)}`;
  const sql = 'SELECT pg_catalog.to_regclass($1)::pg_catalog.oid';
  const rows = await frontRows(session, sql, [text]);
  const value = rows[0]?.[0];
  return value === null || value === undefined ? null : Number(value);
}

export async function frontRows(session: Session, sql: string, params: (string | null)[]): Promise<(string | null)[][]> {
  return await (session.tx.ddl?.rows(sql, params) ?? session.shared.deps.front.rows(sql, params, session.settings.front()));
}

async function tablesOfIndexes(session: Session, names: readonly RelationName[]): Promise<TableDef[]> {
  const out = new Map<number, TableDef>();
  for (const name of names) {
    const index = await relationOid(session, name);
    if (index === null) continue;
    const rows = await frontRows(session, 'SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = $1::pg_catalog.oid', [
      String(index),
    ]);
    const table = rows[0]?.[0] === undefined ? undefined : tableOfOid(session, Number(rows[0][0]));
    if (table !== undefined) out.set(table.tableId, table);
  }
  return [...out.values()];
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

// ---- CREATE TABLE

async function createTable(session: Session, statement: RawStatement, kind: DdlKind & { kind: 'createTable' }): Promise<string> {
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
  const alter = `ALTER TABLE ${quoted(front.schema)}.${quoted(front.name)} SET ACCESS METHOD ${quoted(method)}`;
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

// ---- other statements

async function truncate(session: Session, statement: RawStatement, kind: DdlKind & { kind: 'truncate' }): Promise<string> {
  const tables = await existing(session, kind.relations);
  if (kind.restart)
    throw notSupported('TRUNCATE … RESTART IDENTITY is not supported', 'Use ALTER SEQUENCE … RESTART after TRUNCATE.');
  await lockDefinitions(session, tables);
  if (tables.length !== kind.relations.length) {
    // PostgreSQL's own error for what is no table, or does not exist.
    await execInFront(session, statement.sql);
    return 'TRUNCATE TABLE';
  }
  await checkTruncatePrivilege(session, tables);
  for (const table of tables) await applyChange(session, truncateTable(session.tx.view(), table));
  return 'TRUNCATE TABLE';
}

async function checkTruncatePrivilege(session: Session, tables: TableDef[]): Promise<void> {
  for (const table of tables) {
    const rows = await frontRows(session, "SELECT pg_catalog.has_table_privilege($1, $2::pg_catalog.oid, 'TRUNCATE')", [
      session.settings.currentRole,
      String(oidOf(session, table)),
    ]);
    if (rows[0]?.[0] !== 't' && rows[0]?.[0] !== 'true') throw new SqlError('42501', `permission denied for table ${table.name}`);
  }
}

async function changeIndexes(session: Session, statement: RawStatement, tables: TableDef[]): Promise<string> {
  const sql = statement.sql.replace(/\bconcurrently\b/i, (word) => ' '.repeat(word.length));
  await lockDefinitions(session, tables);
  const tag = await execInFront(session, sql);
  const ddl = await heldFront(session);
  for (const table of tables) {
    const oid = oidOf(session, table);
    const [front] = oid === undefined ? [] : await ddl.tables([oid]);
    if (front === undefined) continue;
    await followIndexes(session, table, tableFromFront(front, table.tableId, table.distribution));
  }
  return tag;
}

async function followIndexes(session: Session, before: TableDef, after: TableDef): Promise<void> {
  if (JSON.stringify(before.uniques) !== JSON.stringify(after.uniques)) {
    throw notSupported(
      'unique indexes can be given only in CREATE TABLE',
      'Create a new table with the constraint, and copy the rows with INSERT … SELECT.',
    );
  }
  if (before.accessMethod === 'columnar' && after.indexes.length > before.indexes.length) {
    throw notSupported('columnar tables have no indexes', 'Use a heap table for point queries: CREATE TABLE … USING heap.');
  }
  for (const index of before.indexes) {
    if (after.indexes.some((other) => other.name === index.name)) continue;
    await applyChange(session, dropIndex(session.tx.view(), session.tx.view().table(before.tableId) ?? before, index.name));
  }
  for (const index of after.indexes) {
    if (before.indexes.some((other) => other.name === index.name)) continue;
    await applyChange(session, addIndex(session.tx.view(), session.tx.view().table(before.tableId) ?? before, index));
  }
}

/** Forms of ALTER TABLE that leave rows as they are. */
const FRONT_FORMS = new Set([
  'AT_ChangeOwner',
  'AT_SetOptions',
  'AT_ResetOptions',
  'AT_SetStatistics',
  'AT_ColumnDefault',
  'AT_SetRelOptions',
  'AT_ResetRelOptions',
]);

async function alterTable(session: Session, statement: RawStatement, kind: DdlKind & { kind: 'alterTable' }): Promise<string> {
  const tables = await existing(session, [kind.relation]);
  const [table] = tables;
  if (kind.distribution !== null) {
    throw notSupported(
      'ALTER TABLE … SET DISTRIBUTED is not supported yet',
      "Use SELECT create_distributed_table('table', 'column') on a local table.",
    );
  }
  if (kind.accessMethod !== null && table !== undefined)
    return await changeAccessMethod(session, statement, table, kind.accessMethod);
  const other = kind.forms.find((form) => !FRONT_FORMS.has(form));
  if (other !== undefined && table !== undefined) {
    throw notSupported(
      `this form of ALTER TABLE is not supported yet (${words(other)})`,
      'Create a new table with CREATE TABLE … AS, drop the old one and rename the new one.',
    );
  }
  return await inFront(session, statement, tables);
}

function words(form: string): string {
  return form
    .replace(/^AT_/, '')
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toUpperCase();
}

async function changeAccessMethod(session: Session, statement: RawStatement, table: TableDef, method: string): Promise<string> {
  await lockDefinitions(session, [table]);
  if (method !== 'heap' && method !== 'columnar') throw new SqlError('42704', `access method "${method}" does not exist`);
  const tag = await execInFront(session, statement.sql);
  if (method !== table.accessMethod) {
    const change = setAccessMethod(session.shared.deps.catalog, session.tx.view(), table, method as AccessMethod);
    await moveRows(session, table, change);
  }
  return tag;
}

/** ANALYZE: the planner's estimates of rows are read anew from the segments. */
async function analyzeTables(session: Session): Promise<string> {
  const { catalog, links } = session.shared.deps;
  const view = session.tx.view();
  const contents = [-1, ...view.contents()];
  const connections = await links.all(contents);
  const rows = new Map<number, number>();
  for (const content of contents) {
    const { shards } = await connections.get(content)!.call('sizes', {});
    for (const size of shards) {
      const shard = view.shard(size.shardId);
      if (shard === undefined || view.placement(shard.setKey).contents[0] !== content) continue;
      rows.set(shard.tableId, (rows.get(shard.tableId) ?? 0) + size.rows);
    }
  }
  for (const [tableId, count] of rows) catalog.setRows(tableId, count);
  return 'ANALYZE';
}
