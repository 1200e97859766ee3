/** UPDATE and DELETE: the SQL is made here, the store records the rows. */
import { SqlError } from '../../core/errors.js';
import { type HeapValue, storageOf } from '../../model/storage.js';
import type { ShardDef } from '../../model/table.js';
import type { ModifyFragment, OutputColumn, WriteResult, WriteTask } from '../../model/task.js';
import { duckChunkEncoder } from '../codec/encode-duck.js';
import { heapRowEncoder } from '../codec/encode-heap.js';
import { RowWriter } from '../codec/rowwriter.js';
import type { StoreTxn } from '../store/types.js';
import { declined } from './errors.js';
import { readsWide, rowsOf } from './heap-run.js';
import { duckLiterals, sqliteParams } from './params.js';
import { putRelations, putValues, quoteIdent } from './sql-text.js';
import { inOrder, renumbered } from './statements.js';

type ModifyTask = Extract<WriteTask, { op: 'modify' }>;

/** RETURNING comes back in one piece: more than this is refused. */
const MAX_RETURNED_BYTES = 64 * 1024 * 1024;
/** Row ids in one condition. */
const RIDS_AT_ONCE = 500;

export async function runModify(shardOf: (shardId: number) => ShardDef, store: StoreTxn, task: ModifyTask): Promise<WriteResult> {
  const returned = task.returning === null || task.fragment.returning === null ? null : new RowWriter();
  let rows = 0;
  for (const shardId of task.shards) {
    const shard = shardOf(shardId);
    const heap = shard.accessMethod === 'heap';
    if (heap !== (task.fragment.engine === 'sqlite')) throw declined(`${shard.relation} is of the other access method`);
    rows += heap ? modifyHeap(store, shard, task, returned) : await modifyColumnar(store, shard, task, returned);
    if (returned !== null && returned.length > MAX_RETURNED_BYTES) {
      throw new SqlError('54000', 'RETURNING yields more than 64 MB', { hint: 'Change fewer rows at a time.' });
    }
  }
  const bytes = returned?.take();
  return bytes === undefined ? { rows } : { rows, returned: bytes };
}

function modifyHeap(store: StoreTxn, shard: ShardDef, task: ModifyTask, returned: RowWriter | null): number {
  const { fragment } = task;
  const relation = quoteIdent(shard.relation);
  const alias = fragment.target.alias;
  const put = (sql: string): string => putRelations(sql, (name) => (name === alias ? relation : undefined));
  const where = fragment.where === null ? '' : ` WHERE ${put(fragment.where)}`;
  const params = sqliteParams(fragment.params, task.params);
  const writer = store.heapWriter(shard.setKey);
  if (fragment.op === 'delete') {
    if (returned !== null) returnHeap(writer, `${relation} AS ${alias}${where}`, params, task, returned);
    const all = shard.columns.map(({ attnum }) => `c${attnum}`).join(', ');
    const sql = `DELETE FROM ${relation} AS ${alias}${where} RETURNING _rid${all === '' ? '' : `, ${all}`}`;
    return change(store, shard, 'delete', sql, params).length;
  }
  // `SET k = k` of the distribution column changes nothing, and counts its rows.
  const assignments = fragment.assignments.map(({ attnum, sql }) => `c${attnum} = ${put(sql)}`);
  const set = assignments.length === 0 ? '_rid = _rid' : assignments.join(', ');
  const all = shard.columns.map(({ attnum }) => `c${attnum}`).join(', ');
  const sql = `UPDATE ${relation} AS ${alias} SET ${set}${where} RETURNING _rid, ${all}`;
  const changed = change(store, shard, 'update', sql, params);
  checkNotNull(fragment, shard, changed);
  if (returned !== null) {
    for (let from = 0; from < changed.length; from += RIDS_AT_ONCE) {
      const rids = changed.slice(from, from + RIDS_AT_ONCE).map(({ rid }) => rid);
      returnHeap(writer, `${relation} AS ${alias} WHERE _rid IN (${rids.join(', ')})`, params, task, returned);
    }
  }
  return changed.length;
}

function change(
  store: StoreTxn,
  shard: ShardDef,
  op: 'update' | 'delete',
  sql: string,
  params: ReadonlyMap<number, HeapValue>,
): { rid: number; row: HeapValue[] }[] {
  const text = renumbered(sql);
  return store.modifyHeap(shard.shardId, op, text.sql, inOrder(text.order, params));
}

function checkNotNull(fragment: ModifyFragment, shard: ShardDef, rows: { row: HeapValue[] }[]): void {
  for (const { attnum, name } of fragment.notNull) {
    const at = shard.columns.findIndex((column) => column.attnum === attnum);
    if (at >= 0 && rows.some(({ row }) => row[at] === null)) throw notNullViolation(fragment, name);
  }
}

