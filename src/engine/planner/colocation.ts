/**
 * Can a query run on every segment over its own shards alone? Joins of distributed tables must be on their distribution columns, and
 * what looks at several rows (groups, DISTINCT, windows, subqueries) must stay within one value of the distribution column.
 */
import { decline } from '../dialect/decline.js';
import { flag, kid, kids, mustKid, num, visit, word } from '../dialect/node.js';
import { cteKey, JOIN, RTE, rteAt } from '../dialect/query.js';
import type { TreeNode } from '../front/tree.js';
import { addFacts, columnKey, Facts, factsOfQuery, isHashEquality, keyColumn, type Levels, sublinksOf } from './facts.js';
import { leafId, type Relations } from './relations.js';

/** How the rows of a FROM item are spread. */
export type Spread =
  /** The same rows on every segment. */
  | { kind: 'everywhere' }
  /** Each row on one segment; `keys`: columns that equal the distribution value. */
  | { kind: 'spread'; keys: string[]; colocationId: number };

const EVERYWHERE: Spread = { kind: 'everywhere' };

export class Colocation {
  constructor(private readonly relations: Relations) {}

  /** Spread of a query's FROM, with its sublinks checked. Declines where segments cannot work alone. */
  ofFrom(query: TreeNode, levels: Levels, above: Facts | null): { spread: Spread; facts: Facts } {
    const facts = factsOfQuery(query, levels, above, this.relations);
    const inside = [...levels, query];
    let spread: Spread = EVERYWHERE;
    for (const item of kids(mustKid(query, 'jointree'), 'fromlist')) {
      spread = this.join(JOIN.inner, spread, this.ofItem(item, inside, facts), facts);
    }
    if (flag(query, 'hasSubLinks')) this.checkSublinks(query, inside, facts, spread);
    return { spread, facts };
  }

  /**
   * Do the query's groups, windows and DISTINCT stay within one distribution value?
   * @param distinct false: the caller makes rows distinct again.
   */
  staysWithin(query: TreeNode, levels: Levels, spread: Spread, facts: Facts, distinct = true): boolean {
    if (spread.kind === 'everywhere') return true;
    const inside = [...levels, query];
    const entries = kids(query, 'targetList');
    const holdsKey = (clauses: TreeNode[]) =>
      clauses.some((clause) => {
        const entry = entries.find((one) => num(one, 'ressortgroupref') === num(clause, 'tleSortGroupRef'));
        const column = entry === undefined ? null : columnKey(mustKid(entry, 'expr'), inside, this.relations);
        return column !== null && spread.keys.some((key) => facts.connected(key, column));
      });
    const groups = kids(query, 'groupClause');
    if (isGrouped(query) && !holdsKey(groups)) return false;
    const distinctBy = kids(query, 'distinctClause');
    if (distinct && distinctBy.length > 0 && !holdsKey(distinctBy)) return false;
    return kids(query, 'windowClause').every((window) => holdsKey(kids(window, 'partitionClause')));
  }

  private ofItem(item: TreeNode, levels: Levels, facts: Facts): Spread {
    if (item.node === 'JOINEXPR') {
      const type = num(item, 'jointype');
      const own = new Facts(facts);
      addFacts(own, kid(item, 'quals'), levels, this.relations);
      const left = this.ofItem(mustKid(item, 'larg'), levels, type === JOIN.inner || type === JOIN.right ? own : facts);
      const right = this.ofItem(mustKid(item, 'rarg'), levels, type === JOIN.inner || type === JOIN.left ? own : facts);
      return this.join(type, left, right, own);
    }
    const query = levels[levels.length - 1] as TreeNode;
    const rtindex = num(item, 'rtindex');
    const rte = rteAt(query, rtindex);
    switch (num(rte, 'rtekind')) {
      case RTE.relation:
        return this.ofTable(query, rtindex);
      case RTE.subquery:
        return this.ofSubquery(mustKid(rte, 'subquery'), levels, leafId(this.relations, query, rtindex));
      case RTE.cte:
        return this.ofCte(rte, levels, leafId(this.relations, query, rtindex));
      case RTE.values:
      case RTE.result:
        return EVERYWHERE;
      default:
        return decline('a function in FROM');
    }
  }

