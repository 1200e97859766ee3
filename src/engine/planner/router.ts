/** First tier: everything that the query reads lies in one place, so that one instance answers it. */
import { decline } from '../dialect/decline.js';
import { commonKeys, named, type SelectContext } from './context.js';
import { forBestEngine } from './fragment.js';
import { isDistributed } from './relations.js';
import type { ReadPlan, Where } from './types.js';

export function routerPlan(context: SelectContext): ReadPlan {
  const where = oneplace(context);
  const { query, catalog, relations, output, declined } = context;
  const fragment = forBestEngine(relations.leaves, catalog, ({ writer }) => {
    const written = writer.final(query);
    return { sql: written.sql, output: named(written.output, output) };
  });
  return {
    kind: 'read',
    tier: 'router',
    inputs: [{ name: 'in0', fragment, where }],
    finish: null,
    declined,
    output: fragment.output,
  };
}

function oneplace(context: SelectContext): Where {
  const { relations } = context;
  if (relations.others) return decline('a catalog relation');
  const distributed = relations.leaves.filter((leaf) => isDistributed(leaf.table));
  if (distributed.length === 0) return { kind: 'coordinator' };
  if (relations.leaves.some((leaf) => leaf.table.distribution.kind === 'local'))
    return decline('a local table beside a distributed one');
  const groups = new Set(
    distributed.map(({ table }) => ('colocationId' in table.distribution ? table.distribution.colocationId : -1)),
  );
  if (groups.size !== 1) return decline('tables of several colocation groups');
  const keys = commonKeys(
    context,
    distributed.map((leaf) => leaf.id),
  );
  if (keys === null) return decline('the distribution column is not fixed for every distributed table');
  if (keys.length !== 1) return decline('several values of the distribution column');
  return { kind: 'colocated', colocationId: [...groups][0] as number, keys };
}
