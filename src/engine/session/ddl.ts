import { notSupported, SqlError } from '../../core/errors.js';
import type { AccessMethod, TableDef } from '../../model/table.js';
import { addIndex, dropIndex, dropTable, replaceTable, setAccessMethod, truncateTable } from '../catalog/builders.js';
import { tableFromFront } from '../catalog/from-front.js';
import type { Kind, RelationName } from './classify.js';
import { createTable } from './create-table.js';
import { createTableAs } from './create-table-as.js';
import { execInFront, existing, frontRows, heldFront, oidOf, relationOid, tableOfOid } from './front-ddl.js';
import { moveRows } from './move-rows.js';
import type { Session } from './session.js';
import type { RawStatement } from './split.js';
import { applyChange, lockDefinitions } from './store-ddl.js';

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