  private ofTable(query: TreeNode, rtindex: number): Spread {
    const leaf = this.relations.byId.get(leafId(this.relations, query, rtindex));
    if (leaf === undefined) return decline('a catalog relation');
    const { distribution, name } = leaf.table;
    switch (distribution.kind) {
      case 'local':
        return decline(`${name} is a local table`);
      case 'reference':
        return EVERYWHERE;
      case 'random':
        return { kind: 'spread', keys: [], colocationId: distribution.colocationId };
      case 'distributed':
        return { kind: 'spread', keys: [keyColumn(leaf)], colocationId: distribution.colocationId };
    }
  }

  /** A subquery whose answer on a segment is that segment's part of the whole answer. */
  private ofSubquery(query: TreeNode, levels: Levels, id: string): Spread {
    const spread = this.ofWhole(query, levels);
    if (spread.kind === 'everywhere') return spread;
    return { ...spread, keys: this.outputKeys(query, levels, spread, id) };
  }

  private ofWhole(query: TreeNode, levels: Levels): Spread {
    if (kid(query, 'setOperations') !== null) {
      const { spread } = this.ofSetOperation(query, levels);
      return spread;
    }
    const { spread, facts } = this.ofFrom(query, levels, null);
    if (spread.kind === 'everywhere') return spread;
    if (hasLimit(query)) return decline('a LIMIT inside a subquery over several segments');
    if (!this.staysWithin(query, levels, spread, facts))
      return decline('a subquery that groups by something else than the distribution column');
    return spread;
  }

  /**
   * UNION ALL of parts that are all spread; of anything else only where it is the same everywhere.
   * @param limited false: the caller applies the LIMIT to the merged rows.
   */
  ofSetOperation(query: TreeNode, levels: Levels, limited = true): { spread: Spread } {
    const arms = kids(query, 'rtable').filter((rte) => num(rte, 'rtekind') === RTE.subquery);
    const spreads = arms.map((rte) => this.ofWhole(mustKid(rte, 'subquery'), [...levels, query]));
    if (spreads.every((spread) => spread.kind === 'everywhere')) return { spread: EVERYWHERE };
    let unionAll = true;
    visit(mustKid(query, 'setOperations'), (node) => {
      if (node.node === 'SETOPERATIONSTMT' && !(num(node, 'op') === 1 && flag(node, 'all'))) unionAll = false;
      return undefined;
    });
    const groups = new Set(spreads.map((spread) => (spread.kind === 'spread' ? spread.colocationId : -1)));
    if (!unionAll || groups.size !== 1) return decline('a set operation over several segments');
    if (limited && hasLimit(query)) return decline('a LIMIT inside a subquery over several segments');
    return { spread: { kind: 'spread', keys: [], colocationId: [...groups][0] as number } };
  }

  private outputKeys(query: TreeNode, levels: Levels, spread: Spread & { kind: 'spread' }, id: string): string[] {
    if (kid(query, 'setOperations') !== null) return [];
    const facts = factsOfQuery(query, levels, null, this.relations);
    const keys: string[] = [];
    for (const entry of kids(query, 'targetList')) {
      if (flag(entry, 'resjunk')) continue;
      const column = columnKey(mustKid(entry, 'expr'), [...levels, query], this.relations);
      if (column !== null && spread.keys.some((key) => facts.connected(key, column))) keys.push(`${id}.${num(entry, 'resno')}`);
    }
    return keys;
  }

  private ofCte(rte: TreeNode, levels: Levels, id: string): Spread {
    const depth = levels.length - 1 - num(rte, 'ctelevelsup');
    const owner = levels[depth];
    const name = cteKey(word(rte, 'ctename'));
    const cte = owner === undefined ? undefined : kids(owner, 'cteList').find((one) => cteKey(word(one, 'ctename')) === name);
    if (cte === undefined || flag(cte, 'cterecursive')) return decline('WITH RECURSIVE');
    return this.ofSubquery(mustKid(cte, 'ctequery'), levels.slice(0, depth + 1), id);
  }