function notNullViolation(fragment: ModifyFragment, column: string): SqlError {
  return new SqlError(
    '23502',
    `null value in column "${column}" of relation "${fragment.tableName}" violates not-null constraint`,
    {
      column,
      table: fragment.tableName,
    },
  );
}

function returnHeap(
  writer: ReturnType<StoreTxn['heapWriter']>,
  from: string,
  params: ReadonlyMap<number, HeapValue>,
  task: ModifyTask,
  out: RowWriter,
): void {
  const returning = task.fragment.returning!;
  const { formats, session } = task.returning!;
  const columns: OutputColumn[] = returning.map(({ output }) => output);
  const encode = heapRowEncoder(columns, formats, session);
  const sql = `SELECT ${returning.map((one) => one.sql).join(', ')} FROM ${from}`;
  for (const row of rowsOf(writer, sql, readsWide(columns), params)) encode(row, out);
}

let nextTable = 1;

/**
 * The rows are worked out once, into a temporary table, so that the check, RETURNING and the staging agree even when
 * somebody else's insert becomes visible in between.
 */
async function modifyColumnar(store: StoreTxn, shard: ShardDef, task: ModifyTask, returned: RowWriter | null): Promise<number> {
  const { fragment } = task;
  const connection = await store.duckdb();
  const alias = fragment.target.alias;
  const source = store.overlay(shard.shardId) ?? quoteIdent(shard.relation);
  const put = (sql: string): string => putRelations(sql, (name) => (name === alias ? source : undefined));
  const assigned = new Map(fragment.assignments.map(({ attnum, sql }) => [attnum, put(sql)]));
  const columns = shard.columns.map(({ attnum }) => {
    const sql = fragment.op === 'update' ? assigned.get(attnum) : undefined;
    return sql === undefined ? `${alias}.c${attnum}` : `${sql} AS c${attnum}`;
  });
  const where = fragment.where === null ? '' : ` WHERE ${put(fragment.where)}`;
  const valued = putValues(
    `SELECT ${[`${alias}._rid AS _rid`, ...columns].join(', ')} FROM ${source} AS ${alias}${where}`,
    duckLiterals(fragment.params, task.params),
  );
  const table = `_modify_${nextTable++}`;
  try {
    await connection.run(`CREATE TEMP TABLE ${table} AS ${typed(shard, valued)}`);
    await checkColumnarNotNull(connection, table, fragment);
    if (returned !== null) await returnColumnar(connection, table, task, returned);
    const all = ['_rid', ...shard.columns.map(({ attnum }) => `c${attnum}`)].join(', ');
    return await store.modifyColumnar(shard.shardId, fragment.op, `SELECT ${all} FROM ${table}`);
  } finally {
    await connection.run(`DROP TABLE IF EXISTS ${table}`);
  }
}

/** The new values in the columns' own types, so that RETURNING sees what will be stored. */
function typed(shard: ShardDef, select: string): string {
  const columns = shard.columns.map(
    ({ attnum, typeOid, typmod }) => `CAST(c${attnum} AS ${storageOf(typeOid, typmod).duckdb}) AS c${attnum}`,
  );
  return `SELECT ${['_rid', ...columns].join(', ')} FROM (${select}) AS changed`;
}

async function checkColumnarNotNull(
  connection: Awaited<ReturnType<StoreTxn['duckdb']>>,
  table: string,
  fragment: ModifyFragment,
): Promise<void> {
  if (fragment.op === 'delete') return;
  for (const { attnum, name } of fragment.notNull) {
    const reader = await connection.runAndReadAll(`SELECT 1 FROM ${table} WHERE c${attnum} IS NULL LIMIT 1`);
    if (reader.currentRowCount > 0) throw notNullViolation(fragment, name);
  }
}

async function returnColumnar(
  connection: Awaited<ReturnType<StoreTxn['duckdb']>>,
  table: string,
  task: ModifyTask,
  out: RowWriter,
): Promise<void> {
  const { fragment } = task;
  const { formats, session } = task.returning!;
  const expressions = fragment.returning!.map((one) => one.sql).join(', ');
  const sql = putValues(
    `SELECT ${expressions} FROM ${table} AS ${fragment.target.alias}`,
    duckLiterals(fragment.params, task.params),
  );
  // In memory, as the rows are in any case: a stream does not show its errors.
  const result = await connection.run(sql);
  const encode = duckChunkEncoder(
    fragment.returning!.map((one) => one.output),
    result.columnTypes(),
    formats,
    session,
  );
  for (;;) {
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) return;
    encode(chunk, out);
  }
}
