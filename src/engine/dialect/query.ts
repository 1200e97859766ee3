/** SELECT queries of the tree as SQL of an engine. Which relation a table is, the caller says. */
import { Oid } from '../../model/storage.js';
import type { OutputColumn, ParamSpec } from '../../model/task.js';
import type { TreeNode } from '../front/tree.js';
import { constOf } from './constants.js';
import { decline } from './decline.js';
import type { Dialect } from './dialect.js';
import { type Expr, exactScale, outputOf } from './expr.js';
import { type ExprContext, exprOf } from './expression.js';
import { flag, kid, kids, mustKid, nested, num, numbers, word } from './node.js';
import { functionOf, isPlainCollation, operatorOf } from './signatures.js';

/** A relation that stands in FROM. */
export interface BoundTable {
  /** What stands before `AS alias`. */
  relation: string;
  alias: string;
  column(attnum: number): Expr;
}

export type BindTable = (query: TreeNode, rtindex: number, rte: TreeNode) => BoundTable;

interface Bound {
  column(attno: number): Expr;
}

interface Cte {
  name: string;
  columns: Expr[];
}

export interface Scope {
  query: TreeNode;
  parent: Scope | null;
  bound: Map<number, Bound>;
  ctes: Map<string, Cte>;
}

/** FROM and WHERE of a query whose names are bound. */
export interface Opened {
  scope: Scope;
  /** `WITH … ` or empty. */
  with: string;
  /** ` FROM …` or empty. */
  from: string;
  /** ` WHERE …` or empty. */
  where: string;
}

export interface Overrides {
  aggref?: (node: TreeNode) => Expr | undefined;
  column?: (node: TreeNode) => Expr | undefined;
}

export interface Target {
  entry: TreeNode;
  expr: Expr;
}

export interface SortKey {
  /** Index into the targets. */
  target: number;
  /** `ASC NULLS LAST` and the like. */
  direction: string;
}

/** A column that is emitted, with its name. */
export interface Emitted {
  sql: string;
  name: string;
}

export const RTE = { relation: 0, subquery: 1, join: 2, function: 3, values: 5, cte: 6, result: 8, group: 9 } as const;
export const JOIN = { inner: 0, left: 1, full: 2, right: 3 } as const;

export function rteAt(query: TreeNode, rtindex: number): TreeNode {
  return kids(query, 'rtable')[rtindex - 1] ?? decline('a reference beyond the range table');
}

/** White space is where PostgreSQL's printer may have wrapped a name. */
export function cteKey(name: string): string {
  return name.replace(/\s+/g, ' ');
}

/** The value of an integer constant under casts between integers; null for NULL, undefined for anything else. */
export function constantInt(node: TreeNode): bigint | null | undefined {
  if (node.node === 'CONST') {
    const value = constOf(node);
    return value.kind === 'null' ? null : value.kind === 'int' ? value.value : undefined;
  }
  if (node.node !== 'FUNCEXPR') return undefined;
  const signature = functionOf(num(node, 'funcid'));
  const arg = kids(node, 'args')[0];
  return signature !== undefined && /^int8\(int[24]\)$/.test(signature.text) && arg !== undefined ? constantInt(arg) : undefined;
}

export class QueryWriter {
  readonly params = new Map<number, ParamSpec>();
  private aliases = 0;

  constructor(
    readonly dialect: Dialect,
    private readonly bindTable: BindTable,
  ) {}

  paramSpecs(): ParamSpec[] {
    return [...this.params.values()].sort((a, b) => a.n - b.n);
  }

  /** A whole query with its final columns `o0`, `o1`, …, in the order of the result. */
  final(query: TreeNode, names: readonly string[] = []): { sql: string; output: OutputColumn[] } {
    const { select, targets } = this.parts(query, null);
    const shown = targets.filter(({ entry }) => !flag(entry, 'resjunk'));
    if (shown.length === 0) decline('a query without columns');
    const outputs = shown.map(({ expr }, i) => outputOf(expr, names[i] ?? `o${i}`, this.dialect.engine));
    const sql = select(outputs.map(({ sql: column }, i) => ({ sql: column, name: `o${i}` })));
    return { sql, output: outputs.map(({ output }) => output) };
  }

