/** Expressions of the tree, node by node, over a dialect. */
import { Oid } from '../../model/storage.js';
import type { TreeNode } from '../front/tree.js';
import { constOf } from './constants.js';
import { decline } from './decline.js';
import type { Dialect } from './dialect.js';
import { type Expr, made, ordered, plain } from './expr.js';
import { flag, kid, kids, mustKid, num, word } from './node.js';
import { functionOf, isPlainCollation, operatorOf, type Signature, typeName } from './signatures.js';

/** What an expression needs from the query around it. */
export interface ExprContext {
  readonly dialect: Dialect;
  column(node: TreeNode): Expr;
  param(n: number, type: number): Expr;
  /** Own treatment of an aggregate (partial and final phases); undefined: as it is. */
  aggref(node: TreeNode): Expr | undefined;
  windowOver(winref: number): string;
  /** A subquery in parentheses, and its columns. */
  subquery(query: TreeNode): { sql: string; columns: Expr[]; atMostOneRow: boolean };
  /** The value of CASETESTEXPR. */
  caseTest: Expr | null;
}

export function exprOf(node: TreeNode, context: ExprContext): Expr {
  const handler = HANDLERS[node.node];
  if (handler === undefined) return decline(`${node.node.toLowerCase()} expressions`);
  return handler(node, context);
}

export function exprsOf(nodes: readonly TreeNode[], context: ExprContext): Expr[] {
  return nodes.map((node) => exprOf(node, context));
}

type Handler = (node: TreeNode, context: ExprContext) => Expr;

const bool = (operands: readonly Expr[], sql: string): Expr => made(operands, { sql, type: Oid.bool, typmod: -1 });

function checkCollation(node: TreeNode): void {
  const collation = num(node, 'inputcollid');
  if (!isPlainCollation(collation)) decline(`collation ${collation}`);
}

function signatureOf(node: TreeNode): Signature {
  checkCollation(node);
  const signature = operatorOf(num(node, 'opno'));
  if (signature === undefined) return decline(`operator ${num(node, 'opno')}`);
  return signature;
}

const HANDLERS: Record<string, Handler> = {
  VAR: (node, context) => context.column(node),
  CONST: (node, { dialect }) => {
    if (!isPlainCollation(num(node, 'constcollid'))) decline('a collation other than C');
    return dialect.constant(constOf(node), num(node, 'consttype'), num(node, 'consttypmod'));
  },
  PARAM: (node, context) => {
    if (num(node, 'paramkind') !== 0) decline('a parameter of another query level');
    return context.param(num(node, 'paramid'), num(node, 'paramtype'));
  },
  RELABELTYPE: relabel,
  OPEXPR: operatorExpr,
  FUNCEXPR: functionExpr,
  BOOLEXPR: booleanExpr,
  NULLTEST: (node, context) => {
    if (flag(node, 'argisrow')) decline('IS NULL of a row');
    const arg = exprOf(mustKid(node, 'arg'), context);
    return bool([arg], `(${arg.sql} IS ${num(node, 'nulltesttype') === 0 ? '' : 'NOT '}NULL)`);
  },
  BOOLEANTEST: (node, context) => {
    const arg = exprOf(mustKid(node, 'arg'), context);
    const test = ['IS TRUE', 'IS NOT TRUE', 'IS FALSE', 'IS NOT FALSE', 'IS NULL', 'IS NOT NULL'][num(node, 'booltesttype')];
    if (test === undefined) return decline('a boolean test');
    return bool([arg], `(${arg.sql} ${test})`);
  },
  DISTINCTEXPR: (node, context) => {
    const [left, right] = comparands(node, context);
    return bool([left, right], `(${left.sql} IS DISTINCT FROM ${right.sql})`);
  },
  NULLIFEXPR: (node, context) => {
    const first = kids(node, 'args')[0];
    const [left, right] = comparands(node, context);
    if (first === undefined) return decline('NULLIF');
    const value = exprOf(first, context);
    return made([left, right], { ...value, sql: `(CASE WHEN ${left.sql} = ${right.sql} THEN NULL ELSE ${value.sql} END)` });
  },
  CASEEXPR: caseExpr,
  CASETESTEXPR: (_, context) => context.caseTest ?? decline('a CASE value outside of CASE'),
  COALESCEEXPR: (node, context) => {
    const args = unify(exprsOf(kids(node, 'args'), context), num(node, 'coalescetype'), context);
    return branches(args, args, num(node, 'coalescetype'), `COALESCE(${args.map((arg) => arg.sql).join(', ')})`);
  },
  MINMAXEXPR: (node, context) => {
    checkCollation(node);
    const type = num(node, 'minmaxtype');
    const args = unify(exprsOf(kids(node, 'args'), context), type, context).map(ordered);
    return branches(args, args, type, context.dialect.extremum(args, num(node, 'op') === 0));
  },
  SCALARARRAYOPEXPR: arrayComparison,
  COERCEVIAIO: (node, context) => context.dialect.viaText(plain(exprOf(mustKid(node, 'arg'), context)), num(node, 'resulttype')),
  SUBLINK: sublink,
  AGGREF: aggregate,
  WINDOWFUNC: windowFunction,
};

