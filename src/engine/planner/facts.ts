/**
 * Equalities that hold for every row that can matter: what prunes shards, and what makes a join colocated. A fact is an equality of two
 * columns, or of a column with constants or parameters. Columns are written `<query>.<rtindex>.<attnum>`.
 *
 * Facts of WHERE and of inner joins hold for the whole FROM; those of an outer join's ON hold for its nullable side only (a row there
 * that does not satisfy them joins nothing). `=` is strict, so that a fact of WHERE about a nullable column also removes the rows
 * in which it is NULL.
 */
import { constOf, constText } from '../dialect/constants.js';
import { attempt, Decline } from '../dialect/decline.js';
import { flag, kid, kids, mustKid, num, visit, word } from '../dialect/node.js';
import { JOIN, RTE, rteAt } from '../dialect/query.js';
import { operatorOf } from '../dialect/signatures.js';
import type { TreeNode } from '../front/tree.js';
import { type Leaf, leafId, type Relations } from './relations.js';
import type { ValueRef } from './types.js';

export class Facts {
  private readonly edges: [string, string][] = [];
  private readonly values: [string, ValueRef[]][] = [];

  constructor(private readonly above: Facts | null = null) {}

  equal(a: string, b: string): void {
    this.edges.push([a, b]);
  }

  fixed(column: string, values: ValueRef[]): void {
    this.values.push([column, values]);
  }

  /** Every column that must equal this one, itself included. */
  private closure(column: string): Set<string> {
    const found = new Set([column]);
    for (let grown = true; grown; ) {
      grown = false;
      for (let facts: Facts | null = this; facts !== null; facts = facts.above) {
        for (const [a, b] of facts.edges) {
          if (found.has(a) === found.has(b)) continue;
          found.add(a);
          found.add(b);
          grown = true;
        }
      }
    }
    return found;
  }

  connected(a: string, b: string): boolean {
    return a === b || this.closure(a).has(b);
  }

  /** The shortest list of values that the column must be one of. */
  valuesOf(column: string): ValueRef[] | null {
    const columns = this.closure(column);
    let best: ValueRef[] | null = null;
    for (let facts: Facts | null = this; facts !== null; facts = facts.above) {
      for (const [name, values] of facts.values) {
        if (columns.has(name) && (best === null || values.length < best.length)) best = values;
      }
    }
    return best;
  }
}

/** Enclosing queries, innermost last. */
export type Levels = readonly TreeNode[];

/** The column that an expression is, under no-op casts, joins and groups; null for anything else. */
export function columnKey(node: TreeNode, levels: Levels, relations: Relations): string | null {
  if (node.node === 'RELABELTYPE') return columnKey(mustKid(node, 'arg'), levels, relations);
  if (node.node !== 'VAR') return null;
  const depth = levels.length - 1 - num(node, 'varlevelsup');
  const query = levels[depth];
  if (query === undefined || num(node, 'varattno') <= 0) return null;
  const rtindex = num(node, 'varno');
  const rte = kids(query, 'rtable')[rtindex - 1];
  if (rte === undefined) return null;
  const attno = num(node, 'varattno');
  const kind = num(rte, 'rtekind');
  if (kind === RTE.join || kind === RTE.group) {
    const aliased = kids(rte, kind === RTE.join ? 'joinaliasvars' : 'groupexprs')[attno - 1];
    return aliased === undefined ? null : columnKey(aliased, levels.slice(0, depth + 1), relations);
  }
  return `${leafId(relations, query, rtindex)}.${attno}`;
}

const INT_LIMITS: Readonly<Record<number, bigint>> = { 21: 32767n, 23: 2147483647n, 20: 9223372036854775807n };

/** A constant or parameter that can be hashed as a value of the column's type; null where that is not certain. */
function hashedValue(node: TreeNode, columnType: number): ValueRef | null {
  if (node.node === 'RELABELTYPE') return hashedValue(mustKid(node, 'arg'), columnType);
  if (node.node === 'PARAM' && num(node, 'paramkind') === 0) {
    const typeOid = num(node, 'paramtype');
    const limit = INT_LIMITS[typeOid];
    const columnLimit = INT_LIMITS[columnType];
    const narrower = limit !== undefined && columnLimit !== undefined && limit <= columnLimit;
    return narrower || sameFamily(typeOid, columnType) ? { kind: 'param', n: num(node, 'paramid'), typeOid } : null;
  }
  if (node.node !== 'CONST' || flag(node, 'constisnull')) return null;
  const value = attempt(() => constOf(node));
  if (value instanceof Decline) return null;
  const typeOid = num(node, 'consttype');
  if (value.kind === 'int') {
    const limit = INT_LIMITS[columnType];
    if (limit === undefined || value.value > limit || value.value < -limit - 1n) return null;
  } else if (!sameFamily(typeOid, columnType)) return null;
  const text = attempt(() => constText(value));
  return text instanceof Decline || text === null ? null : { kind: 'const', typeOid, text };
}

