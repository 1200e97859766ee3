/** From an analysed statement to its plan. Pure: nothing is read but the catalog. */
import { internalError, notSupported } from '../../core/errors.js';
import type { TableDef } from '../../model/table.js';
import { kids, num } from '../dialect/node.js';
import type { TreeNode } from '../front/tree.js';
import type { Analyzed } from '../front/types.js';
import { adminCall } from './call.js';
import { outputOfFields, selectContext } from './context.js';
import { fallbackPlan } from './gather.js';
import { insertPlan, withoutTarget } from './insert.js';
import { modifyPlan } from './modify.js';
import { refuseSelect, selectPlan } from './select.js';
import type { Plan, PlannerCatalog, PlanStatement, ReadPlan } from './types.js';

const COMMAND = { select: 1, update: 2, insert: 3, delete: 4, merge: 5, utility: 6 } as const;

/**
 * Plans a statement.
 * @throws SqlError 0A000 with a hint for what cannot run.
 */
export const planStatement: PlanStatement = (analyzed, catalog) => {
  const query = analyzed.queries[0];
  if (query === undefined) return { kind: 'catalog' };
  const output = outputOfFields(analyzed);
  if (num(query, 'commandType') === COMMAND.select) {
    const call = adminCall(query, output, (oid) => ownFunction(analyzed, catalog, oid));
    if (call !== null) return call;
  }
  if (analyzed.catalogOnly) return { kind: 'catalog' };
  if (analyzed.queries.length > 1) {
    throw notSupported(
      'tables with rewrite rules are not supported',
      'Use a trigger-free table, or write the statements one by one.',
    );
  }
  return planQuery(query, analyzed, catalog);
};

/**
 * The plan of the same read that PostgreSQL finishes over the rows of its tables: for when an engine has raised an error. Of an INSERT … SELECT
 * it is the plan of what it reads.
 * @param bare without any condition where the rows are: one of them has raised.
 */
export function planFallback(analyzed: Analyzed, catalog: PlannerCatalog, bare = false): ReadPlan {
  const query = analyzed.queries[0];
  const command = query === undefined ? 0 : num(query, 'commandType');
  if (query === undefined || (command !== COMMAND.select && command !== COMMAND.insert))
    throw internalError('only a SELECT has a fallback');
  const select = command === COMMAND.insert ? withoutTarget(query) : query;
  return fallbackPlan(selectContext(select, outputOfFields(analyzed), catalog), bare);
}

function planQuery(query: TreeNode, analyzed: Analyzed, catalog: PlannerCatalog): Plan {
  const output = outputOfFields(analyzed);
  const volatility = (oid: number) => volatilityOf(analyzed, catalog, oid);
  switch (num(query, 'commandType')) {
    case COMMAND.select: {
      refuseSelect(query, volatility);
      const context = selectContext(query, output, catalog);
      return context.relations.leaves.length === 0 ? { kind: 'catalog' } : selectPlan(context);
    }
    case COMMAND.insert:
      return insertPlan(query, targetOf(query, catalog), output, catalog, (select, columns) => {
        refuseSelect(select, volatility);
        return selectPlan(selectContext(select, columns, catalog));
      });
    case COMMAND.update:
    case COMMAND.delete:
      return modifyPlan(query, targetOf(query, catalog), output, catalog);
    case COMMAND.merge:
      throw notSupported('MERGE is not supported yet', 'Write UPDATE, INSERT and DELETE instead.');
    default:
      throw notSupported('this statement is not supported over distributed tables');
  }
}

function targetOf(query: TreeNode, catalog: PlannerCatalog): TableDef {
  const rte = kids(query, 'rtable')[num(query, 'resultRelation') - 1];
  const table = rte === undefined ? undefined : catalog.tableByOid(num(rte, 'relid'));
  if (table === undefined)
    throw notSupported(
      'this relation cannot be written to',
      'Only tables can: catalogs and views that PostgreSQL does not update are read only.',
    );
  return table;
}

function ownFunction(analyzed: Analyzed, catalog: PlannerCatalog, oid: number) {
  const known = catalog.functionName?.(oid);
  if (known !== undefined) return known;
  const named = analyzed.functions?.find((one) => one.oid === oid);
  return named !== undefined && ADMIN_FUNCTIONS.has(named.name) && ADMIN_SCHEMAS.has(named.schema) ? named : undefined;
}

function volatilityOf(analyzed: Analyzed, catalog: PlannerCatalog, oid: number): 'i' | 's' | 'v' | undefined {
  return catalog.functionVolatility?.(oid) ?? analyzed.functions?.find((one) => one.oid === oid)?.volatility;
}

const ADMIN_SCHEMAS: ReadonlySet<string> = new Set(['pg_catalog', 'damson']);
/** Functions of the front's bootstrap that the coordinator runs itself. */
const ADMIN_FUNCTIONS: ReadonlySet<string> = new Set([
  'create_distributed_table',
  'create_reference_table',
  'undistribute_table',
  'alter_distributed_table',
  'alter_table_set_access_method',
  'get_shard_id_for_distribution_column',
  'citus_move_shard_placement',
]);
