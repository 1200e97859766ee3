/** Plans as EXPLAIN shows them: text in the layout of PostgreSQL and Citus, or JSON. */
import type { Fragment } from '../../model/task.js';
import type { Finish, Input, InsertPlan, ModifyPlan, Plan, PlannerCatalog, ReadPlan, ValueRef, Where } from './types.js';

export interface ExplainOptions {
  /** Fragments' SQL, and why better tiers declined. */
  verbose?: boolean;
}

/** Lines of the column `QUERY PLAN`. */
export function explainPlan(plan: Plan, catalog: PlannerCatalog, options: ExplainOptions = {}): string[] {
  switch (plan.kind) {
    case 'read':
      return readLines(plan, catalog, options);
    case 'insert':
      return insertLines(plan, catalog, options);
    case 'modify':
      return modifyLines(plan, catalog, options);
    case 'call':
      return [`Damson plan: call of ${plan.name}`];
    case 'catalog':
      return ['Damson plan: catalog', '  ->  runs in the coordinator’s PostgreSQL front'];
  }
}

/** The same as data, for `EXPLAIN (FORMAT JSON)`. */
export function explainJson(plan: Plan, catalog: PlannerCatalog, options: ExplainOptions = {}): unknown {
  if (plan.kind !== 'read') return [{ Plan: { 'Node Type': explainPlan(plan, catalog, options)[0] } }];
  const inputs = plan.inputs.map((input) => ({
    Name: input.name,
    Engine: input.fragment.engine,
    Tasks: tasksOf(input.where, catalog),
    Distribution: whereText(input.where, catalog),
    Tables: tablesOf(input.fragment, catalog),
    ...(options.verbose === true ? { Query: input.fragment.sql } : {}),
  }));
  const finish = plan.finish === null ? {} : { Finish: finishJson(plan.finish, options) };
  const declined = options.verbose === true ? { Declined: plan.declined } : {};
  return [
    {
      Plan: {
        'Node Type': 'Custom Scan',
        'Custom Plan Provider': 'Damson',
        Tier: plan.tier,
        Inputs: inputs,
        ...finish,
        ...declined,
      },
    },
  ];
}

function finishJson(finish: Finish, options: ExplainOptions): unknown {
  return { Engine: finish.engine, ...(finish.engine === 'duckdb' && options.verbose === true ? { Query: finish.sql } : {}) };
}

function readLines(plan: ReadPlan, catalog: PlannerCatalog, options: ExplainOptions): string[] {
  const lines = [`Damson plan: ${plan.tier}`];
  if (plan.finish !== null) {
    lines.push(
      `  Finish: ${plan.finish.engine === 'pglite' ? 'PostgreSQL (statement as written)' : 'DuckDB on the coordinator'}`,
    );
    if (plan.finish.engine === 'duckdb' && options.verbose === true) lines.push(`  Finish Query: ${plan.finish.sql}`);
  }
  for (const input of plan.inputs) lines.push(...inputLines(input, catalog, options));
  if (options.verbose === true) for (const { tier, reason } of plan.declined) lines.push(`  Declined: ${tier}: ${reason}`);
  return lines;
}

function inputLines(input: Input, catalog: PlannerCatalog, options: ExplainOptions): string[] {
  const { fragment, where } = input;
  const lines = [
    `  ->  Fragment ${input.name} (${fragment.engine === 'sqlite' ? 'SQLite' : 'DuckDB'})`,
    `        Task Count: ${tasksOf(where, catalog)}`,
    `        Tasks: ${whereText(where, catalog)}`,
    `        Tables: ${tablesOf(fragment, catalog).join(', ')}`,
  ];
  if (options.verbose === true) lines.push(`        Query: ${fragment.sql}`);
  return lines;
}

function tablesOf(fragment: Fragment, catalog: PlannerCatalog): string[] {
  return fragment.relations.map((relation) => `${relation.alias} = ${tableName(relation.tableId, catalog)}`);
}

function tableName(tableId: number, catalog: PlannerCatalog): string {
  const table = catalog.table?.(tableId);
  return table === undefined ? `table ${tableId}` : table.schema === 'public' ? table.name : `${table.schema}.${table.name}`;
}

function contentsOf(where: Where, catalog: PlannerCatalog): number[] {
  if (where.kind === 'coordinator') return [-1];
  const contents = new Set<number>();
  for (let index = 0; index < catalog.shardCount(where.colocationId); index++) {
    const owner = catalog.placement(`c${where.colocationId}_${index}`).contents[0];
    if (owner !== undefined) contents.add(owner);
  }
  return [...contents].sort((a, b) => a - b);
}

function tasksOf(where: Where, catalog: PlannerCatalog): number {
  const segments = contentsOf(where, catalog).length;
  return where.kind === 'colocated' && where.keys !== null ? Math.min(where.keys.length, segments) : segments;
}

function whereText(where: Where, catalog: PlannerCatalog): string {
  if (where.kind === 'coordinator') return 'on the coordinator';
  if (where.keys !== null) return `on the segments of ${where.keys.map(valueText).join(', ')}`;
  return `on segments ${contentsOf(where, catalog).join(', ')} (all shards)`;
}

function valueText(value: ValueRef): string {
  return value.kind === 'param' ? `$${value.n}` : `'${value.text}'`;
}

function insertLines(plan: InsertPlan, catalog: PlannerCatalog, options: ExplainOptions): string[] {
  const lines = [`Damson plan: insert into ${tableName(plan.tableId, catalog)}`];
  switch (plan.source.kind) {
    case 'values':
      return [...lines, `  ->  Values: ${plan.source.rows.length} ${plan.source.rows.length === 1 ? 'row' : 'rows'}`];
    case 'front':
      return [...lines, '  ->  Rows computed by the PostgreSQL front'];
    case 'select':
      return [
        ...lines,
        ...explainPlan(plan.source.read, catalog, options).map((line, i) => (i === 0 ? `  ->  ${line}` : `      ${line}`)),
      ];
  }
}

function modifyLines(plan: ModifyPlan, catalog: PlannerCatalog, options: ExplainOptions): string[] {
  const { fragment, where } = plan;
  const lines = [
    `Damson plan: ${fragment.op === 'update' ? 'update of' : 'delete from'} ${tableName(plan.tableId, catalog)}`,
    `  Engine: ${fragment.engine === 'sqlite' ? 'SQLite' : 'DuckDB'}`,
    `  Tasks: ${whereText(where, catalog)}`,
  ];
  if (options.verbose === true) {
    for (const one of fragment.assignments) lines.push(`  Set: c${one.attnum} = ${one.sql}`);
    if (fragment.where !== null) lines.push(`  Filter: ${fragment.where}`);
  }
  return lines;
}