  /**
   * A query inside another one: columns `o0`, …
   * @param texts with `x0`, … for texts that go beside values; not where the query is an expression, which has one column.
   */
  inner(query: TreeNode, parent: Scope | null, texts = true): { sql: string; columns: Expr[] } {
    const { select, targets } = this.parts(query, parent);
    const emitted: Emitted[] = [];
    const columns: Expr[] = [];
    for (const { entry, expr } of targets) {
      if (flag(entry, 'resjunk')) continue;
      if (expr.rep === 'interval') decline('an interval as a column of a subquery');
      const i = columns.length;
      emitted.push({ sql: expr.sql, name: `o${i}` });
      if (expr.text !== undefined && texts) emitted.push({ sql: expr.text, name: `x${i}` });
      columns.push(expr);
    }
    return { sql: select(emitted), columns };
  }

  /** Another writer of the same statement, over no relations. */
  sibling(dialect: Dialect): QueryWriter {
    return new QueryWriter(dialect, () => decline('a table in a LIMIT'));
  }

  /** A query in pieces, for a caller that writes its own list, order and limit. */
  pieces(
    query: TreeNode,
    parent: Scope | null = null,
  ): {
    targets: Target[];
    sort: SortKey[];
    distinct: boolean;
    scope: Scope;
    /** `write` gets FROM, WHERE, GROUP BY and HAVING. */
    build: (write: (body: string) => string) => string;
  } {
    this.refuse(query);
    const opened = this.open(query, parent);
    const targets = this.targets(query, opened.scope);
    const sort = this.sortKeys(query, targets);
    const distinct = this.distinct(query, targets);
    const body = `${opened.from}${opened.where}${this.grouping(query, opened.scope, targets)}`;
    return { targets, sort, distinct, scope: opened.scope, build: (write) => opened.with + write(body) };
  }

  /** Everything of a query but the list of columns that its caller wants. */
  private parts(query: TreeNode, parent: Scope | null): { select: (emitted: Emitted[]) => string; targets: Target[] } {
    const { targets, sort, distinct, scope, build } = this.pieces(query, parent);
    const tail = this.limits(query, scope);
    return { targets, select: (emitted) => build((body) => assemble(emitted, targets, sort, distinct, body, tail)) };
  }

  /** What no dialect does. */
  refuse(query: TreeNode): void {
    if (num(query, 'commandType') !== 1) decline('a statement other than SELECT inside a query');
    if (flag(query, 'hasTargetSRFs')) decline('set-returning functions in the select list');
    if (flag(query, 'hasDistinctOn')) decline('DISTINCT ON');
    if (flag(query, 'hasRecursive')) decline('WITH RECURSIVE');
    if (kids(query, 'groupingSets').length > 0) decline('grouping sets');
    if (kids(query, 'rowMarks').length > 0) decline('FOR UPDATE');
    if (num(query, 'limitOption') === 1) decline('FETCH … WITH TIES');
  }

  open(query: TreeNode, parent: Scope | null): Opened {
    const scope: Scope = { query, parent, bound: new Map(), ctes: new Map() };
    const withSql = this.withClause(query, scope);
    const setOperations = kid(query, 'setOperations');
    if (setOperations !== null) return { scope, with: withSql, from: this.setOperation(setOperations, scope), where: '' };
    const jointree = mustKid(query, 'jointree');
    const items = kids(jointree, 'fromlist');
    for (const item of items) this.bindItem(item, scope);
    const from = items.map((item) => this.fromEntry(item, scope, items.length === 1));
    const quals = kid(jointree, 'quals');
    return {
      scope,
      with: withSql,
      from: from.length === 0 ? '' : ` FROM ${from.join(this.dialect.engine === 'sqlite' ? ' JOIN ' : ' CROSS JOIN ')}`,
      where: quals === null ? '' : ` WHERE ${exprOf(quals, this.context(scope)).sql}`,
    };
  }

  targets(query: TreeNode, scope: Scope, overrides: Overrides = {}): Target[] {
    const context = this.context(scope, overrides);
    return kids(query, 'targetList').map((entry) => ({ entry, expr: exprOf(mustKid(entry, 'expr'), context) }));
  }

  sortKeys(query: TreeNode, targets: readonly Target[]): SortKey[] {
    return kids(query, 'sortClause').map((clause) => {
      const target = targetIndex(targets, num(clause, 'tleSortGroupRef'));
      this.dialect.comparable((targets[target] as Target).expr);
      return { target, direction: directionOf(clause) };
    });
  }

