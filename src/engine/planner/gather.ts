/** Last tiers: rows of each table come to the coordinator, filtered and projected; DuckDB or PostgreSQL itself finishes there. */
import type { OutputColumn } from '../../model/task.js';
import { attempt, Decline, decline } from '../dialect/decline.js';
import { duckdb } from '../dialect/duckdb.js';
import { columnExpr } from '../dialect/expr.js';
import { exprOf } from '../dialect/expression.js';
import { type BindTable, QueryWriter, type Scope } from '../dialect/query.js';
import type { TreeNode } from '../front/tree.js';
import { cannotRaise, conjunctsOf } from './conjuncts.js';
import { named, type SelectContext } from './context.js';
import { fragmentOf, fragmentWriter, someColumn } from './fragment.js';
import { isDistributed, type Leaf, leafId } from './relations.js';
import type { Finish, Input, ReadPlan, ValueRef, Where } from './types.js';
import { usedColumns } from './used-columns.js';

/** One input for each table that stands in the query; DuckDB on the coordinator does the rest. */
export function gatherPlan(context: SelectContext): ReadPlan {
  const { query, relations, output } = context;
  if (relations.others) decline('a catalog relation');
  const gathered: { leaf: Leaf; name: string; used: Set<number>; mark: string }[] = [];
  const bind: BindTable = (owner, rtindex) => {
    const leaf = relations.byId.get(leafId(relations, owner, rtindex));
    if (leaf === undefined) return decline('a catalog relation');
    const name = `in${gathered.length}`;
    // No text of a statement holds a zero byte.
    const entry = { leaf, name, used: new Set<number>(), mark: `\0${name}\0` };
    gathered.push(entry);
    const alias = `t${name.slice(2)}`;
    return {
      alias,
      relation: entry.mark,
      column: (attnum) => {
        const column = leaf.table.columns.find((one) => one.attnum === attnum);
        if (column === undefined) return decline(`column ${attnum} of ${leaf.table.name}`);
        entry.used.add(attnum);
        return columnExpr(`${alias}.c${attnum}`, column.typeOid, column.typmod, 'duckdb');
      },
    };
  };
  const writer = new QueryWriter(duckdb, bind);
  const written = writer.final(query);
  let sql = written.sql;
  const inputs: Input[] = [];
  for (const { leaf, name, used, mark } of gathered) {
    const columns = used.size === 0 ? [someColumn(leaf.table)] : [...used].sort((a, b) => a - b);
    const list = columns.map((attnum, i) => `o${i} AS c${attnum}`).join(', ');
    sql = sql.replaceAll(mark, () => `(SELECT ${list} FROM {{${name}}})`);
    inputs.push(inputOf(context, leaf, name, columns, conjunctsOf(leaf.query, leaf.rtindex)));
  }
  const finish: Finish = { engine: 'duckdb', sql, params: writer.paramSpecs(), output: named(written.output, output) };
  return { kind: 'read', tier: 'gather', inputs, finish, declined: context.declined, output: finish.output };
}

/**
 * The statement as written in PostgreSQL, over the rows of its tables.
 * @param bare all rows, unfiltered: for when the conditions themselves raise where the rows are.
 */
export function fallbackPlan(context: SelectContext, bare = false): ReadPlan {
  const { relations, output } = context;
  const used = usedColumns(relations);
  const inputs: Input[] = [];
  const load: { input: string; tableId: number; columns: number[] }[] = [];
  for (const [tableId, columns] of used) {
    const leaves = relations.leaves.filter((leaf) => leaf.table.tableId === tableId);
    const leaf = leaves[0] as Leaf;
    const { table } = leaf;
    // The shell checks what PostgreSQL checks on a load: NOT NULL, CHECK; generated columns are computed from the others.
    const wanted = table.columns.filter((column) => table.needsFront || column.notNull || columns.has(column.attnum));
    const attnums = wanted.length === 0 ? [someColumn(table)] : wanted.map((column) => column.attnum);
    const name = `in${inputs.length}`;
    // A table that is read twice is loaded once: with all rows that either needs.
    const alone = leaves.length === 1 && !bare;
    inputs.push(
      inputOf(context, leaf, name, attnums, alone ? conjunctsOf(leaf.query, leaf.rtindex).filter(cannotRaise) : [], alone),
    );
    load.push({ input: name, tableId, columns: attnums });
  }
  return { kind: 'read', tier: 'gather', inputs, finish: { engine: 'pglite', load }, declined: context.declined, output };
}

/** Rows of one table: the conditions that its engine can evaluate are applied where the rows are. */
function inputOf(
  context: SelectContext,
  leaf: Leaf,
  name: string,
  columns: number[],
  conjuncts: TreeNode[],
  prune = true,
): Input {
  const engine = leaf.table.accessMethod === 'heap' ? 'sqlite' : 'duckdb';
  const parts = fragmentWriter(engine, context.catalog);
  const table = parts.relations.bind(leaf.table);
  const scope: Scope = { query: leaf.query, parent: null, bound: new Map([[leaf.rtindex, table]]), ctes: new Map() };
  const conditions: string[] = [];
  for (const conjunct of conjuncts) {
    const condition = attempt(() => exprOf(conjunct, parts.writer.context(scope)).sql);
    if (!(condition instanceof Decline)) conditions.push(condition);
  }
  const output: OutputColumn[] = columns.map((attnum) => {
    const column = leaf.table.columns.find((one) => one.attnum === attnum);
    return { name: column?.name ?? `c${attnum}`, typeOid: column?.typeOid ?? 0, typmod: column?.typmod ?? -1 };
  });
  const list = columns.map((attnum, i) => `${table.column(attnum).sql} AS o${i}`).join(', ');
  const where = conditions.length === 0 ? '' : ` WHERE ${conditions.join(' AND ')}`;
  const fragment = fragmentOf(engine, `SELECT ${list} FROM ${table.relation} AS ${table.alias}${where}`, output, parts);
  const used = new Set(conditions.flatMap((condition) => [...condition.matchAll(/[?$](\d+)/g)].map((match) => Number(match[1]))));
  return {
    name,
    fragment: { ...fragment, params: fragment.params.filter((param) => used.has(param.n)) },
    where: whereOf(context, leaf, prune),
  };
}

function whereOf(context: SelectContext, leaf: Leaf, prune: boolean): Where {
  const { distribution } = leaf.table;
  if (!isDistributed(leaf.table) || !('colocationId' in distribution)) return { kind: 'coordinator' };
  const keys: ValueRef[] | null = prune ? (context.values.get(leaf.id) ?? null) : null;
  return { kind: 'colocated', colocationId: distribution.colocationId, keys: keys !== null && keys.length === 0 ? null : keys };
}
