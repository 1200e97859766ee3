import { SqlError } from '../../core/errors.js';
import type { HeapValue } from '../../model/storage.js';
import type { ColumnDef, Shard, TableDef } from '../../model/table.js';
import type { WriteTask } from '../../model/task.js';
import { CanonicalCsvReader } from '../codec/csv.js';
import { heapRowEncoder } from '../codec/encode-heap.js';
import { CANONICAL_OUTPUT, heapFromText, textFromHeap } from '../codec/heap.js';
import { RowWriter } from '../codec/rowwriter.js';
import type { InsertPlan, ValueRef } from '../planner/types.js';
import { toLogValue } from '../store/rows-batch.js';
import { locksForWrite } from '../txn/names.js';
import { cancelled } from './errors.js';
import { insertSelect, type SelectDeps } from './insert-select.js';
import { ShardLoad } from './load.js';
import type { MakeFallback } from './read.js';
import { indexOfValue, isSpread, onlyShard, ownerOf, shardAt, tableOf, valueText } from './targets.js';
import type { CatalogView, Executed, StatementContext } from './types.js';
import { sendWrites, takeLocks } from './write.js';

/** INSERT: rows become heap values (few) or canonical CSV (many), by shard; locks; then they are sent. */
export async function executeInsert(
  deps: SelectDeps,
  ctx: StatementContext,
  plan: InsertPlan,
  fallback: MakeFallback,
): Promise<Executed> {
  const table = tableOf(ctx.view(), plan.tableId);
  switch (plan.source.kind) {
    case 'values':
      return await insertRows(deps, ctx, plan, table, valuesOf(ctx, table, plan.source.rows));
    case 'front': {
      const target = { schema: table.schema, name: table.name, columns: table.columns.map((column) => column.attnum) };
      const computed = await ctx.computing
        .insert(ctx.sql, ctx.params, ctx.paramTypes, target, ctx.front)
        .catch((error: unknown) => {
          throw ctx.signal.aborted ? cancelled(ctx.signal) : error;
        });
      if (plan.returning !== null || computed.rows <= FEW_ROWS) {
        return await insertRows(deps, ctx, plan, table, heapRows(table, computed.csv));
      }
      return await loadCsv(deps, ctx, table, computed.csv);
    }
    case 'select':
      return await insertSelect(deps, ctx, plan, plan.source, table, fallback);
  }
}

/** Up to here rows go as values in one message; above as CSV in a stream. */
const FEW_ROWS = 200;

async function loadCsv(deps: SelectDeps, ctx: StatementContext, table: TableDef, csv: Buffer): Promise<Executed> {
  const load = await ShardLoad.begin(deps, ctx, table);
  const rows = await load.whole(async () => await load.canonical(csv));
  return { rows, tag: `INSERT 0 ${rows}`, tasks: [], finish: null };
}

function heapRows(table: TableDef, csv: Buffer): HeapValue[][] {
  const rows: HeapValue[][] = [];
  for (const fields of new CanonicalCsvReader(csv)) {
    rows.push(table.columns.map((column, i) => heapOf(column, fields[i]!)));
  }
  return rows;
}

function heapOf(column: ColumnDef, text: string | null): HeapValue {
  return text === null ? null : heapFromText(column.typeOid, column.typmod, text);
}

function valuesOf(ctx: StatementContext, table: TableDef, rows: (ValueRef | null)[][]): HeapValue[][] {
  return rows.map((refs) =>
    table.columns.map((column, i) => (refs[i] === null ? null : heapOf(column, valueText(refs[i]!, ctx.params)))),
  );
}

/** Sends rows of heap values, and answers RETURNING from them. */
async function insertRows(
  deps: SelectDeps,
  ctx: StatementContext,
  plan: InsertPlan,
  table: TableDef,
  rows: HeapValue[][],
): Promise<Executed> {
  checkNotNull(table, plan.notNull, rows);
  const groups = byShard(ctx.view(), table, rows);
  const shards = groups.map((group) => group.shard);
  await takeLocks(ctx, locksForWrite(table, shards, table.distribution.kind === 'reference' ? 'modify' : 'insert'));
  const tasks = table.distribution.kind === 'reference' ? await sendCopies(deps, ctx, groups) : await sendSpread(ctx, groups);
  if (plan.returning !== null) await giveReturning(ctx, plan.returning, table, rows);
  return { rows: rows.length, tag: `INSERT 0 ${rows.length}`, tasks, finish: null };
}

interface Group {
  shard: Shard;
  rows: HeapValue[][];
}

