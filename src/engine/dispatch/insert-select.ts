import { join } from 'node:path';
import { internalError, notSupported } from '../../core/errors.js';
import type { TableDef } from '../../model/table.js';
import { parseCopyOptions } from '../codec/copy-options.js';
import { CANONICAL_OUTPUT } from '../codec/heap.js';
import { quoteIdent } from '../executor/sql-text.js';
import type { InsertPlan, InsertSource, ReadPlan } from '../planner/types.js';
import { csvOfRows } from './datarow.js';
import { insertInFront } from './finish-front.js';
import { type LoadDeps, type LoadInput, ShardLoad } from './load.js';
import { byFront, type MakeFallback } from './read.js';
import { Spool } from './spool.js';
import type { Executed, StatementContext } from './types.js';

/** What runs a read plan; dispatch's own. */
export type RunRead = (ctx: StatementContext, plan: ReadPlan, fallback: MakeFallback) => Promise<Executed>;

export interface SelectDeps extends LoadDeps {
  readonly runRead: RunRead;
}

let sequence = 0;

/** The engines cannot read the rows: PostgreSQL on the coordinator has to. */
class NeedsFront extends Error {}

/** INSERT … SELECT: the rows are read to the end first, so that the statement does not see what it inserts. */
export async function insertSelect(
  deps: SelectDeps,
  ctx: StatementContext,
  plan: InsertPlan,
  source: InsertSource & { kind: 'select' },
  table: TableDef,
  fallback: MakeFallback,
): Promise<Executed> {
  if (plan.returning !== null)
    throw notSupported('RETURNING of INSERT … SELECT is not supported', 'Select the rows again after the INSERT.');
  if (source.read.finish?.engine === 'pglite') return await insertComputed(deps, ctx, table, fallback);
  sequence++;
  const spool = new Spool(join(deps.tempDir, `insert_${process.pid}_${sequence}.csv`));
  try {
    const read = await spoolRows(deps, ctx, source, table, spool);
    const rows = await loadSpool(deps, ctx, source, table, spool);
    return { rows, tag: `INSERT 0 ${rows}`, tasks: read.tasks, finish: read.finish };
  } catch (error) {
    if (!(error instanceof NeedsFront)) throw error;
    return await insertComputed(deps, ctx, table, fallback);
  } finally {
    await spool.close();
  }
}

/** The statement as written, in PostgreSQL over the rows of its tables; what it would store is stored. */
async function insertComputed(
  deps: SelectDeps,
  ctx: StatementContext,
  table: TableDef,
  fallback: MakeFallback,
): Promise<Executed> {
  if (table.needsFront) {
    throw notSupported(
      `this INSERT … SELECT into table "${table.name}", whose rows need defaults or checks, is not supported`,
      'Simplify the SELECT (EXPLAIN VERBOSE shows what the segments cannot run), or store its result in a plain table first.',
    );
  }
  const { csv, rows, tasks } = await byFront(fallback(), fallback, (plan) => insertInFront(deps, ctx, plan, table));
  const load = await ShardLoad.begin(deps, ctx, table);
  await load.whole(async () => await load.canonical(csv));
  return { rows, tag: `INSERT 0 ${rows}`, tasks, finish: 'front' };
}

/** All columns in the table's order where no default has to be computed, else the columns that the statement names. */
async function spoolRows(
  deps: SelectDeps,
  ctx: StatementContext,
  source: InsertSource & { kind: 'select' },
  table: TableDef,
  spool: Spool,
): Promise<Executed> {
  const fields = table.needsFront ? undefined : table.columns.map((column) => indexOrAbsent(source.columns, column.attnum));
  const readContext: StatementContext = {
    ...ctx,
    formats: source.read.output.map(() => 0),
    output: CANONICAL_OUTPUT,
    sink: { rows: (messages) => spool.add(csvOfRows(messages, fields)) },
  };
  return await deps.runRead(readContext, source.read, () => {
    throw new NeedsFront();
  });
}

function indexOrAbsent(attnums: readonly number[], attnum: number): number | undefined {
  const at = attnums.indexOf(attnum);
  return at < 0 ? undefined : at;
}

async function loadSpool(
  deps: SelectDeps,
  ctx: StatementContext,
  source: InsertSource & { kind: 'select' },
  table: TableDef,
  spool: Spool,
): Promise<number> {
  const load = await ShardLoad.begin(deps, ctx, table, table.needsFront ? frontInput(source, table) : null);
  return await load.whole(async () => {
    for await (const block of spool.blocks()) {
      if (table.needsFront) await load.push(block);
      else await load.canonical(block);
    }
    if (table.needsFront) await load.end();
  });
}

function frontInput(source: InsertSource & { kind: 'select' }, table: TableDef): LoadInput {
  const columns = source.columns.map((attnum) => {
    const column = table.columns.find((candidate) => candidate.attnum === attnum);
    if (column === undefined) throw internalError(`table ${table.name} has no column number ${attnum}`);
    return column;
  });
  const names = columns.map((column) => quoteIdent(column.name)).join(', ');
  return {
    columns,
    options: parseCopyOptions([['format', 'csv']], 'from'),
    absentAreNull: false,
    copySql: `COPY ${quoteIdent(table.schema)}.${quoteIdent(table.name)} (${names}) FROM STDIN (FORMAT csv)`,
  };
}