  distinct(query: TreeNode, targets: readonly Target[]): boolean {
    const clauses = kids(query, 'distinctClause');
    for (const clause of clauses) {
      const target = targets[targetIndex(targets, num(clause, 'tleSortGroupRef'))] as Target;
      this.dialect.comparable(exactScale(target.expr));
    }
    return clauses.length > 0;
  }

  private grouping(query: TreeNode, scope: Scope, targets: readonly Target[]): string {
    const keys = kids(query, 'groupClause').map((clause) => {
      const target = targets[targetIndex(targets, num(clause, 'tleSortGroupRef'))] as Target;
      return this.dialect.comparable(exactScale(target.expr)).sql;
    });
    const having = kid(query, 'havingQual');
    const groupBy = keys.length === 0 ? '' : ` GROUP BY ${keys.join(', ')}`;
    return groupBy + (having === null ? '' : ` HAVING ${exprOf(having, this.context(scope)).sql}`);
  }

  /** ` LIMIT … OFFSET …`. */
  limits(query: TreeNode, scope: Scope): string {
    const count = this.limit(kid(query, 'limitCount'), scope);
    const offset = this.limit(kid(query, 'limitOffset'), scope);
    if (offset !== null && count === null && this.dialect.engine === 'sqlite') return ` LIMIT -1 OFFSET ${offset}`;
    return `${count === null ? '' : ` LIMIT ${count}`}${offset === null ? '' : ` OFFSET ${offset}`}`;
  }

  /** A limit's SQL; null where there is none. */
  limit(node: TreeNode | null, scope: Scope): string | null {
    if (node === null) return null;
    const constant = constantInt(node);
    if (constant === null) return null;
    if (constant === undefined) return this.dialect.limit(exprOf(node, this.context(scope)));
    return constant < 0n ? decline('a negative LIMIT or OFFSET') : constant.toString();
  }

  context(scope: Scope, overrides: Overrides = {}): ExprContext {
    const context: ExprContext = {
      dialect: this.dialect,
      caseTest: null,
      column: (node) => overrides.column?.(node) ?? this.column(node, scope, context),
      param: (n, type) => {
        this.params.set(n, { n, typeOid: type, typmod: -1 });
        return this.dialect.param(n, type);
      },
      aggref: (node) => overrides.aggref?.(node),
      windowOver: (winref) => this.windowOver(winref, scope, context),
      subquery: (query) => {
        const { sql, columns } = this.inner(query, scope, false);
        return { sql: `(${sql})`, columns, atMostOneRow: givesAtMostOneRow(query) };
      },
    };
    return context;
  }

  private column(node: TreeNode, scope: Scope, context: ExprContext): Expr {
    if (!isPlainCollation(num(node, 'varcollid'))) decline('a collation other than C');
    const attno = num(node, 'varattno');
    if (attno <= 0) decline(attno === 0 ? 'a whole row' : 'a system column');
    let at: Scope = scope;
    for (let up = num(node, 'varlevelsup'); up > 0; up--) at = at.parent ?? decline('a column of an unknown query level');
    const rtindex = num(node, 'varno');
    const rte = rteAt(at.query, rtindex);
    const kind = num(rte, 'rtekind');
    const level = at === scope ? context : this.context(at);
    if (kind === RTE.join) return exprOf(kids(rte, 'joinaliasvars')[attno - 1] ?? decline('a column of a join'), level);
    if (kind === RTE.group) return exprOf(kids(rte, 'groupexprs')[attno - 1] ?? decline('a group expression'), level);
    const bound = at.bound.get(rtindex);
    return bound === undefined ? decline('a column of a relation that is not in FROM') : bound.column(attno);
  }

  private withClause(query: TreeNode, scope: Scope): string {
    const parts: string[] = [];
    for (const cte of kids(query, 'cteList')) {
      if (flag(cte, 'cterecursive')) decline('WITH RECURSIVE');
      const key = cteKey(word(cte, 'ctename'));
      if (scope.ctes.has(key)) decline('CTEs whose names cannot be told apart');
      // A CTE that nobody reads is not run.
      if (num(cte, 'cterefcount') === 0 && num(mustKid(cte, 'ctequery'), 'commandType') === 1) continue;
      const { sql, columns } = this.inner(mustKid(cte, 'ctequery'), scope);
      const name = `w${this.aliases++}`;
      scope.ctes.set(key, { name, columns });
      parts.push(`${name} AS (${sql})`);
    }
    return parts.length === 0 ? '' : `WITH ${parts.join(', ')} `;
  }