/** Casts that PostgreSQL knows to be no-ops: text and varchar, mostly. */
function relabel(node: TreeNode, context: ExprContext): Expr {
  const arg = exprOf(mustKid(node, 'arg'), context);
  const from = typeName(arg.type);
  const to = typeName(num(node, 'resulttype'));
  if (!isPlainCollation(num(node, 'resultcollid'))) decline('a collation other than C');
  const type = num(node, 'resulttype');
  const texts = ['text', 'varchar', 'name'];
  if (arg.type === type)
    return { ...arg, typmod: type === Oid.numeric || type === Oid.bpchar ? arg.typmod : num(node, 'resulttypmod') };
  if (texts.includes(from) && texts.includes(to)) return { ...arg, type, typmod: num(node, 'resulttypmod') };
  // char(n) lies here without the blanks at its end.
  if (texts.includes(from) && to === 'bpchar') return made([arg], { sql: `rtrim(${arg.sql}, ' ')`, type, typmod: -1 });
  return decline(`${from} read as ${to}`);
}

function operatorExpr(node: TreeNode, context: ExprContext): Expr {
  const signature = signatureOf(node);
  if (flag(node, 'opretset')) decline('an operator that returns sets');
  const args = exprsOf(kids(node, 'args'), context);
  return context.dialect.operator(signature, args, num(node, 'opresulttype'));
}

function functionExpr(node: TreeNode, context: ExprContext): Expr {
  checkCollation(node);
  const signature = functionOf(num(node, 'funcid'));
  if (signature === undefined) return decline(`function ${num(node, 'funcid')}`);
  if (flag(node, 'funcretset') || flag(node, 'funcvariadic')) decline(`${signature.text} in this use`);
  return context.dialect.func(signature, exprsOf(kids(node, 'args'), context), num(node, 'funcresulttype'));
}

/** From this many equalities on one column, OR becomes IN: DuckDB's time for OR is quadratic. */
const OR_LIMIT = 8;

function booleanExpr(node: TreeNode, context: ExprContext): Expr {
  const args = kids(node, 'args');
  const operation = word(node, 'boolop');
  if (operation === 'not') {
    const arg = exprOf(args[0] as TreeNode, context);
    return bool([arg], `(NOT ${arg.sql})`);
  }
  if (operation === 'or' && args.length >= OR_LIMIT) {
    const folded = equalitiesAsIn(args, context);
    if (folded !== null) return folded;
  }
  const exprs = exprsOf(args, context);
  return bool(exprs, `(${exprs.map((expr) => expr.sql).join(operation === 'and' ? ' AND ' : ' OR ')})`);
}

function equalitiesAsIn(args: TreeNode[], context: ExprContext): Expr | null {
  const lefts = new Set<string>();
  const exprs: Expr[] = [];
  for (const arg of args) {
    if (arg.node !== 'OPEXPR' || operatorOf(num(arg, 'opno'))?.name !== '=') return null;
    const [left, right] = exprsOf(kids(arg, 'args'), context);
    if (left === undefined || right === undefined || right.constant === undefined || lefts.add(left.sql).size > 1) return null;
    // The comparison itself decides whether the types can be compared.
    context.dialect.operator(signatureOf(arg), [left, right], Oid.bool);
    exprs.push(left, right);
  }
  const aligned = alignComparands(exprs, context);
  const values = aligned.filter((_, i) => i % 2 === 1).map((expr) => expr.sql);
  return bool(exprs, `(${(aligned[0] as Expr).sql} IN (${values.join(', ')}))`);
}

function comparands(node: TreeNode, context: ExprContext): [Expr, Expr] {
  const signature = signatureOf(node);
  const [left, right] = alignComparands(exprsOf(kids(node, 'args'), context), context);
  if (left === undefined || right === undefined) return decline(`${node.node} without two operands`);
  context.dialect.operator(signature, [left, right], Oid.bool);
  return [left, right];
}

