import { notSupported, SqlError } from '../../core/errors.js';
import type { TableDef } from '../../model/table.js';
import { createDistributed, createReference, setAccessMethod, undistribute } from '../catalog/builders.js';
import type { DistributeOptions, TableChange } from '../catalog/types.js';
import { heapRowEncoder } from '../codec/encode-heap.js';
import { heapFromText } from '../codec/heap.js';
import { RowWriter } from '../codec/rowwriter.js';
import { indexOfValue, valueText } from '../dispatch/targets.js';
import { quoteIdent } from '../executor/sql-text.js';
import type { AdminCallPlan } from '../planner/types.js';
import { checkDistributionColumn, shardCountOf } from './create-table.js';
import { execInFront, frontRows, tableOfOid } from './front-ddl.js';
import { moveRows } from './move-rows.js';
import type { Answer, Session } from './session.js';
import type { Bound } from './statement.js';
import { lockDefinitions } from './store-ddl.js';

type Arguments = Record<string, string | null>;

/** `SELECT create_distributed_table('t', 'c')` and its kin: calls of our own functions at the top of a SELECT. */
export async function runAdminCall(
  session: Session,
  plan: AdminCallPlan,
  bound: Bound,
  formats: number[],
  answer: Answer,
): Promise<string> {
  const args: Arguments = {};
  for (const [name, ref] of Object.entries(plan.args)) args[name] = ref === null ? null : valueText(ref, bound.params);
  const value = await call(session, plan, args);
  answer.describe(
    plan.output.map((column) => ({ ...column, relationOid: 0, attnum: 0, typeSize: column.typeOid === 20 ? 8 : 4 })),
    formats,
  );
  const writer = new RowWriter(256);
  const encode = heapRowEncoder(plan.output, formats, session.settings.output());
  encode(
    plan.output.map((column) =>
      value === null ? (column.typeOid === VOID ? '' : null) : heapFromText(column.typeOid, column.typmod, value),
    ),
    writer,
  );
  await answer.rows(writer.take(), 1);
  return 'SELECT 1';
}

const VOID = 2278;

async function call(session: Session, plan: AdminCallPlan, args: Arguments): Promise<string | null> {
  switch (plan.name) {
    case 'create_distributed_table':
      return await createDistributedTable(session, args);
    case 'create_reference_table':
      return await change(session, args, 'reference', (table) =>
        createReference(session.shared.deps.catalog, session.tx.view(), table),
      );
    case 'undistribute_table':
      return await change(session, args, 'local', (table) => undistribute(session.shared.deps.catalog, session.tx.view(), table));
    case 'alter_table_set_access_method':
      return await alterAccessMethod(session, args);
    case 'get_shard_id_for_distribution_column':
      return await shardIdOf(session, args);
    default:
      throw notSupported(`${plan.name} is not supported yet`, 'The README lists the functions that are.');
  }
}

async function createDistributedTable(session: Session, args: Arguments): Promise<null> {
  const type = args.distribution_type ?? 'hash';
  if (type !== 'hash') throw notSupported(`distribution type "${type}" is not supported`, "Use 'hash'.");
  const column = args.distribution_column;
  if (column === null || column === undefined) {
    throw notSupported(
      'a distributed table needs a distribution column here',
      'Use CREATE TABLE … DISTRIBUTED RANDOMLY for a table without.',
    );
  }
  const options: DistributeOptions = { column };
  const shardCount =
    args.shard_count === null || args.shard_count === undefined ? shardCountOf(session) : Number(args.shard_count);
  if (shardCount !== undefined) options.shardCount = shardCount;
  if (args.colocate_with !== null && args.colocate_with !== undefined) options.colocateWith = args.colocate_with;
  return await change(session, args, 'distributed', (table) => {
    checkDistributionColumn(table, column);
    return createDistributed(session.shared.deps.catalog, session.tx.view(), table, options);
  });
}

/** Builds the change under the definition's lock, and carries the rows over. */
async function change(
  session: Session,
  args: Arguments,
  wanted: 'distributed' | 'reference' | 'local',
  build: (table: TableDef) => TableChange,
): Promise<null> {
  session.tx.refuseWriteInReadOnly('SELECT');
  const found = await tableArgument(session, args);
  await checkOwner(session, found);
  await lockDefinitions(session, [found]);
  const table = session.tx.view().table(found.tableId);
  if (table === undefined) throw new SqlError('42P01', `relation "${found.name}" does not exist`);
  if (wanted !== 'local' && table.distribution.kind !== 'local') {
    throw new SqlError('42P16', `table "${table.name}" is already distributed`, {
      hint: 'Undistribute it first: SELECT undistribute_table(…).',
    });
  }
  await moveRows(session, table, build(table));
  return null;
}

async function alterAccessMethod(session: Session, args: Arguments): Promise<null> {
  const method = args.access_method;
  if (method !== 'heap' && method !== 'columnar') throw new SqlError('42704', `access method "${method}" does not exist`);
  const table = await tableArgument(session, args);
  await checkOwner(session, table);
  await lockDefinitions(session, [table]);
  if (table.accessMethod === method) return null;
  await execInFront(session, `ALTER TABLE ${quoteIdent(table.schema)}.${quoteIdent(table.name)} SET ACCESS METHOD ${method}`);
  await moveRows(session, table, setAccessMethod(session.shared.deps.catalog, session.tx.view(), table, method));
  return null;
}

/** The shard that holds, or would hold, a distribution value. */
async function shardIdOf(session: Session, args: Arguments): Promise<string | null> {
  const table = await tableArgument(session, args);
  const view = session.tx.view();
  const { distribution } = table;
  if (distribution.kind === 'local') throw new SqlError('42P16', `relation is not distributed`);
  if (distribution.kind !== 'distributed') return String(view.shards(table.tableId)[0]?.shardId ?? '');
  const value = args.distribution_value;
  if (value === null || value === undefined)
    throw new SqlError('22023', 'distribution value cannot be NULL for tables other than reference tables.');
  const column = table.columns.find((candidate) => candidate.attnum === distribution.attnum)!;
  const index = indexOfValue(view, distribution.colocationId, column.typeOid, value);
  return String(view.shards(table.tableId)[index]!.shardId);
}

/** The table that a regclass argument names: an OID, or a name where the client sent text. */
async function tableArgument(session: Session, args: Arguments): Promise<TableDef> {
  const text = args.table_name ?? null;
  if (text === null) throw new SqlError('22004', 'table_name must not be NULL');
  const oid = /^\d+$/.test(text)
    ? Number(text)
    : Number((await frontRows(session, 'SELECT $1::pg_catalog.regclass::pg_catalog.oid', [text]))[0]?.[0]);
  const table = tableOfOid(session, oid);
  if (table !== undefined) return table;
  const [row] = await frontRows(session, 'SELECT $1::pg_catalog.oid::pg_catalog.regclass', [String(oid)]);
  throw new SqlError('42809', `"${row?.[0] ?? text}" is not a table of this cluster`);
}

async function checkOwner(session: Session, table: TableDef): Promise<void> {
  const [row] = await frontRows(session, 'SELECT pg_catalog.pg_has_role($1, $2, $3)', [
    session.settings.currentRole,
    table.owner,
    'USAGE',
  ]);
  if (row?.[0] === 't' || row?.[0] === 'true') return;
  throw new SqlError('42501', `must be owner of table ${table.name}`);
}
