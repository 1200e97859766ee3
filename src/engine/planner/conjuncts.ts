/** Conditions that concern one relation alone, and can be applied where its rows are read. */
import type { TableDef } from '../../model/table.js';
import { attempt, Decline, decline } from '../dialect/decline.js';
import { columnExpr } from '../dialect/expr.js';
import { exprOf } from '../dialect/expression.js';
import { flag, kid, kids, mustKid, num, visit, word } from '../dialect/node.js';
import { JOIN, QueryWriter, type Scope } from '../dialect/query.js';
import { sqlite } from '../dialect/sqlite.js';
import type { TreeNode } from '../front/tree.js';

/** What SQLite can evaluate of them over the columns `c<attnum>` of a heap table; undefined where that is nothing. */
export function heapFilter(table: TableDef, query: TreeNode, rtindex: number): string | undefined {
  const column = (attnum: number) => {
    const found = table.columns.find((one) => one.attnum === attnum);
    return found === undefined ? decline('a column') : columnExpr(`c${attnum}`, found.typeOid, found.typmod, 'sqlite');
  };
  const scope: Scope = { query, parent: null, bound: new Map([[rtindex, { column }]]), ctes: new Map() };
  const writer = new QueryWriter(sqlite, () => decline('another table'));
  const written = conjunctsOf(query, rtindex).map((qual) => attempt(() => exprOf(qual, writer.context(scope)).sql));
  const conditions = written.filter((one): one is string => !(one instanceof Decline));
  return conditions.length === 0 ? undefined : conditions.join(' AND ');
}

/** Conditions on this table alone that every row of it must meet to matter. */
export function conjunctsOf(query: TreeNode, rtindex: number): TreeNode[] {
  const jointree = kid(query, 'jointree');
  if (jointree === null) return [];
  const found: TreeNode[] = [];
  const walk = (item: TreeNode, quals: TreeNode[]): void => {
    if (item.node !== 'JOINEXPR') {
      if (num(item, 'rtindex') === rtindex) found.push(...quals.flatMap(conjuncts).filter((qual) => concernsOnly(qual, rtindex)));
      return;
    }
    const on = kid(item, 'quals');
    const own = on === null ? [] : [on];
    const type = num(item, 'jointype');
    const sides = { [JOIN.inner]: [true, true], [JOIN.left]: [true, false], [JOIN.right]: [false, true] }[type] ?? [false, false];
    // A kept side takes the conditions from above; the other one those of ON.
    const of = (kept: boolean, joins: boolean) => [...(kept ? quals : []), ...(joins ? own : [])];
    const inner = type === JOIN.inner;
    walk(mustKid(item, 'larg'), of(sides[0] === true, inner || type === JOIN.right));
    walk(mustKid(item, 'rarg'), of(sides[1] === true, inner || type === JOIN.left));
  };
  const where = kid(jointree, 'quals');
  for (const item of kids(jointree, 'fromlist')) walk(item, where === null ? [] : [where]);
  return found;
}

function conjuncts(qual: TreeNode): TreeNode[] {
  return qual.node === 'BOOLEXPR' && word(qual, 'boolop') === 'and' ? kids(qual, 'args').flatMap(conjuncts) : [qual];
}

function concernsOnly(qual: TreeNode, rtindex: number): boolean {
  let only = true;
  let columns = 0;
  visit(qual, (node) => {
    if (node.node === 'SUBLINK') only = false;
    if (node.node === 'VAR') {
      columns++;
      if (num(node, 'varno') !== rtindex || num(node, 'varlevelsup') !== 0) only = false;
    }
    return only;
  });
  return only && columns > 0;
}

const SAFE_NODES = new Set([
  'OPEXPR',
  'BOOLEXPR',
  'NULLTEST',
  'BOOLEANTEST',
  'RELABELTYPE',
  'VAR',
  'CONST',
  'PARAM',
  'SCALARARRAYOPEXPR',
  'ARRAYEXPR',
]);
const NUMERIC = 1700;

/** Comparisons of columns with values: no engine raises on them, whatever the rows hold. */
export function cannotRaise(qual: TreeNode): boolean {
  let safe = true;
  visit(qual, (node) => {
    if (!SAFE_NODES.has(node.node)) safe = false;
    if (node.node === 'OPEXPR' && num(node, 'opresulttype') !== 16) safe = false;
    // Their text is checked when the statement runs.
    if (
      node.node === 'PARAM' &&
      (num(node, 'paramtype') === NUMERIC || (num(node, 'paramtype') >= 1000 && num(node, 'paramtype') < 1024))
    )
      safe = false;
    if (node.node === 'CONST' && flag(node, 'constisnull')) return undefined;
    return safe;
  });
  return safe;
}