function alignComparands(args: Expr[], context: ExprContext): Expr[] {
  for (const arg of args) ordered(arg);
  return args.some((arg) => arg.type === Oid.numeric) ? context.dialect.alignNumerics(args) : args;
}

/** Branches of one expression in one representation. */
function unify(args: Expr[], type: number, context: ExprContext): Expr[] {
  if (args.some((arg) => arg.rep === 'interval')) decline('an interval in a CASE or COALESCE');
  const values = args.filter((arg) => arg.constant?.kind !== 'null');
  if (values.some((arg) => arg.rep === 'opaque')) {
    if (values.some((arg) => arg.rep !== 'opaque' || arg.type !== type || type === Oid.numeric))
      decline('mixed representations of one type');
    return args;
  }
  if (type === Oid.bpchar && new Set(values.map((arg) => arg.typmod)).size > 1) decline('char of different lengths');
  return type === Oid.numeric ? context.dialect.alignNumerics(args) : args;
}

function branches(operands: Expr[], values: Expr[], type: number, sql: string): Expr {
  const known = values.filter((arg) => arg.constant?.kind !== 'null');
  const first = known[0] ?? values[0];
  if (first === undefined) return decline('an expression without branches');
  const result = made(operands, { sql, type, typmod: type === Oid.bpchar ? first.typmod : -1, rep: first.rep });
  if (type === Oid.numeric && first.rep === 'plain') {
    result.scale = first.scale ?? 0;
    result.precision = 38;
    if (known.some((arg) => arg.loose === true)) result.loose = true;
  }
  return result;
}

function caseExpr(node: TreeNode, context: ExprContext): Expr {
  const arg = kid(node, 'arg');
  const test = arg === null ? null : exprOf(arg, context);
  const inner: ExprContext = test === null ? context : { ...context, column: context.column, caseTest: test };
  const whens = kids(node, 'args');
  const conditions = whens.map((when) => exprOf(mustKid(when, 'expr'), inner));
  const otherwise = kid(node, 'defresult');
  const results = whens.map((when) => exprOf(mustKid(when, 'result'), context));
  if (otherwise !== null) results.push(exprOf(otherwise, context));
  const type = num(node, 'casetype');
  const values = unify(results, type, context);
  const parts = conditions.map((condition, i) => `WHEN ${condition.sql} THEN ${(values[i] as Expr).sql}`);
  const last = otherwise === null ? '' : ` ELSE ${(values[values.length - 1] as Expr).sql}`;
  return branches([...conditions, ...values], values, type, `(CASE ${parts.join(' ')}${last} END)`);
}

/** `x op ANY|ALL (ARRAY[…])`, which `IN (…)` is too. */
function arrayComparison(node: TreeNode, context: ExprContext): Expr {
  const signature = signatureOf(node);
  const [leftNode, arrayNode] = kids(node, 'args');
  if (leftNode === undefined || arrayNode === undefined) return decline('an array comparison without two operands');
  const left = ordered(exprOf(leftNode, context));
  const any = flag(node, 'useOr');
  const negated = signature.name === '<>' && !any;
  const membership = (signature.name === '=' && any) || negated;
  const elements = arrayElements(arrayNode, context);
  if (elements === null) {
    if (!membership) decline(`${signature.name} ${any ? 'ANY' : 'ALL'} of an array value`);
    return context.dialect.inArray(left, exprOf(arrayNode, context), negated);
  }
  if (elements.length === 0) return bool([left], any ? '(1 = 0)' : '(1 = 1)');
  for (const element of elements) context.dialect.operator(signature, [left, element], Oid.bool);
  const [first, ...rest] = alignComparands([left, ...elements], context) as [Expr, ...Expr[]];
  const operands = [first, ...rest];
  if (membership) {
    return bool(operands, `(${first.sql} ${negated ? 'NOT ' : ''}IN (${rest.map((element) => element.sql).join(', ')}))`);
  }
  if (rest.length > OR_LIMIT) decline('a long array comparison other than IN');
  return bool(
    operands,
    `(${rest.map((element) => `${first.sql} ${signature.name} ${element.sql}`).join(any ? ' OR ' : ' AND ')})`,
  );
}

