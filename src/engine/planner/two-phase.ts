/**
 * Aggregates in two phases: each segment groups its own rows and gives partial results in exact types; the coordinator's DuckDB groups
 * those again. DISTINCT aggregates send their distinct arguments: the segments group by them too, which only makes the other
 * partial results finer.
 */
import { Oid } from '../../model/storage.js';
import type { Fragment } from '../../model/task.js';
import { decline } from '../dialect/decline.js';
import { duckdb } from '../dialect/duckdb.js';
import { type Expr, exactScale, made, outputOf } from '../dialect/expr.js';
import { aggregateCall, exprOf } from '../dialect/expression.js';
import { flag, kid, kids, mustKid, num } from '../dialect/node.js';
import { assemble, type Emitted, type Opened, QueryWriter, type Scope, type SortKey, type Target } from '../dialect/query.js';
import { quotient } from '../dialect/quotient.js';
import { INT_TYPES, type Signature, typeName } from '../dialect/signatures.js';
import type { TreeNode } from '../front/tree.js';
import { named, type SelectContext } from './context.js';
import { type FragmentWriter, forBestEngine } from './fragment.js';
import type { Finish } from './types.js';

/** A column of the segments' result, and how the coordinator sees it. */
interface Shipped {
  sql: string;
  expr: Expr;
}

export interface TwoPhase {
  fragment: Fragment;
  finish: Finish;
}

export function twoPhase(context: SelectContext): TwoPhase {
  const { query, catalog, relations, output } = context;
  if (flag(query, 'hasWindowFuncs')) decline('window functions over groups of several segments');
  let finish: Finish | null = null;
  const fragment = forBestEngine(relations.leaves, catalog, (parts) => {
    const phases = new Phases(query, parts);
    const final = phases.finish();
    finish = { engine: 'duckdb', sql: final.sql, params: final.params, output: named(final.output, output) };
    return phases.fragment();
  });
  return { fragment, finish: finish as unknown as Finish };
}

class Phases {
  private readonly opened: Opened;
  private readonly shipped: Shipped[] = [];
  private readonly groupBy: string[] = [];
  private readonly sent = new Map<string, Expr>();
  /** What the second phase groups by: all keys of the first one but the arguments of DISTINCT aggregates. */
  private readonly keys = new Set<string>();
  private readonly finisher: QueryWriter;

  constructor(
    private readonly query: TreeNode,
    private readonly parts: FragmentWriter,
  ) {
    const { writer } = parts;
    writer.refuse(query);
    this.opened = writer.open(query, null);
    this.finisher = new QueryWriter(duckdb, () => decline('a table above the last aggregation'));
    const inside = writer.context(this.opened.scope);
    for (const clause of kids(query, 'groupClause')) {
      const entry = kids(query, 'targetList').find((one) => num(one, 'ressortgroupref') === num(clause, 'tleSortGroupRef'));
      if (entry === undefined) decline('a group key that is not in the list');
      this.key(exprOf(mustKid(entry as TreeNode, 'expr'), inside));
    }
  }

  /** A key of both phases; the coordinator's name of it comes back. */
  private key(expr: Expr): Expr {
    const key = this.firstKey(expr);
    this.keys.add(key.sql);
    return key;
  }

  /** Ships a column that the segments group by. */
  private firstKey(expr: Expr): Expr {
    const known = this.sent.get(expr.sql);
    if (known !== undefined) return known;
    this.parts.writer.dialect.comparable(exactScale(expr));
    this.groupBy.push(expr.sql);
    const key = this.ship(expr);
    this.sent.set(expr.sql, key);
    return key;
  }

  /** A partial result. */
  private ship(expr: Expr): Expr {
    const existing = this.shipped.findIndex((one) => one.sql === expr.sql);
    const index = existing < 0 ? this.shipped.push({ sql: expr.sql, expr }) - 1 : existing;
    const { constant, text, ...shape } = expr;
    return { ...shape, sql: `i.o${index}`, depth: 1, fixed: false };
  }

  fragment(): { sql: string; output: ReturnType<typeof outputOf>['output'][] } {
    const { dialect } = this.parts.writer;
    const outputs = this.shipped.map(({ expr }, i) => {
      const { loose, ...value } = expr;
      return outputOf(value, `o${i}`, dialect.engine);
    });
    const list = outputs.map(({ sql }, i) => `${sql} AS o${i}`);
    const groupBy = this.groupBy.length === 0 ? '' : ` GROUP BY ${this.groupBy.join(', ')}`;
    const { opened } = this;
    const sql = `${opened.with}SELECT ${list.length === 0 ? '1 AS n' : list.join(', ')}${opened.from}${opened.where}${groupBy}`;
    return { sql, output: outputs.map((one) => one.output) };
  }