  private setOperation(root: TreeNode, scope: Scope): string {
    const arms: number[] = [];
    const { sql, columns } = this.setArm(root, scope, arms);
    const alias = `s${this.aliases++}`;
    for (const arm of arms) scope.bound.set(arm, derived(alias, columns));
    return ` FROM (${sql}) AS ${alias}`;
  }

  private setArm(node: TreeNode, scope: Scope, arms: number[]): { sql: string; columns: Expr[] } {
    if (node.node === 'RANGETBLREF') {
      const rtindex = num(node, 'rtindex');
      arms.push(rtindex);
      const { sql, columns } = this.inner(mustKid(rteAt(scope.query, rtindex), 'subquery'), scope);
      return { sql: `SELECT * FROM (${sql}) AS a${this.aliases++}`, columns: columns.map((column) => exactScale(column)) };
    }
    const all = flag(node, 'all');
    const operation = ['', 'UNION', 'INTERSECT', 'EXCEPT'][num(node, 'op')];
    if (operation === undefined || (all && operation !== 'UNION' && this.dialect.engine === 'sqlite'))
      return decline('a set operation');
    const left = this.setArm(mustKid(node, 'larg'), scope, arms);
    const right = this.setArm(mustKid(node, 'rarg'), scope, arms);
    const columns = left.columns.map((column, i) => sameShape(column, right.columns[i] as Expr));
    if (!all) for (const column of columns) this.dialect.comparable(column);
    const arm = (side: { sql: string }) => `SELECT * FROM (${side.sql}) AS a${this.aliases++}`;
    return { sql: `${arm(left)} ${operation}${all ? ' ALL' : ''} ${arm(right)}`, columns };
  }

  /** Makes the columns of an item of FROM known, before any condition is written. */
  private bindItem(item: TreeNode, scope: Scope): void {
    if (item.node === 'JOINEXPR') {
      this.bindItem(mustKid(item, 'larg'), scope);
      this.bindItem(mustKid(item, 'rarg'), scope);
      return;
    }
    const rtindex = num(item, 'rtindex');
    const rte = rteAt(scope.query, rtindex);
    if (flag(rte, 'lateral')) decline('LATERAL');
    if (kids(rte, 'securityQuals').length > 0) decline('row level security');
    scope.bound.set(rtindex, this.bindRelation(rte, rtindex, scope));
  }

  private bindRelation(rte: TreeNode, rtindex: number, scope: Scope): Bound & { from: string } {
    const alias = `s${this.aliases++}`;
    switch (num(rte, 'rtekind')) {
      case RTE.relation: {
        if (kid(rte, 'tablesample') !== null) decline('TABLESAMPLE');
        const table = this.bindTable(scope.query, rtindex, rte);
        return { from: `${table.relation} AS ${table.alias}`, column: (attno) => table.column(attno) };
      }
      case RTE.subquery: {
        // A subquery that is not LATERAL sees the queries around it, not its neighbours in FROM.
        const { sql, columns } = this.inner(mustKid(rte, 'subquery'), { ...scope, bound: new Map() });
        return { from: `(${sql}) AS ${alias}`, ...derived(alias, columns) };
      }
      case RTE.cte: {
        const cte = findCte(rte, scope);
        return { from: `${cte.name} AS ${alias}`, ...derived(alias, cte.columns) };
      }
      case RTE.values:
        return this.valuesList(rte, scope, alias);
      case RTE.result:
        return { from: '(SELECT 1)', column: () => decline('a column of nothing') };
      default:
        return decline('a function in FROM');
    }
  }

  private valuesList(rte: TreeNode, scope: Scope, alias: string): Bound & { from: string } {
    if (this.dialect.engine === 'sqlite') decline('VALUES in FROM');
    const rows = nested(rte, 'values_lists').map((row) => row.map((node) => exactScale(exprOf(node, this.context(scope)))));
    const types = numbers(rte, 'coltypes');
    const columns = types.map((_type, i) => {
      const cells = rows.map((row) => row[i] as Expr);
      const known = cells.filter((cell) => cell.constant?.kind !== 'null');
      const first = known[0] ?? (cells[0] as Expr);
      for (const cell of known) sameShape(first, cell);
      const { constant, ...shape } = first;
      return { ...shape, fixed: false, precision: 38 };
    });
    const lists = rows.map((row) => `(${row.map((cell) => cell.sql).join(', ')})`).join(', ');
    const names = columns.map((_, i) => `o${i}`).join(', ');
    return { from: `(VALUES ${lists}) AS ${alias}(${names})`, ...derived(alias, columns) };
  }

