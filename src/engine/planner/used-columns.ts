/** The columns of each table that a query reads anywhere, and system columns, which no tier can give. */
import { notSupported } from '../../core/errors.js';
import { kids, num } from '../dialect/node.js';
import { RTE } from '../dialect/query.js';
import type { TreeNode, TreeValue } from '../front/tree.js';
import type { Levels } from './facts.js';
import { leafId, type Relations } from './relations.js';

/**
 * @returns attnums by table id; a whole row stands for all columns.
 * @throws SqlError 0A000 for ctid, xmin, tableoid and their kin of a user table.
 */
export function usedColumns(relations: Relations): Map<number, Set<number>> {
  const used = new Map<number, Set<number>>();
  for (const { table } of relations.leaves) used.set(table.tableId, used.get(table.tableId) ?? new Set());
  const see = (node: TreeNode, levels: Levels): void => {
    const query = levels[levels.length - 1 - num(node, 'varlevelsup')];
    const rte = query === undefined ? undefined : kids(query, 'rtable')[num(node, 'varno') - 1];
    if (query === undefined || rte === undefined) return;
    const attno = num(node, 'varattno');
    if (num(rte, 'rtekind') === RTE.join) {
      const inner = levels.slice(0, levels.indexOf(query) + 1);
      const aliased = attno === 0 ? kids(rte, 'joinaliasvars') : kids(rte, 'joinaliasvars').slice(attno - 1, attno);
      for (const one of aliased) walk(one, inner);
      return;
    }
    const leaf = relations.byId.get(leafId(relations, query, num(node, 'varno')));
    if (leaf === undefined) return;
    if (attno < 0) {
      throw notSupported(
        `system columns of table "${leaf.table.name}" are not supported`,
        'Rows of a cluster have no ctid, xmin or tableoid; use a key.',
      );
    }
    const columns = used.get(leaf.table.tableId) as Set<number>;
    if (attno === 0) for (const column of leaf.table.columns) columns.add(column.attnum);
    else columns.add(attno);
  };
  const walk = (value: TreeValue | undefined, levels: Levels): void => {
    if (typeof value !== 'object' || value === null) return;
    if (Array.isArray(value)) {
      for (const one of value) walk(one, levels);
      return;
    }
    if (!('node' in value)) return;
    const node = value as TreeNode;
    if (node.node === 'VAR') {
      see(node, levels);
      return;
    }
    const inside = node.node === 'QUERY' ? [...levels, node] : levels;
    for (const [field, child] of Object.entries(node)) {
      // Lists every column of both sides, read or not.
      if (field === 'joinaliasvars') continue;
      walk(child, inside);
    }
  };
  walk(relations.root, []);
  return used;
}
