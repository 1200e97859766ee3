/** UPDATE and DELETE of one table: expressions of its store's engine, shards pruned by the distribution column. */
import { notSupported } from '../../core/errors.js';
import { Oid, storageOf } from '../../model/storage.js';
import type { ColumnDef, TableDef } from '../../model/table.js';
import type { ModifyFragment, OutputColumn, RelationRef } from '../../model/task.js';
import { heapFromText } from '../codec/heap.js';
import { attempt, Decline, decline } from '../dialect/decline.js';
import { duckdb } from '../dialect/duckdb.js';
import { columnExpr, outputOf } from '../dialect/expr.js';
import { type ExprContext, exprOf } from '../dialect/expression.js';
import { textLiteral } from '../dialect/literal.js';
import { flag, kid, kids, mustKid, num } from '../dialect/node.js';
import { QueryWriter, type Scope } from '../dialect/query.js';
import { sqlite } from '../dialect/sqlite.js';
import type { TreeNode } from '../front/tree.js';
import { leafValues } from './facts.js';
import { leafId, relationsOf } from './relations.js';
import type { ModifyPlan, PlannerCatalog, ValueRef, Where } from './types.js';
import { valueFor } from './values.js';

const UPDATE = 2;

export function modifyPlan(query: TreeNode, table: TableDef, output: OutputColumn[], catalog: PlannerCatalog): ModifyPlan {
  const op = num(query, 'commandType') === UPDATE ? 'update' : 'delete';
  refuse(query, table, op, catalog);
  const written = attempt(() => write(query, table, output, op));
  if (written instanceof Decline) {
    const store = table.accessMethod === 'heap' ? 'heap' : 'columnar';
    throw notSupported(
      `this ${op.toUpperCase()} of a ${store} table is not supported: ${written.reason}`,
      'Simplify the expression, or select the new values and write them by key.',
    );
  }
  return { kind: 'modify', tableId: table.tableId, fragment: written, where: whereOf(query, table, catalog) };
}

function refuse(query: TreeNode, table: TableDef, op: 'update' | 'delete', catalog: PlannerCatalog): void {
  const verb = op.toUpperCase();
  if (kids(mustKid(query, 'jointree'), 'fromlist').length > 1) {
    throw notSupported(
      `${verb} with ${op === 'update' ? 'FROM' : 'USING'} is not supported yet`,
      'Select the keys first, then write by key.',
    );
  }
  if (flag(query, 'hasSubLinks') || kids(query, 'cteList').length > 0) {
    throw notSupported(`${verb} with subqueries is not supported yet`, 'Select the keys first, then write by key.');
  }
  const target = kids(query, 'rtable')[num(query, 'resultRelation') - 1];
  if (kids(query, 'withCheckOptions').length > 0 || (target !== undefined && kids(target, 'securityQuals').length > 0)) {
    throw notSupported(`${verb} under row level security is not supported yet`, 'Write as a role that the policies do not bind.');
  }
  if (op === 'update' && (catalog.rowChecks?.(table.tableId) ?? table.needsFront)) {
    throw notSupported(
      `UPDATE of table "${table.name}" is not supported yet: its rows have to pass CHECK constraints or generated columns`,
      'Delete the rows and insert them again.',
    );
  }
}

function write(query: TreeNode, table: TableDef, output: OutputColumn[], op: 'update' | 'delete'): ModifyFragment {
  const engine = table.accessMethod === 'heap' ? 'sqlite' : 'duckdb';
  const used = new Set<number>();
  const writer = new QueryWriter(engine === 'sqlite' ? sqlite : duckdb, () => decline('another table'));
  const bound = {
    column: (attnum: number) => {
      const column = table.columns.find((one) => one.attnum === attnum);
      if (column === undefined) return decline(`column ${attnum}`);
      used.add(attnum);
      return columnExpr(`c${attnum}`, column.typeOid, column.typmod, engine);
    },
  };
  const scope: Scope = { query, parent: null, bound: new Map([[num(query, 'resultRelation'), bound]]), ctes: new Map() };
  const context = writer.context(scope);
  const quals = kid(mustKid(query, 'jointree'), 'quals');
  const where = quals === null ? null : exprOf(quals, context).sql;
  const assignments = op === 'delete' ? [] : assignmentsOf(query, table, writer, context);
  const returning = returningOf(query, output, op, context, engine);
  const target: RelationRef = { alias: 't0', tableId: table.tableId, columns: [...used].sort((a, b) => a - b) };
  const assigned = new Set(assignments.map((one) => one.attnum));
  return {
    op,
    engine,
    target,
    assignments,
    where,
    params: writer.paramSpecs(),
    returning,
    notNull: table.columns.filter((one) => one.notNull && assigned.has(one.attnum)).map(({ attnum, name }) => ({ attnum, name })),
    tableName: table.name,
  };
}

function returningOf(
  query: TreeNode,
  output: OutputColumn[],
  op: string,
  context: ExprContext,
  engine: 'sqlite' | 'duckdb',
): ModifyFragment['returning'] {
  const entries = kids(query, 'returningList');
  if (entries.length === 0) return null;
  return entries.map((entry, i) => {
    const expr = mustKid(entry, 'expr');
    refuseOld(expr, op);
    const column = outputOf(exprOf(expr, context), output[i]?.name ?? `o${i}`, engine);
    return column;
  });
}