function byShard(view: CatalogView, table: TableDef, rows: HeapValue[][]): Group[] {
  if (rows.length === 0) return [];
  if (!isSpread(table)) return [{ shard: onlyShard(view, table.tableId), rows }];
  const groups = new Map<number, Group>();
  for (const row of rows) {
    const index = indexOfRow(view, table, row);
    const group = groups.get(index);
    if (group === undefined) groups.set(index, { shard: shardAt(view, table.tableId, index), rows: [row] });
    else group.rows.push(row);
  }
  return [...groups.values()];
}

function indexOfRow(view: CatalogView, table: TableDef, row: HeapValue[]): number {
  const { distribution } = table;
  if (distribution.kind === 'random') return Math.floor(Math.random() * view.shardCount(distribution.colocationId));
  if (distribution.kind !== 'distributed') return 0;
  const at = table.columns.findIndex((column) => column.attnum === distribution.attnum);
  const column = table.columns[at]!;
  const value = row[at]!;
  if (value === null) {
    throw new SqlError('23502', `the distribution column "${column.name}" of relation "${table.name}" cannot be NULL`, {
      schema: table.schema,
      table: table.name,
      column: column.name,
    });
  }
  return indexOfValue(
    view,
    distribution.colocationId,
    column.typeOid,
    textFromHeap(column.typeOid, column.typmod, value, CANONICAL_OUTPUT),
  );
}

async function sendSpread(ctx: StatementContext, groups: Group[]): Promise<Executed['tasks']> {
  const view = ctx.view();
  const byContent = new Map<number, Group[]>();
  for (const group of groups) {
    const content = ownerOf(view, group.shard.setKey);
    const list = byContent.get(content);
    if (list === undefined) byContent.set(content, [group]);
    else list.push(group);
  }
  const written = await sendWrites(ctx, [...byContent.keys()], (content) =>
    byContent
      .get(content)!
      .map(
        (group): WriteTask => ({ op: 'insert', gid: ctx.txn!.gid, shardId: group.shard.shardId, rows: inMessage(group.rows) }),
      ),
  );
  return written.map(({ content, result, ms }) => ({ input: 'insert', content, shards: 1, rows: result.rows, bytes: 0, ms }));
}

/** A float's -0 would be lost on the way. */
function inMessage(rows: HeapValue[][]): HeapValue[][] {
  return rows.map((row) => row.map(toLogValue));
}

/** The same rows with the same rids to every copy. */
async function sendCopies(deps: SelectDeps, ctx: StatementContext, groups: Group[]): Promise<Executed['tasks']> {
  const group = groups[0];
  if (group === undefined) return [];
  const { shard, rows } = group;
  const firstRid = deps.rids.first(shard.shardId);
  const contents = ctx.view().placement(shard.setKey).contents;
  const task: WriteTask = { op: 'insert', gid: ctx.txn!.gid, shardId: shard.shardId, rows: inMessage(rows), firstRid };
  const written = await sendWrites(ctx, contents, () => [task]);
  deps.rids.used(shard.shardId, firstRid, rows.length);
  return written.map(({ content, result, ms }) => ({ input: 'insert', content, shards: 1, rows: result.rows, bytes: 0, ms }));
}

function checkNotNull(table: TableDef, attnums: readonly number[], rows: HeapValue[][]): void {
  for (const attnum of attnums) {
    const at = table.columns.findIndex((column) => column.attnum === attnum);
    const row = rows.find((candidate) => candidate[at] === null);
    if (row === undefined) continue;
    const { name } = table.columns[at]!;
    throw new SqlError('23502', `null value in column "${name}" of relation "${table.name}" violates not-null constraint`, {
      detail: `Failing row contains (${row.map((value, i) => describeValue(table.columns[i]!, value)).join(', ')}).`,
      schema: table.schema,
      table: table.name,
      column: name,
    });
  }
}

/** PostgreSQL cuts long values at 64 bytes in this text. */
function describeValue(column: ColumnDef, value: HeapValue): string {
  if (value === null) return 'null';
  const text = textFromHeap(column.typeOid, column.typmod, value, CANONICAL_OUTPUT);
  return text.length > 64 ? `${text.slice(0, 64)}...` : text;
}

async function giveReturning(
  ctx: StatementContext,
  returning: NonNullable<InsertPlan['returning']>,
  table: TableDef,
  rows: HeapValue[][],
): Promise<void> {
  const at = returning.map((item) => table.columns.findIndex((column) => column.attnum === item.attnum));
  const encode = heapRowEncoder(
    returning.map((item) => item.output),
    ctx.formats,
    ctx.output,
  );
  const writer = new RowWriter();
  for (const row of rows) {
    encode(
      at.map((i) => row[i]!),
      writer,
    );
  }
  const count = writer.rows;
  if (count > 0) await ctx.sink.rows(writer.take(), count);
}