  /** An item of FROM among others: a join keeps its parentheses, because RIGHT and FULL do not associate. */
  private fromEntry(item: TreeNode, scope: Scope, alone: boolean): string {
    if (item.node !== 'JOINEXPR' || alone) return this.fromItem(item, scope, false);
    if (this.dialect.engine === 'duckdb') return `(${this.fromItem(item, scope, false)})`;
    const type = num(item, 'jointype');
    if (type === JOIN.right || type === JOIN.full) decline('a join inside a join');
    return this.fromItem(item, scope, false);
  }

  private fromItem(item: TreeNode, scope: Scope, nestedJoin: boolean): string {
    if (item.node !== 'JOINEXPR') return (scope.bound.get(num(item, 'rtindex')) as Bound & { from: string }).from;
    const right = mustKid(item, 'rarg');
    if (this.dialect.engine === 'sqlite' && (right.node === 'JOINEXPR' || nestedJoin)) decline('a join inside a join');
    const type = num(item, 'jointype');
    const word_ = { [JOIN.inner]: 'JOIN', [JOIN.left]: 'LEFT JOIN', [JOIN.full]: 'FULL JOIN', [JOIN.right]: 'RIGHT JOIN' }[type];
    if (word_ === undefined) return decline('a join of another kind');
    const quals = kid(item, 'quals');
    const on = quals === null ? '(1 = 1)' : exprOf(quals, this.context(scope)).sql;
    const rightSql = this.fromItem(right, scope, true);
    const left = this.fromItem(mustKid(item, 'larg'), scope, false);
    return `${left} ${word_} ${right.node === 'JOINEXPR' ? `(${rightSql})` : rightSql} ON ${on}`;
  }

  private windowOver(winref: number, scope: Scope, context: ExprContext): string {
    const clause = kids(scope.query, 'windowClause').find((one) => num(one, 'winref') === winref);
    if (clause === undefined) return decline('an unknown window');
    const entries = kids(scope.query, 'targetList');
    const key = (sort: TreeNode): string => {
      const entry = entries.find((one) => num(one, 'ressortgroupref') === num(sort, 'tleSortGroupRef'));
      if (entry === undefined) return decline('a window key');
      return this.dialect.comparable(exprOf(mustKid(entry, 'expr'), context)).sql;
    };
    const partition = kids(clause, 'partitionClause').map(key);
    const order = kids(clause, 'orderClause').map((sort) => `${key(sort)} ${directionOf(sort)}`);
    const frame = this.frame(clause, context);
    return [
      ...(partition.length === 0 ? [] : [`PARTITION BY ${partition.join(', ')}`]),
      ...(order.length === 0 ? [] : [`ORDER BY ${order.join(', ')}`]),
      ...(frame === '' ? [] : [frame]),
    ].join(' ');
  }

  /** Bits of parsenodes.h, FRAMEOPTION_*. */
  private frame(clause: TreeNode, context: ExprContext): string {
    const options = num(clause, 'frameOptions');
    const has = (bit: number) => (options & bit) !== 0;
    if (!has(1)) return '';
    const unit = has(2) ? 'RANGE' : has(4) ? 'ROWS' : 'GROUPS';
    if (unit === 'RANGE' && (options & 0x7800) !== 0) return decline('a RANGE frame with an offset');
    const offset = (field: string) => {
      const value = constantInt(mustKid(clause, field));
      if (value === undefined || value === null || value < 0n) return decline('a frame offset that is not constant');
      void context;
      return value.toString();
    };
    const start = has(0x20)
      ? 'UNBOUNDED PRECEDING'
      : has(0x200)
        ? 'CURRENT ROW'
        : `${offset('startOffset')} ${has(0x800) ? 'PRECEDING' : 'FOLLOWING'}`;
    const end = has(0x100)
      ? 'UNBOUNDED FOLLOWING'
      : has(0x400)
        ? 'CURRENT ROW'
        : `${offset('endOffset')} ${has(0x1000) ? 'PRECEDING' : 'FOLLOWING'}`;
    const exclude = has(0x8000) ? ' EXCLUDE CURRENT ROW' : has(0x10000) ? ' EXCLUDE GROUP' : has(0x20000) ? ' EXCLUDE TIES' : '';
    return `${unit} BETWEEN ${start} AND ${end}${exclude}`;
  }
}