const TEXTS = new Set([25, 1043]);

function sameFamily(a: number, b: number): boolean {
  return a === b || (TEXTS.has(a) && TEXTS.has(b));
}

const EQUALITIES = /^=\((\w+),(\w+)\)$/;

/** `=` whose two sides hash alike: one type, or integers of any width. */
export function isHashEquality(opno: number): boolean {
  const match = EQUALITIES.exec(operatorOf(opno)?.text ?? '');
  if (match === null) return false;
  const ints = ['int2', 'int4', 'int8'];
  return match[1] === match[2] || (ints.includes(match[1] as string) && ints.includes(match[2] as string));
}

/** Adds the facts of a condition. */
export function addFacts(facts: Facts, qual: TreeNode | null, levels: Levels, relations: Relations): void {
  if (qual === null) return;
  if (qual.node === 'BOOLEXPR' && word(qual, 'boolop') === 'and') {
    for (const arg of kids(qual, 'args')) addFacts(facts, arg, levels, relations);
  } else if (qual.node === 'OPEXPR' && isHashEquality(num(qual, 'opno'))) {
    addEquality(facts, kids(qual, 'args'), levels, relations);
  } else if (qual.node === 'SCALARARRAYOPEXPR' && flag(qual, 'useOr') && isHashEquality(num(qual, 'opno'))) {
    const [left, given] = kids(qual, 'args');
    // varchar is compared as text: the list is coerced, its values stay what they are.
    const relabelled = given?.node === 'ARRAYCOERCEEXPR' && kid(given, 'elemexpr')?.node === 'RELABELTYPE';
    const array = relabelled ? (kid(given, 'arg') ?? undefined) : given;
    const column = left === undefined ? null : columnKey(left, levels, relations);
    if (column === null || array === undefined || array.node !== 'ARRAYEXPR') return;
    const type = typeOf(left as TreeNode);
    const values = kids(array, 'elements').map((element) => (isNullConst(element) ? undefined : hashedValue(element, type)));
    if (!values.includes(null)) facts.fixed(column, values.filter((value) => value !== undefined) as ValueRef[]);
  }
}

function isNullConst(node: TreeNode): boolean {
  return node.node === 'CONST' && flag(node, 'constisnull');
}

function typeOf(node: TreeNode): number {
  return node.node === 'RELABELTYPE' ? typeOf(mustKid(node, 'arg')) : num(node, 'vartype');
}

function addEquality(facts: Facts, args: TreeNode[], levels: Levels, relations: Relations): void {
  const [a, b] = args as [TreeNode, TreeNode];
  const [left, right] = [columnKey(a, levels, relations), columnKey(b, levels, relations)];
  if (left !== null && right !== null) facts.equal(left, right);
  else if (left !== null) {
    const value = hashedValue(b, typeOf(a));
    if (value !== null) facts.fixed(left, [value]);
  } else if (right !== null) {
    const value = hashedValue(a, typeOf(b));
    if (value !== null) facts.fixed(right, [value]);
  }
}

/** Facts of WHERE, of inner joins that no outer join is above of, and of the subqueries there. */
export function factsOfQuery(query: TreeNode, levels: Levels, above: Facts | null, relations: Relations): Facts {
  const facts = new Facts(above);
  const inside = [...levels, query];
  const jointree = kid(query, 'jointree');
  if (jointree === null) return facts;
  addFacts(facts, kid(jointree, 'quals'), inside, relations);
  const see = (item: TreeNode, inner: boolean): void => {
    if (item.node === 'JOINEXPR') {
      const stays = inner && num(item, 'jointype') === JOIN.inner;
      if (stays) addFacts(facts, kid(item, 'quals'), inside, relations);
      see(mustKid(item, 'larg'), stays);
      see(mustKid(item, 'rarg'), stays);
      return;
    }
    const rtindex = num(item, 'rtindex');
    const rte = kids(query, 'rtable')[rtindex - 1];
    if (rte !== undefined && num(rte, 'rtekind') === RTE.subquery) exportSubquery(facts, query, rtindex, rte, inside, relations);
  };
  for (const item of kids(jointree, 'fromlist')) see(item, true);
  return facts;
}

/** What a subquery of FROM says of its columns. */
function exportSubquery(
  facts: Facts,
  query: TreeNode,
  rtindex: number,
  rte: TreeNode,
  levels: Levels,
  relations: Relations,
): void {
  const subquery = mustKid(rte, 'subquery');
  if (kid(subquery, 'setOperations') !== null) return;
  const inner = factsOfQuery(subquery, levels, null, relations);
  for (const entry of kids(subquery, 'targetList')) {
    if (flag(entry, 'resjunk')) continue;
    const column = columnKey(mustKid(entry, 'expr'), [...levels, subquery], relations);
    const values = column === null ? null : inner.valuesOf(column);
    if (values !== null) facts.fixed(`${leafId(relations, query, rtindex)}.${num(entry, 'resno')}`, values);
  }
}

