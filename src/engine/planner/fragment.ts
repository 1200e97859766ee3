/** A query, or a part of it, as a fragment for segments: relations bound to placeholders, engine chosen. */
import { storageOf } from '../../model/storage.js';
import type { TableDef } from '../../model/table.js';
import type { Fragment, OutputColumn, RelationRef } from '../../model/task.js';
import { attempt, Decline, decline } from '../dialect/decline.js';
import type { Dialect } from '../dialect/dialect.js';
import { duckdb } from '../dialect/duckdb.js';
import { columnExpr } from '../dialect/expr.js';
import { num } from '../dialect/node.js';
import { type BindTable, QueryWriter } from '../dialect/query.js';
import { sqlite } from '../dialect/sqlite.js';
import type { TreeNode } from '../front/tree.js';
import { heapFilter } from './conjuncts.js';
import type { Leaf } from './relations.js';
import type { PlannerCatalog } from './types.js';

/** Relations of a fragment that is being written; columns are noted as they are used. */
export class FragmentRelations {
  private readonly refs: { ref: RelationRef; table: TableDef; used: Set<number> }[] = [];

  constructor(private readonly engine: Dialect['engine']) {}

  /** @param filter condition on a heap table whose rows are carried over to DuckDB. */
  bind(
    table: TableDef,
    filter?: string,
  ): { alias: string; relation: string; column: (attnum: number) => ReturnType<typeof columnExpr> } {
    const alias = `t${this.refs.length}`;
    const used = new Set<number>();
    const ref: RelationRef = { alias, tableId: table.tableId, columns: [] };
    if (filter !== undefined) ref.heapFilter = filter;
    this.refs.push({ ref, table, used });
    return {
      alias,
      relation: `{{${alias}}}`,
      column: (attnum) => {
        const column = table.columns.find((one) => one.attnum === attnum);
        if (column === undefined) return decline(`column ${attnum} of ${table.name}`);
        used.add(attnum);
        return columnExpr(`${alias}.c${attnum}`, column.typeOid, column.typmod, this.engine);
      },
    };
  }

  list(): RelationRef[] {
    return this.refs.map(({ ref, table, used }) => {
      const columns = [...used].sort((a, b) => a - b);
      const types = table.columns
        .filter((column) => used.has(column.attnum))
        .map(({ attnum, typeOid, typmod }) => ({ attnum, typeOid, typmod }));
      return { ...ref, columns, types };
    });
  }
}

export interface FragmentWriter {
  writer: QueryWriter;
  relations: FragmentRelations;
}

export function fragmentWriter(engine: Dialect['engine'], catalog: PlannerCatalog): FragmentWriter {
  const relations = new FragmentRelations(engine);
  const bind: BindTable = (query, rtindex, rte: TreeNode) => {
    const table = catalog.tableByOid(num(rte, 'relid'));
    if (table === undefined) return decline('a catalog relation');
    const carried = engine === 'duckdb' && table.accessMethod === 'heap';
    return relations.bind(table, carried ? heapFilter(table, query, rtindex) : undefined);
  };
  return { writer: new QueryWriter(engine === 'sqlite' ? sqlite : duckdb, bind), relations };
}

export function fragmentOf(engine: Dialect['engine'], sql: string, output: OutputColumn[], parts: FragmentWriter): Fragment {
  return { engine, sql, relations: parts.relations.list(), params: parts.writer.paramSpecs(), output };
}

/** Can one SQLite file hold all of them? A fragment for SQLite runs set by set. */
export function inOneHeapSet(leaves: readonly Leaf[]): boolean {
  const sets = new Set<string>();
  for (const { table } of leaves) {
    if (table.accessMethod !== 'heap') return false;
    sets.add('colocationId' in table.distribution ? `c${table.distribution.colocationId}` : `l${table.tableId}`);
  }
  return sets.size === 1;
}

/**
 * Writes a fragment for the best engine that can: SQLite where all rows lie in one heap set, DuckDB otherwise.
 * @param write gives SQL and columns, with a writer of the engine.
 */
export function forBestEngine(
  leaves: readonly Leaf[],
  catalog: PlannerCatalog,
  write: (parts: FragmentWriter) => { sql: string; output: OutputColumn[] },
): Fragment {
  const build = (engine: Dialect['engine']): Fragment => {
    const parts = fragmentWriter(engine, catalog);
    const { sql, output } = write(parts);
    return fragmentOf(engine, sql, output, parts);
  };
  if (!inOneHeapSet(leaves)) return build('duckdb');
  const small = attempt(() => build('sqlite'));
  return small instanceof Decline ? build('duckdb') : small;
}

/** A column that is read only to count rows where a fragment needs none. */
export function someColumn(table: TableDef): number {
  const plain = table.columns.find((column) => storageOf(column.typeOid, column.typmod).class === 'int') ?? table.columns[0];
  return plain?.attnum ?? 1;
}