/** OLD is the row that an UPDATE replaces, NEW the one that a DELETE does not leave. */
function refuseOld(expr: TreeNode, op: string): void {
  const refused = op === 'update' ? 1 : 2;
  if (expr.node === 'VAR' && num(expr, 'varreturningtype') === refused)
    decline(op === 'update' ? 'RETURNING OLD' : 'RETURNING NEW');
  for (const field of ['arg', 'args', 'elements', 'expr', 'result', 'defresult']) {
    const one = kid(expr, field);
    if (one !== null) refuseOld(one, op);
    for (const child of kids(expr, field)) refuseOld(child, op);
  }
}

function assignmentsOf(
  query: TreeNode,
  table: TableDef,
  writer: QueryWriter,
  context: ExprContext,
): ModifyFragment['assignments'] {
  const key = table.distribution.kind === 'distributed' ? table.distribution.attnum : 0;
  const assignments: ModifyFragment['assignments'] = [];
  for (const entry of kids(query, 'targetList')) {
    const attnum = num(entry, 'resno');
    const expr = mustKid(entry, 'expr');
    if (flag(entry, 'resjunk')) continue;
    const column = table.columns.find((one) => one.attnum === attnum);
    if (column === undefined) return decline(`column ${attnum}`);
    if (attnum === key) {
      if (expr.node === 'VAR' && num(expr, 'varattno') === key) continue;
      throw notSupported(
        `modifying the distribution column "${column.name}" of table "${table.name}" is not supported`,
        'Delete the row and insert it with its new value.',
      );
    }
    assignments.push({ attnum, sql: assignment(expr, column, writer, context) });
  }
  return assignments;
}

/** The new value in the column's own representation. */
function assignment(expr: TreeNode, column: ColumnDef, writer: QueryWriter, context: ExprContext): string {
  const sqliteStore = writer.dialect.engine === 'sqlite';
  const value = valueFor(expr, column);
  if (value !== undefined && sqliteStore) return heapValue(value, column, writer);
  const storage = storageOf(column.typeOid, column.typmod);
  const texts = storage.class === 'opaque' || storage.duckdb === 'VARCHAR';
  if (value !== undefined && texts && (value === null || value.kind === 'const')) {
    return value === null ? 'NULL' : textLiteral(String(heapFromText(column.typeOid, column.typmod, value.text)));
  }
  const written = exprOf(expr, context);
  const numeric = column.typeOid === Oid.numeric;
  if (numeric && (written.rep === 'opaque') !== (storage.class === 'numeric' && (sqliteStore || storage.duckdb === 'VARCHAR'))) {
    return decline('a numeric that cannot be computed in the form that the column has');
  }
  if (numeric && written.rep === 'plain' && (written.loose === true || (written.scale ?? 0) !== storage.scale))
    return decline('a numeric of another scale');
  if (written.rep === 'opaque' && (written.type !== column.typeOid || written.constant !== undefined))
    return decline('a value of another type');
  if (written.type !== column.typeOid && !(isText(written.type) && isText(column.typeOid)))
    return decline('a value of another type');
  return sqliteStore ? written.sql : `CAST(${written.sql} AS ${storage.duckdb})`;
}

function isText(type: number): boolean {
  return type === Oid.text || type === Oid.varchar;
}

/** A constant as a literal of its heap value; a parameter that is converted as the column's own values are. */
function heapValue(value: ValueRef | null, column: ColumnDef, writer: QueryWriter): string {
  if (value === null) return 'NULL';
  if (value.kind === 'param') {
    const known = writer.params.get(value.n);
    const spec = { n: value.n, typeOid: column.typeOid, typmod: column.typmod };
    if (known !== undefined && (known.typeOid !== spec.typeOid || known.typmod !== spec.typmod)) {
      return decline(`$${value.n} is used for values of different lengths`);
    }
    writer.params.set(value.n, spec);
    return `?${value.n}`;
  }
  const heap = heapFromText(column.typeOid, column.typmod, value.text);
  if (heap === null) return 'NULL';
  if (Buffer.isBuffer(heap)) return `x'${heap.toString('hex')}'`;
  if (typeof heap === 'string') return textLiteral(heap);
  if (storageOf(column.typeOid, column.typmod).class !== 'float') return `(${heap})`;
  const real = Number(heap);
  if (!Number.isFinite(real)) return real > 0 ? '9e999' : '(-9e999)';
  return Number.isInteger(real) && Math.abs(real) < 1e15 ? `(${real.toFixed(1)})` : `(${real})`;
}

function whereOf(query: TreeNode, table: TableDef, catalog: PlannerCatalog): Where {
  const { distribution } = table;
  switch (distribution.kind) {
    case 'local':
      return { kind: 'coordinator' };
    case 'reference':
    case 'random':
      return { kind: 'colocated', colocationId: distribution.colocationId, keys: null };
    case 'distributed': {
      const relations = relationsOf(query, catalog);
      const values = leafValues(relations).get(leafId(relations, query, num(query, 'resultRelation')));
      return {
        kind: 'colocated',
        colocationId: distribution.colocationId,
        keys: values === undefined || values.length === 0 ? null : values,
      };
    }
  }
}
