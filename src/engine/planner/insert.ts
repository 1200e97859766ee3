/** INSERT: values that are known at execution, rows that the front computes, or rows of a read plan. */
import { notSupported } from '../../core/errors.js';
import type { TableDef } from '../../model/table.js';
import type { OutputColumn } from '../../model/task.js';
import { kid, kids, mustKid, nested, num, visit } from '../dialect/node.js';
import { RTE } from '../dialect/query.js';
import type { TreeNode } from '../front/tree.js';
import { pulledUp } from './pull-up.js';
import { relationsOf } from './relations.js';
import type { InsertPlan, InsertSource, PlannerCatalog, ReadPlan, ValueRef } from './types.js';
import { valueFor } from './values.js';

/** @param read plans a SELECT. */
export function insertPlan(
  query: TreeNode,
  table: TableDef,
  output: OutputColumn[],
  catalog: PlannerCatalog,
  read: (query: TreeNode, output: OutputColumn[]) => ReadPlan,
): InsertPlan {
  if (kid(query, 'onConflict') !== null) {
    throw notSupported('INSERT … ON CONFLICT is not supported yet', 'Update the rows that exist first, then insert the others.');
  }
  if (kids(query, 'withCheckOptions').length > 0) {
    throw notSupported(
      'INSERT under row level security or through a view with CHECK OPTION is not supported yet',
      'Insert into the table itself.',
    );
  }
  return {
    kind: 'insert',
    tableId: table.tableId,
    source: sourceOf(query, table, catalog, read),
    returning: returningOf(query, output),
    notNull: table.columns.filter((column) => column.notNull).map((column) => column.attnum),
  };
}

function returningOf(query: TreeNode, output: OutputColumn[]): InsertPlan['returning'] {
  const entries = kids(query, 'returningList');
  if (entries.length === 0) return null;
  return entries.map((entry, i) => {
    const expr = mustKid(entry, 'expr');
    const plain = expr.node === 'VAR' && num(expr, 'varno') === num(query, 'resultRelation') && num(expr, 'varattno') > 0;
    if (!plain || num(expr, 'varreturningtype') === 1) {
      throw notSupported('RETURNING of expressions is not supported for INSERT yet', 'Return columns of the table.');
    }
    return { attnum: num(expr, 'varattno'), output: output[i] as OutputColumn };
  });
}

function sourceOf(
  query: TreeNode,
  table: TableDef,
  catalog: PlannerCatalog,
  read: (query: TreeNode, output: OutputColumn[]) => ReadPlan,
): InsertSource {
  const rtable = kids(query, 'rtable');
  const selected = rtable.some((rte) => num(rte, 'rtekind') === RTE.subquery);
  if (selected || kids(query, 'cteList').length > 0) return selectSource(query, table, catalog, read);
  const rows = table.needsFront ? null : valueRows(query, table);
  if (rows !== null) return { kind: 'values', rows };
  if (readsTables(query, catalog)) {
    throw notSupported('INSERT … VALUES with subqueries over tables is not supported yet', 'Write INSERT … SELECT.');
  }
  return { kind: 'front' };
}

function readsTables(query: TreeNode, catalog: PlannerCatalog): boolean {
  return relationsOf(withoutTarget(query), catalog).leaves.length > 0;
}

/** Values in attnum order; null where one has to be computed. */
function valueRows(query: TreeNode, table: TableDef): (ValueRef | null)[][] | null {
  const targets = new Map(kids(query, 'targetList').map((entry) => [num(entry, 'resno'), mustKid(entry, 'expr')]));
  const values = kids(query, 'rtable').find((rte) => num(rte, 'rtekind') === RTE.values);
  const lists: (TreeNode[] | null)[] = values === undefined ? [null] : nested(values, 'values_lists');
  const rows: (ValueRef | null)[][] = [];
  for (const list of lists) {
    const row: (ValueRef | null)[] = [];
    for (const column of table.columns) {
      const target = targets.get(column.attnum);
      const node = target?.node === 'VAR' && list !== null ? list[num(target, 'varattno') - 1] : target;
      const value = node === undefined ? null : valueFor(node, column);
      if (value === undefined) return null;
      row.push(value);
    }
    rows.push(row);
  }
  return rows;
}

/** The INSERT's query as a SELECT of its target list: the target itself is taken out of the range table. */
export function withoutTarget(query: TreeNode): TreeNode {
  const rtable = kids(query, 'rtable').map((rte, i) => {
    return i + 1 === num(query, 'resultRelation') ? ({ node: 'RANGETBLENTRY', rtekind: RTE.result } as TreeNode) : rte;
  });
  return { ...query, commandType: 1, resultRelation: 0, returningList: null, rtable };
}

function selectSource(
  query: TreeNode,
  table: TableDef,
  catalog: PlannerCatalog,
  read: (query: TreeNode, output: OutputColumn[]) => ReadPlan,
): InsertSource {
  const select = withoutTarget(query);
  if (relationsOf(select, catalog).leaves.length === 0) return { kind: 'front' };
  // Defaults that have to be computed are left to whoever stores the rows; what comes from the SELECT is a column of it.
  const entries = kids(select, 'targetList').filter((entry) => isSelected(mustKid(entry, 'expr')));
  const columns = entries.map((entry) => num(entry, 'resno'));
  const renumbered = entries.map((entry, i) => ({ ...entry, resno: i + 1 }));
  const output = columns.map((attnum) => {
    const column = table.columns.find((one) => one.attnum === attnum);
    return { name: column?.name ?? '', typeOid: column?.typeOid ?? 0, typmod: column?.typmod ?? -1 };
  });
  return { kind: 'select', read: read(pulledUp({ ...select, targetList: renumbered }), output), columns };
}

/**
 * A value of the SELECT, or a default? PostgreSQL pulls the SELECT's literals up into the target list, under the coercions to their columns;
 * a default that is such a constant is the same on every row, and may be taken for one.
 */
function isSelected(expr: TreeNode): boolean {
  let columns = false;
  let constant = true;
  visit(expr, (node) => {
    if (node.node === 'VAR') columns = true;
    const coercion = node.node === 'FUNCEXPR' && CASTS.has(num(node, 'funcformat'));
    if (node.node !== 'CONST' && node.node !== 'RELABELTYPE' && !coercion) constant = false;
    return !columns;
  });
  return columns || constant;
}

/** CoercionForm: explicit and implicit casts. */
const CASTS: ReadonlySet<number> = new Set([1, 2]);