/** SELECT over a body, ordered by targets that may not be among the emitted columns. */
export function assemble(
  emitted: readonly Emitted[],
  targets: readonly Target[],
  sort: readonly SortKey[],
  distinct: boolean,
  body: string,
  tail: string,
): string {
  const all = [...emitted];
  const order = sort.map(({ target, direction }) => {
    const { expr } = targets[target] as Target;
    let index = all.findIndex((column) => column.sql === expr.sql);
    if (index < 0) index = all.push({ sql: expr.sql, name: `h${all.length}` }) - 1;
    return { index, direction };
  });
  const list = all.map(({ sql, name }) => `${sql} AS ${name}`).join(', ');
  const select = `SELECT ${distinct ? 'DISTINCT ' : ''}${list === '' ? '1 AS n' : list}${body}`;
  if (all.length === emitted.length) {
    const by =
      order.length === 0 ? '' : ` ORDER BY ${order.map(({ index, direction }) => `${index + 1} ${direction}`).join(', ')}`;
    return select + by + tail;
  }
  const names = emitted.length === 0 ? '1 AS n' : emitted.map(({ name }) => `q.${name} AS ${name}`).join(', ');
  const by = order.map(({ index, direction }) => `q.${(all[index] as Emitted).name} ${direction}`).join(', ');
  return `SELECT ${names} FROM (${select}) AS q ORDER BY ${by}${tail}`;
}

/** Direction of a sort clause, from its operator: `<` or `>` of the type's default order. */
export function directionOf(clause: TreeNode): string {
  const operator = operatorOf(num(clause, 'sortop'))?.name;
  if (operator !== '<' && operator !== '>') return decline('an order by another operator');
  return `${operator === '<' ? 'ASC' : 'DESC'} NULLS ${flag(clause, 'nulls_first') ? 'FIRST' : 'LAST'}`;
}

export function targetIndex(targets: readonly Target[], ref: number): number {
  const index = targets.findIndex(({ entry }) => num(entry, 'ressortgroupref') === ref);
  return index < 0 ? decline('a sort or group key that is not in the list') : index;
}

/** Columns of a subquery as the query around it sees them. */
export function derived(alias: string, columns: readonly Expr[]): Bound {
  return {
    column: (attno) => {
      const column = columns[attno - 1];
      if (column === undefined) return decline('a column of a subquery');
      const { constant, text, ...shape } = column;
      const result: Expr = { ...shape, sql: `${alias}.o${attno - 1}`, depth: 1, fixed: false };
      return text === undefined ? result : { ...result, text: `${alias}.x${attno - 1}` };
    },
  };
}

function findCte(rte: TreeNode, scope: Scope): Cte {
  let at: Scope = scope;
  for (let up = num(rte, 'ctelevelsup'); up > 0; up--) at = at.parent ?? decline('a CTE of an unknown query level');
  return at.ctes.get(cteKey(word(rte, 'ctename'))) ?? decline('a CTE that refers to itself');
}

function sameShape(a: Expr, b: Expr): Expr {
  const scaled = a.type === Oid.numeric && a.rep === 'plain';
  const same =
    a.type === b.type &&
    a.rep === b.rep &&
    a.loose === b.loose &&
    (!scaled || a.scale === b.scale) &&
    (a.type !== Oid.bpchar || a.typmod === b.typmod);
  if (!same) decline('branches of different types or numeric scales');
  return { ...a, precision: 38 };
}

/** Aggregates without GROUP BY, and LIMIT 1. */
function givesAtMostOneRow(query: TreeNode): boolean {
  const count = kid(query, 'limitCount');
  const limit = count === null ? undefined : constantInt(count);
  if (limit === 1n || limit === 0n) return true;
  return flag(query, 'hasAggs') && kids(query, 'groupClause').length === 0 && kids(query, 'groupingSets').length === 0;
}