/** May a condition on the subquery's output be applied to its input? */
function takesConditions(query: TreeNode): boolean {
  return (
    num(query, 'commandType') === 1 &&
    kid(query, 'limitCount') === null &&
    kid(query, 'limitOffset') === null &&
    kid(query, 'setOperations') === null &&
    !flag(query, 'hasWindowFuncs') &&
    !flag(query, 'hasDistinctOn') &&
    !flag(query, 'hasTargetSRFs') &&
    kids(query, 'groupingSets').length === 0
  );
}

/**
 * The values of the distribution column that each leaf can be pruned to.
 * @returns by leaf id; leaves that are not distributed by a column, or not restricted, are absent.
 */
export function leafValues(relations: Relations): Map<string, ValueRef[]> {
  const found = new Map<string, ValueRef[]>();
  const walk = (query: TreeNode, levels: Levels, above: Facts | null): void => {
    const facts = factsOfQuery(query, levels, above, relations);
    const inside = [...levels, query];
    for (const item of kids(kid(query, 'jointree') ?? query, 'fromlist')) walkItem(item, query, inside, facts);
    for (const entry of kids(query, 'cteList')) walk(mustKid(entry, 'ctequery'), inside, null);
    if (kid(query, 'setOperations') !== null) {
      for (const rte of kids(query, 'rtable'))
        if (num(rte, 'rtekind') === RTE.subquery) walk(mustKid(rte, 'subquery'), inside, above);
    }
    for (const sublink of sublinksOf(query)) walk(mustKid(sublink, 'subselect'), inside, facts);
  };
  const walkItem = (item: TreeNode, query: TreeNode, inside: Levels, facts: Facts): void => {
    if (item.node === 'JOINEXPR') {
      const type = num(item, 'jointype');
      const own = new Facts(facts);
      addFacts(own, kid(item, 'quals'), inside, relations);
      walkItem(mustKid(item, 'larg'), query, inside, type === JOIN.inner || type === JOIN.right ? own : facts);
      walkItem(mustKid(item, 'rarg'), query, inside, type === JOIN.inner || type === JOIN.left ? own : facts);
      return;
    }
    const rtindex = num(item, 'rtindex');
    const rte = rteAt(query, rtindex);
    if (num(rte, 'rtekind') === RTE.subquery) walkSubquery(query, rtindex, mustKid(rte, 'subquery'), inside, facts);
    const leaf = relations.byId.get(leafId(relations, query, rtindex));
    if (leaf === undefined || leaf.table.distribution.kind !== 'distributed') return;
    const values = facts.valuesOf(keyColumn(leaf));
    if (values !== null) found.set(leaf.id, values);
  };
  const walkSubquery = (query: TreeNode, rtindex: number, subquery: TreeNode, inside: Levels, facts: Facts): void => {
    const pushed = new Facts();
    if (takesConditions(subquery)) {
      const grouped =
        flag(subquery, 'hasAggs') || kids(subquery, 'groupClause').length > 0 || kid(subquery, 'havingQual') !== null;
      const keys = new Set(kids(subquery, 'groupClause').map((clause) => num(clause, 'tleSortGroupRef')));
      for (const entry of kids(subquery, 'targetList')) {
        if (flag(entry, 'resjunk') || (grouped && !keys.has(num(entry, 'ressortgroupref')))) continue;
        const values = facts.valuesOf(`${leafId(relations, query, rtindex)}.${num(entry, 'resno')}`);
        const column = columnKey(mustKid(entry, 'expr'), [...inside, subquery], relations);
        if (values !== null && column !== null) pushed.fixed(column, values);
      }
    }
    walk(subquery, inside, pushed);
  };
  walk(relations.root, [], null);
  return found;
}

/** The distribution column of a leaf. */
export function keyColumn(leaf: Leaf): string {
  return leaf.table.distribution.kind === 'distributed' ? `${leaf.id}.${leaf.table.distribution.attnum}` : '';
}

/** Sublinks of this query level: not those inside of its subqueries and CTEs. */
export function sublinksOf(query: TreeNode): TreeNode[] {
  const found: TreeNode[] = [];
  visit(query, (node) => {
    if (node === query) return undefined;
    if (node.node === 'SUBLINK') {
      found.push(node);
      // Its left side may hold further ones.
      const test = kid(node, 'testexpr');
      if (test !== null) {
        visit(test, (inner) => {
          if (inner.node === 'SUBLINK') found.push(inner);
          return inner.node !== 'SUBLINK';
        });
      }
      return false;
    }
    return node.node === 'QUERY' ? false : undefined;
  });
  return found;
}
