/** The first start of a cluster: its definition becomes rows of the catalog. */
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import { readJson } from '../../core/files.js';
import { CLUSTER_FILE, type ClusterDefinition } from '../../model/admin.js';
import type { CatalogOp } from '../../model/catalog.js';
import { COORDINATOR_CONTENT, type Instance, type Pair } from '../../model/topology.js';
import type { CatalogView } from '../catalog/types.js';

export const SettingName = {
  clusterId: 'damson.cluster_id',
  admin: 'damson.admin',
  database: 'damson.database',
  trust: 'damson.trust_loopback',
} as const;

/** Nothing where the catalog has instances already. */
export function bootstrapOps(view: CatalogView, datadir: string): CatalogOp[] {
  if (view.instances().length > 0) return [];
  const definition = readJson<ClusterDefinition>(join(datadir, CLUSTER_FILE));
  if (definition === undefined) {
    throw new DamsonError(`${datadir} has no ${CLUSTER_FILE}: it is not the directory of a new cluster`, {
      hint: 'Make a cluster with damson init or damson demo.',
    });
  }
  return definitionOps(definition);
}

/** Pure: rows of a new cluster. */
export function definitionOps(definition: ClusterDefinition): CatalogOp[] {
  const { instances } = definition;
  const settings: Record<string, string> = {
    ...definition.settings,
    [SettingName.clusterId]: definition.clusterId,
    [SettingName.admin]: definition.admin ?? 'postgres',
    [SettingName.database]: definition.database ?? 'postgres',
    [SettingName.trust]: definition.demo === true ? 'on' : 'off',
  };
  const contents = [...new Set(instances.map((instance) => instance.content))].sort((a, b) => a - b);
  const nextDbid = Math.max(...instances.map((instance) => instance.dbid)) + 1;
  return [
    ...instances.map((row): CatalogOp => ({ kind: 'instance', key: String(row.dbid), row })),
    ...contents.map((content): CatalogOp => ({ kind: 'pair', key: String(content), row: pairOf(content, instances) })),
    ...contents.map((content): CatalogOp => ({ kind: 'node', key: String(content), row: { content } })),
    ...Object.entries(settings).map(([name, value]): CatalogOp => ({ kind: 'setting', key: name, row: { name, value } })),
    { kind: 'counter', key: 'nextDbid', row: { name: 'nextDbid', value: nextDbid } },
  ];
}

/** Both logs of a new pair are empty, so its mirror is in sync. */
function pairOf(content: number, instances: Instance[]): Pair {
  const members = instances.filter((instance) => instance.content === content);
  const primary = members.find((instance) => instance.role === 'p');
  const mirror = members.find((instance) => instance.role === 'm');
  if (primary === undefined) throw new DamsonError(`${CLUSTER_FILE} has no primary for content ${content}`);
  const mirrored = mirror !== undefined && content !== COORDINATOR_CONTENT;
  return {
    content,
    timeline: 1,
    state: mirrored ? 'IN_SYNC' : 'ALONE',
    primaryDbid: primary.dbid,
    mirrorDbid: mirror?.dbid ?? null,
    down: false,
  };
}