  private join(type: number, left: Spread, right: Spread, facts: Facts): Spread {
    if (left.kind === 'everywhere' && right.kind === 'everywhere') return EVERYWHERE;
    if (left.kind === 'spread' && right.kind === 'spread') {
      const colocated =
        left.colocationId === right.colocationId && left.keys.some((a) => right.keys.some((b) => facts.connected(a, b)));
      if (!colocated) return decline('a join that is not on the distribution columns of colocated tables');
      const keys = { [JOIN.inner]: [...left.keys, ...right.keys], [JOIN.left]: left.keys, [JOIN.right]: right.keys }[type] ?? [];
      return { kind: 'spread', keys, colocationId: left.colocationId };
    }
    const [spread, preserved] =
      left.kind === 'spread' ? [left, [JOIN.right, JOIN.full]] : [right as Spread & { kind: 'spread' }, [JOIN.left, JOIN.full]];
    if ((preserved as number[]).includes(type)) return decline('an outer join that keeps the rows of a reference table');
    return spread;
  }

  /** A sublink must read only what is everywhere, or rows of the same distribution value as the row it is evaluated for. */
  private checkSublinks(query: TreeNode, levels: Levels, facts: Facts, outer: Spread): void {
    for (const sublink of sublinksOf(query)) {
      const subselect = mustKid(sublink, 'subselect');
      if (kid(subselect, 'setOperations') !== null) {
        if (this.ofSetOperation(subselect, levels).spread.kind !== 'everywhere')
          decline('a set operation in a subquery expression');
        continue;
      }
      const inner = new Facts(facts);
      this.addAnyFacts(inner, sublink, subselect, levels, query);
      const { spread, facts: all } = this.ofFrom(subselect, levels, inner);
      if (spread.kind === 'everywhere') continue;
      const local = outer.kind === 'spread' && outer.keys.some((a) => spread.keys.some((b) => all.connected(a, b)));
      if (!local) decline('a subquery expression over rows of other segments');
    }
  }

  /** `key IN (SELECT key …)`, not negated, says that the two are equal. */
  private addAnyFacts(facts: Facts, sublink: TreeNode, subselect: TreeNode, levels: Levels, query: TreeNode): void {
    if (num(sublink, 'subLinkType') !== 2 || !isPlainCondition(query, sublink)) return;
    const simple =
      kid(subselect, 'limitCount') === null &&
      kid(subselect, 'limitOffset') === null &&
      !isGrouped(subselect) &&
      !flag(subselect, 'hasWindowFuncs') &&
      kids(subselect, 'distinctClause').length === 0;
    const test = kid(sublink, 'testexpr');
    const [left, right] = test?.node === 'OPEXPR' ? kids(test, 'args') : [];
    const entry = kids(subselect, 'targetList')[0];
    if (!simple || left === undefined || right === undefined || entry === undefined) return;
    const a = columnKey(left, levels, this.relations);
    const b = columnKey(mustKid(entry, 'expr'), [...levels, subselect], this.relations);
    if (a !== null && b !== null && isHashEquality(num(test as TreeNode, 'opno'))) facts.equal(a, b);
  }
}

/** Aggregates, GROUP BY, or a HAVING alone: all rows become groups. */
export function isGrouped(query: TreeNode): boolean {
  return flag(query, 'hasAggs') || kids(query, 'groupClause').length > 0 || kid(query, 'havingQual') !== null;
}

function hasLimit(query: TreeNode): boolean {
  return kid(query, 'limitCount') !== null || kid(query, 'limitOffset') !== null;
}

/** The sublink stands in WHERE under nothing but AND. */
function isPlainCondition(query: TreeNode, sublink: TreeNode): boolean {
  const isConjunct = (node: TreeNode | null): boolean =>
    node === sublink || (node?.node === 'BOOLEXPR' && word(node, 'boolop') === 'and' && kids(node, 'args').some(isConjunct));
  return isConjunct(kid(mustKid(query, 'jointree'), 'quals'));
}
