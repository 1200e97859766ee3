/** Second tier: every segment answers over its own shards, in one fragment; the coordinator merges. */
import type { ParamSpec } from '../../model/task.js';
import { decline } from '../dialect/decline.js';
import { duckdb } from '../dialect/duckdb.js';
import { exactScale, outputOf } from '../dialect/expr.js';
import { flag, kid } from '../dialect/node.js';
import { assemble, constantInt, type Emitted, type QueryWriter, type SortKey, type Target } from '../dialect/query.js';
import type { TreeNode } from '../front/tree.js';
import { Colocation, isGrouped, type Spread } from './colocation.js';
import { commonKeys, named, type SelectContext } from './context.js';
import { forBestEngine } from './fragment.js';
import { isDistributed } from './relations.js';
import { twoPhase } from './two-phase.js';
import type { Finish, Input, ReadPlan, Where } from './types.js';

export function pushdownPlan(context: SelectContext): ReadPlan {
  const { query, relations } = context;
  if (relations.others) decline('a catalog relation');
  const colocation = new Colocation(relations);
  if (kid(query, 'setOperations') !== null) {
    const { spread } = colocation.ofSetOperation(query, [], false);
    return rowsPlan(context, whereOf(context, spread));
  }
  const { spread, facts } = colocation.ofFrom(query, [], null);
  const where = whereOf(context, spread);
  const grouped = isGrouped(query);
  const whole = colocation.staysWithin(query, [], spread, facts, false);
  if (whole) return rowsPlan(context, where);
  if (!grouped) return decline('a window over rows of several segments');
  const { fragment, finish } = twoPhase(context);
  return plan(context, { name: 'in0', fragment, where }, finish);
}

function whereOf(context: SelectContext, spread: Spread): Where {
  if (spread.kind === 'everywhere') return decline('no distributed table in FROM');
  const distributed = context.relations.leaves.filter((leaf) => isDistributed(leaf.table));
  return {
    kind: 'colocated',
    colocationId: spread.colocationId,
    keys: commonKeys(
      context,
      distributed.map((leaf) => leaf.id),
    ),
  };
}

function plan(context: SelectContext, input: Input, finish: Finish | null): ReadPlan {
  const output = finish !== null && finish.engine === 'duckdb' ? finish.output : input.fragment.output;
  return { kind: 'read', tier: 'pushdown', inputs: [input], finish, declined: context.declined, output };
}

/** What the coordinator still has to do with the segments' rows. */
interface Merge {
  columns: number;
  sort: { column: number; direction: string }[];
  distinct: boolean;
  tail: string;
  params: ParamSpec[];
}

/** Rows of all segments, put together: ordered, distinct and limited where the query asks for it. */
function rowsPlan(context: SelectContext, where: Where): ReadPlan {
  const { query, catalog, relations, output } = context;
  let merge: Merge | null = null;
  const fragment = forBestEngine(relations.leaves, catalog, ({ writer }) => {
    const written = segmentRows(query, writer);
    merge = written.merge;
    return {
      sql: written.sql,
      output: [...named(written.output.slice(0, output.length), output), ...written.output.slice(output.length)],
    };
  });
  const { columns, sort, distinct, tail, params } = merge as unknown as Merge;
  if (sort.length === 0 && !distinct && tail === '') return plan(context, { name: 'in0', fragment, where }, null);
  const list = Array.from({ length: columns }, (_, i) => `i.o${i} AS r${i}`).join(', ');
  const by = sort.map(({ column, direction }) => `i.o${column} ${direction}`).join(', ');
  const from = distinct
    ? `(SELECT DISTINCT ${Array.from({ length: columns }, (_, i) => `d.o${i} AS o${i}`).join(', ')} FROM {{in0}} AS d)`
    : '{{in0}}';
  const sql = `SELECT ${columns === 0 ? '1 AS n' : list} FROM ${from} AS i${by === '' ? '' : ` ORDER BY ${by}`}${tail}`;
  const finish: Finish = { engine: 'duckdb', sql, params, output: fragment.output.slice(0, columns) };
  return plan(context, { name: 'in0', fragment, where }, finish);
}

/** One segment's rows, with the sort keys beside them; its own first rows are enough where there is a limit. */
function segmentRows(query: TreeNode, writer: QueryWriter) {
  const { targets, sort, distinct, build, scope } = writer.pieces(query);
  const shown = targets.filter(({ entry }) => !flag(entry, 'resjunk'));
  if (shown.length === 0) decline('a query without columns');
  const outputs = shown.map(({ expr }, i) => outputOf(expr, `o${i}`, writer.dialect.engine));
  const emitted: Emitted[] = outputs.map(({ sql }, i) => ({ sql, name: `o${i}` }));
  const keys = sort.map(({ target, direction }) => {
    const column = sortColumn(targets[target] as Target, emitted, outputs, writer, distinct);
    return { column, direction };
  });
  const finisher = mergeLimits(query, writer, scope);
  const bound = finisher.segmentTail;
  const kept: SortKey[] = bound === '' ? [] : sort;
  const sql = build((body) => assemble(emitted, targets, kept, distinct, body, bound));
  const merge: Merge = { columns: shown.length, sort: keys, distinct, tail: finisher.tail, params: finisher.params };
  return { sql, output: outputs.map(({ output }) => output), merge };
}

function sortColumn(
  target: Target,
  emitted: Emitted[],
  outputs: ReturnType<typeof outputOf>[],
  writer: QueryWriter,
  distinct: boolean,
): number {
  const { expr } = target;
  const known = emitted.findIndex(({ sql }) => sql === expr.sql);
  if (known >= 0) return known;
  if (distinct) exactScale(expr);
  const { loose, text, ...value } = expr;
  const column = outputOf(value, `o${emitted.length}`, writer.dialect.engine);
  outputs.push(column);
  return emitted.push({ sql: column.sql, name: `o${emitted.length}` }) - 1;
}

/** The merge's LIMIT and OFFSET, and the segments' own LIMIT, which is their sum. */
function mergeLimits(query: TreeNode, writer: QueryWriter, scope: Parameters<QueryWriter['limit']>[1]) {
  const [count, offset] = [kid(query, 'limitCount'), kid(query, 'limitOffset')];
  const finisher = writer.sibling(duckdb);
  const tail = finisher.limits(query, scope);
  const rows = count === null ? undefined : constantInt(count);
  const skip = offset === null ? 0n : constantInt(offset);
  // A limit that is not known yet is applied by the merge alone.
  const known = rows !== undefined && rows !== null && skip !== undefined && skip !== null;
  return { tail, params: finisher.paramSpecs(), segmentTail: known ? ` LIMIT ${rows + skip}` : '' };
}
