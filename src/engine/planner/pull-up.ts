/** A query that only projects a subquery becomes that subquery with another list: `INSERT … SELECT` is such a query. */
import { flag, kid, kids, mustKid, num } from '../dialect/node.js';
import { RTE, rteAt } from '../dialect/query.js';
import type { TreeNode, TreeValue } from '../front/tree.js';

/** @returns the same rows by one level less, or the query itself where it does more than to project. */
export function pulledUp(query: TreeNode): TreeNode {
  const items = kids(mustKid(query, 'jointree'), 'fromlist');
  const item = items[0];
  if (items.length !== 1 || item === undefined || item.node !== 'RANGETBLREF' || !onlyProjects(query)) return query;
  const rtindex = num(item, 'rtindex');
  const rte = rteAt(query, rtindex);
  const subquery = num(rte, 'rtekind') === RTE.subquery && kids(rte, 'securityQuals').length === 0 ? kid(rte, 'subquery') : null;
  if (subquery === null || !hasFreeList(subquery)) return query;
  const inner = kids(subquery, 'targetList');
  const columns = new Map(
    inner.filter((entry) => !flag(entry, 'resjunk')).map((entry) => [num(entry, 'resno'), mustKid(entry, 'expr')]),
  );
  const shown = kids(query, 'targetList').map((entry, i) => ({
    ...entry,
    resno: i + 1,
    ressortgroupref: 0,
    expr: substituted(mustKid(entry, 'expr'), rtindex, columns) as TreeNode,
  }));
  const keys = inner
    .filter((entry) => num(entry, 'ressortgroupref') !== 0)
    .map((entry, i) => ({ ...entry, resno: shown.length + i + 1, resjunk: true }));
  return { ...subquery, targetList: [...shown, ...keys] };
}

function onlyProjects(query: TreeNode): boolean {
  const clauses = ['groupClause', 'groupingSets', 'distinctClause', 'sortClause', 'windowClause', 'cteList', 'rowMarks'];
  return (
    kid(mustKid(query, 'jointree'), 'quals') === null &&
    kid(query, 'limitCount') === null &&
    kid(query, 'limitOffset') === null &&
    kid(query, 'setOperations') === null &&
    !['hasAggs', 'hasWindowFuncs', 'hasSubLinks', 'hasTargetSRFs'].some((name) => flag(query, name)) &&
    clauses.every((name) => kids(query, name).length === 0)
  );
}

/** Columns may come and go without a change of its rows. */
function hasFreeList(query: TreeNode): boolean {
  return (
    num(query, 'commandType') === 1 &&
    kid(query, 'setOperations') === null &&
    kids(query, 'distinctClause').length === 0 &&
    !flag(query, 'hasTargetSRFs')
  );
}

function substituted(value: TreeValue, rtindex: number, columns: ReadonlyMap<number, TreeNode>): TreeValue {
  if (Array.isArray(value)) return value.map((one) => substituted(one, rtindex, columns));
  if (typeof value !== 'object' || value === null || !('node' in value)) return value;
  const node = value as TreeNode;
  if (node.node === 'VAR' && num(node, 'varno') === rtindex) return columns.get(num(node, 'varattno')) ?? node;
  return Object.fromEntries(
    Object.entries(node).map(([field, child]) => [field, substituted(child, rtindex, columns)]),
  ) as unknown as TreeNode;
}