  /** The second phase; must be written before `fragment`, because it says what is shipped. */
  finish() {
    const { query, finisher } = this;
    const scope: Scope = { query, parent: null, bound: new Map(), ctes: new Map() };
    const inside = this.parts.writer.context(this.opened.scope);
    const overrides = {
      aggref: (node: TreeNode) => this.final(node),
      // A column outside of aggregates is a group key, or depends on one: grouping by it too changes nothing.
      column: (node: TreeNode) => this.key(exprOf(node, inside)),
    };
    const context = finisher.context(scope, overrides);
    const groupCount = kids(query, 'groupClause').length;
    const targets: Target[] = kids(query, 'targetList').map((entry) => ({
      entry,
      expr: this.groupExpr(entry, inside) ?? exprOf(refuseSublinks(mustKid(entry, 'expr')), context),
    }));
    const having = kid(query, 'havingQual');
    const havingSql = having === null ? '' : ` HAVING ${exprOf(refuseSublinks(having), context).sql}`;
    const sort: SortKey[] = finisher.sortKeys(query, targets);
    const distinct = finisher.distinct(query, targets);
    const shown = targets.filter(({ entry }) => !flag(entry, 'resjunk'));
    const outputs = shown.map(({ expr }, i) => outputOf(expr, `o${i}`, 'duckdb'));
    const emitted: Emitted[] = outputs.map(({ sql }, i) => ({ sql, name: `r${i}` }));
    const keys = groupCount === 0 ? [] : [...this.keys];
    const body = ` FROM {{in0}} AS i${keys.length === 0 ? '' : ` GROUP BY ${keys.join(', ')}`}${havingSql}`;
    const sql = assemble(emitted, targets, sort, distinct, body, finisher.limits(query, scope));
    return { sql, output: outputs.map(({ output }) => output), params: finisher.paramSpecs() };
  }

  /** A target that is a group key as a whole: it is not computed again. */
  private groupExpr(entry: TreeNode, inside: ReturnType<QueryWriter['context']>): Expr | null {
    const ref = num(entry, 'ressortgroupref');
    const grouped = ref !== 0 && kids(this.query, 'groupClause').some((clause) => num(clause, 'tleSortGroupRef') === ref);
    return grouped ? this.key(exprOf(mustKid(entry, 'expr'), inside)) : null;
  }

  /** The final expression of an aggregate; its partial results are shipped. */
  private final(node: TreeNode): Expr {
    const { writer } = this.parts;
    const call = aggregateCall(node, writer.context(this.opened.scope));
    const [arg] = call.args;
    if (call.distinct && call.signature.name !== 'min' && call.signature.name !== 'max') {
      if (arg === undefined || call.args.length !== 1) return decline('a DISTINCT aggregate of several arguments');
      const value = call.filter === null ? arg.sql : `CASE WHEN ${call.filter.sql} THEN ${arg.sql} END`;
      const { constant, text, ...shape } = arg;
      const sent = this.firstKey(made(call.filter === null ? [arg] : [arg, call.filter], { ...shape, sql: value, fixed: false }));
      return duckdb.aggregate({ ...call, args: [sent], filter: null });
    }
    const plain = { ...call, distinct: false };
    const { name } = call.signature;
    if (name === 'count') return this.total(this.ship(writer.dialect.aggregate(plain)));
    if (name !== 'avg') return this.again(name, this.ship(this.partial(plain)), call.resultType);
    if (arg === undefined) return decline('avg');
    return this.average(plain, arg);
  }

  /** SQLite's sum of int8 is an int8 (or raises): it is shipped as what it is, not as a decimal of at most 18 digits. */
  private partial(call: ReturnType<typeof aggregateCall>): Expr {
    const { dialect } = this.parts.writer;
    const partial = dialect.aggregate(call);
    if (dialect.engine !== 'sqlite' || call.signature.text !== 'sum(int8)') return partial;
    const { scale, precision, ...shape } = partial;
    return { ...shape, type: Oid.int8 };
  }

  /** count = sum of counts, 0 over nothing. */
  private total(partial: Expr): Expr {
    return made([partial], { sql: `CAST(COALESCE(sum(${partial.sql}), 0) AS BIGINT)`, type: Oid.int8, typmod: -1, scale: 0 });
  }

  private again(name: string, partial: Expr, resultType = partial.type): Expr {
    if (name === 'sum' && partial.type === Oid.int8 && resultType === Oid.int8) {
      return made([partial], { sql: `CAST(sum(${partial.sql}) AS BIGINT)`, type: Oid.int8, typmod: -1 });
    }
    const signature: Signature = { name, types: [typeName(partial.type)], text: `${name}(${typeName(partial.type)})` };
    return duckdb.aggregate({ signature, args: [partial], star: false, distinct: false, filter: null, resultType });
  }

  private average(call: ReturnType<typeof aggregateCall>, arg: Expr): Expr {
    const { dialect } = this.parts.writer;
    const type = typeName(arg.type);
    const sumType = type === 'int2' || type === 'int4' ? Oid.int8 : type === 'float8' ? Oid.float8 : Oid.numeric;
    const sum = this.again(
      'sum',
      this.ship(this.partial({ ...call, signature: renamed(call.signature, 'sum'), resultType: sumType })),
      sumType,
    );
    const count = this.total(
      this.ship(dialect.aggregate({ ...call, signature: renamed(call.signature, 'count'), resultType: Oid.int8 })),
    );
    if (type === 'float8') {
      const sql = `(CASE WHEN ${count.sql} = 0 THEN NULL ELSE ${sum.sql} / ${count.sql} END)`;
      return made([sum, count], { sql, type: Oid.float8, typmod: -1 });
    }
    if (!INT_TYPES.has(type) && type !== 'numeric') return decline(`avg of ${type}`);
    return quotient([sum, count], sum, count);
  }
}

function renamed(signature: Signature, name: string): Signature {
  return { ...signature, name, text: `${name}(${signature.types.join(',')})` };
}

function refuseSublinks(node: TreeNode): TreeNode {
  const stack: TreeNode[] = [node];
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    if (at.node === 'SUBLINK') return decline('a subquery expression above the aggregation');
    for (const value of Object.values(at)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (typeof one === 'object' && one !== null && !Array.isArray(one) && 'node' in one) stack.push(one as TreeNode);
      }
    }
  }
  return node;
}
