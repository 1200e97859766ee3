/** The relations that a query's tree reads, in all of its levels. */
import type { TableDef } from '../../model/table.js';
import { kids, num, visit } from '../dialect/node.js';
import { RTE } from '../dialect/query.js';
import type { TreeNode } from '../front/tree.js';
import type { PlannerCatalog } from './types.js';

/** One reading of a user table: an entry of some range table. */
export interface Leaf {
  /** `<query>.<rtindex>` */
  id: string;
  query: TreeNode;
  rtindex: number;
  rte: TreeNode;
  table: TableDef;
}

export interface Relations {
  root: TreeNode;
  /** A number for each QUERY, so that columns of different levels can be told apart. */
  queryIds: Map<TreeNode, number>;
  leaves: Leaf[];
  byId: Map<string, Leaf>;
  /** Relations that are no user tables (catalogs of PostgreSQL, mostly). */
  others: boolean;
}

export function leafId(relations: Pick<Relations, 'queryIds'>, query: TreeNode, rtindex: number): string {
  return `${relations.queryIds.get(query) ?? -1}.${rtindex}`;
}

export function relationsOf(root: TreeNode, catalog: PlannerCatalog): Relations {
  const relations: Relations = { root, queryIds: new Map(), leaves: [], byId: new Map(), others: false };
  visit(root, (node) => {
    if (node.node !== 'QUERY') return undefined;
    relations.queryIds.set(node, relations.queryIds.size);
    kids(node, 'rtable').forEach((rte, i) => {
      if (num(rte, 'rtekind') !== RTE.relation) return;
      const table = catalog.tableByOid(num(rte, 'relid'));
      if (table === undefined) {
        relations.others = true;
        return;
      }
      const leaf: Leaf = { id: leafId(relations, node, i + 1), query: node, rtindex: i + 1, rte, table };
      relations.leaves.push(leaf);
      relations.byId.set(leaf.id, leaf);
    });
    return undefined;
  });
  return relations;
}

export function isDistributed(table: TableDef): boolean {
  return table.distribution.kind === 'distributed' || table.distribution.kind === 'random';
}