function arrayElements(node: TreeNode, context: ExprContext): Expr[] | null {
  if (node.node === 'RELABELTYPE') return arrayElements(mustKid(node, 'arg'), context);
  if (node.node === 'ARRAYCOERCEEXPR') {
    const each = mustKid(node, 'elemexpr');
    const elements = arrayElements(mustKid(node, 'arg'), context);
    return elements === null ? null : elements.map((element) => exprOf(each, { ...context, caseTest: element }));
  }
  if (node.node === 'ARRAYEXPR') {
    if (flag(node, 'multidims')) decline('an array of arrays');
    return exprsOf(kids(node, 'elements'), context);
  }
  if (node.node !== 'CONST') return null;
  const value = constOf(node);
  if (value.kind !== 'array') return null;
  return value.elements.map((element) => context.dialect.constant(element, value.elementType, -1));
}

const EXISTS = 0;
const ALL = 1;
const ANY = 2;
const SCALAR = 4;

function sublink(node: TreeNode, context: ExprContext): Expr {
  const type = num(node, 'subLinkType');
  const subquery = context.subquery(mustKid(node, 'subselect'));
  if (type === EXISTS) return bool([], `EXISTS ${subquery.sql}`);
  const column = subquery.columns[0];
  if (column === undefined) return decline('a subquery without columns');
  if (type === SCALAR) {
    if (!context.dialect.checksScalarSubqueries && !subquery.atMostOneRow)
      decline('a scalar subquery that could give several rows');
    return {
      ...made([column], { ...column, sql: subquery.sql, fixed: false }),
      ...(column.text === undefined ? {} : { text: undefined as never }),
    };
  }
  if (type !== ANY && type !== ALL) return decline('a subquery in this use');
  const test = mustKid(node, 'testexpr');
  if (test.node !== 'OPEXPR' || subquery.columns.length !== 1) return decline('a comparison of rows with a subquery');
  const [leftNode, rightNode] = kids(test, 'args');
  if (leftNode === undefined || rightNode === undefined || !isSublinkColumn(rightNode))
    return decline('a converted column of a subquery');
  const left = ordered(exprOf(leftNode, context));
  const signature = signatureOf(test);
  context.dialect.operator(signature, [left, ordered(column)], Oid.bool);
  if (left.type === Oid.numeric && left.scale !== column.scale) decline('a subquery over numerics of another scale');
  const sql = context.dialect.quantified(left, signature.name, type === ANY ? 'ANY' : 'ALL', subquery.sql);
  return { ...bool([left, column], sql), fixed: false };
}

function isSublinkColumn(node: TreeNode): boolean {
  if (node.node === 'RELABELTYPE') return isSublinkColumn(mustKid(node, 'arg'));
  return node.node === 'PARAM' && num(node, 'paramkind') === 2;
}

function aggregate(node: TreeNode, context: ExprContext): Expr {
  if (num(node, 'agglevelsup') !== 0) decline('an aggregate of an outer query');
  const special = context.aggref(node);
  if (special !== undefined) return special;
  return context.dialect.aggregate(aggregateCall(node, context));
}

/** The parts of an AGGREF. Ordered and ordered-set aggregates decline. */
export function aggregateCall(node: TreeNode, context: ExprContext) {
  checkCollation(node);
  const signature = functionOf(num(node, 'aggfnoid'));
  if (signature === undefined) return decline(`aggregate ${num(node, 'aggfnoid')}`);
  if (word(node, 'aggkind') !== 'n' || flag(node, 'aggvariadic') || kids(node, 'aggorder').length > 0) {
    return decline(`${signature.name} with an order`);
  }
  const filter = kid(node, 'aggfilter');
  return {
    signature,
    args: kids(node, 'args').map((entry) => exprOf(mustKid(entry, 'expr'), context)),
    star: flag(node, 'aggstar'),
    distinct: kids(node, 'aggdistinct').length > 0,
    filter: filter === null ? null : exprOf(filter, context),
    resultType: num(node, 'aggtype'),
  };
}

function windowFunction(node: TreeNode, context: ExprContext): Expr {
  checkCollation(node);
  const signature = functionOf(num(node, 'winfnoid'));
  if (signature === undefined) return decline(`window function ${num(node, 'winfnoid')}`);
  const filter = kid(node, 'aggfilter');
  return context.dialect.window({
    signature,
    args: exprsOf(kids(node, 'args'), context),
    star: flag(node, 'winstar'),
    filter: filter === null ? null : exprOf(filter, context),
    resultType: num(node, 'wintype'),
    over: context.windowOver(num(node, 'winref')),
  });
}
