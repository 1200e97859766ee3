/** SELECT: the ladder of tiers. Each takes the query or declines with a reason; the last one takes everything that PostgreSQL can do. */
import { notSupported } from '../../core/errors.js';
import { attempt, Decline } from '../dialect/decline.js';
import { flag, kids, num, visit } from '../dialect/node.js';
import { FIRST_NORMAL_OID, refusedFunction } from '../dialect/signatures.js';
import type { TreeNode } from '../front/tree.js';
import type { SelectContext } from './context.js';
import { fallbackPlan, gatherPlan } from './gather.js';
import { pushdownPlan } from './pushdown.js';
import { routerPlan } from './router.js';
import type { ReadPlan } from './types.js';
import { usedColumns } from './used-columns.js';

const TIERS: { name: string; plan: (context: SelectContext) => ReadPlan }[] = [
  { name: 'router', plan: routerPlan },
  { name: 'pushdown', plan: pushdownPlan },
  { name: 'gather', plan: gatherPlan },
];

export function selectPlan(context: SelectContext): ReadPlan {
  usedColumns(context.relations);
  for (const { name, plan } of TIERS) {
    const planned = attempt(() => plan(context));
    if (!(planned instanceof Decline)) return planned;
    context.declined.push({ tier: name, reason: planned.reason });
  }
  return fallbackPlan(context);
}

/** What no tier may answer, because the fallback's answer would be another one than the cluster's. */
export function refuseSelect(query: TreeNode, volatility: (oid: number) => 'i' | 's' | 'v' | undefined): void {
  visit(query, (node) => {
    if (node.node === 'QUERY' && kids(node, 'rowMarks').length > 0) {
      throw notSupported(
        'SELECT … FOR UPDATE and FOR SHARE are not supported yet',
        'Leave the clause out; UPDATE and DELETE take their own locks.',
      );
    }
    if (node.node === 'QUERY' && flag(node, 'hasModifyingCTE')) {
      throw notSupported('INSERT, UPDATE and DELETE in WITH are not supported yet', 'Write them as statements of their own.');
    }
    if (node.node === 'FUNCEXPR') refuseFunction(num(node, 'funcid'), volatility);
    if (node.node === 'NEXTVALUEEXPR') refuseFunction(NEXTVAL, volatility);
    return undefined;
  });
}

const NEXTVAL = 1574;

function refuseFunction(oid: number, volatility: (oid: number) => 'i' | 's' | 'v' | undefined): void {
  const name = refusedFunction(oid);
  if (name !== undefined) {
    throw notSupported(`${name}() is not supported in a query over tables`, 'Call it in a SELECT of its own, without tables.');
  }
  if (oid >= FIRST_NORMAL_OID && volatility(oid) !== 'i') {
    throw notSupported(
      'functions that are not IMMUTABLE are not supported in a query over tables',
      'Such a function could read tables, and would see none of their rows. Declare it IMMUTABLE if it reads none.',
    );
  }
}
