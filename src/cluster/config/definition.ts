import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { DamsonError } from '../../core/errors.js';
import { readJson } from '../../core/files.js';
import { CLUSTER_FILE } from '../../model/admin.js';
import type { Instance } from '../../model/topology.js';

const instanceSchema = z.object({
  dbid: z.number().int().positive(),
  content: z.number().int().min(-1),
  role: z.enum(['p', 'm']),
  preferred_role: z.enum(['p', 'm']),
  mode: z.enum(['s', 'n']),
  status: z.enum(['u', 'd']),
  hostname: z.string().min(1),
  address: z.string().min(1),
  port: z.number().int().min(1).max(65535),
  datadir: z.string().startsWith('/'),
});

const definitionSchema = z.object({
  clusterId: z.string().min(1),
  name: z.string().min(1),
  demo: z.boolean(),
  admin: z.string().min(1),
  database: z.string().min(1),
  instances: z.array(instanceSchema).min(1),
  settings: z.record(z.string(), z.string()),
});

/** What a cluster is made of when it is created. */
export type ClusterDefinition = z.infer<typeof definitionSchema>;

export function readDefinition(coordinatorDir: string): ClusterDefinition {
  const path = join(coordinatorDir, CLUSTER_FILE);
  const parsed = definitionSchema.safeParse(readJson(path));
  if (!parsed.success) {
    throw new DamsonError(`${path} does not describe a cluster: ${z.prettifyError(parsed.error)}`, {
      hint: 'this file is written when a cluster is created and must not be edited; restore it from a backup',
    });
  }
  return parsed.data;
}

/** Options of a cluster on one machine. Directories and ports follow Greenplum's demo cluster. */
export interface DemoOptions {
  directory: string;
  primaries: number;
  mirrors: boolean;
  basePort: number;
  admin: string;
}

/** The topology of `damson demo`: a pure function of its options, but for the cluster's id, which is given. */
export function demoDefinition(options: DemoOptions, clusterId: string): ClusterDefinition {
  const root = resolve(options.directory);
  const here = hostname();
  const instance = (dbid: number, content: number, role: 'p' | 'm', port: number, folder: string): Instance => ({
    dbid,
    content,
    role,
    preferred_role: role,
    mode: content === -1 || !options.mirrors ? 'n' : 's',
    status: 'u',
    hostname: here,
    address: '127.0.0.1',
    port,
    datadir: join(root, folder),
  });
  const instances = [instance(1, -1, 'p', options.basePort, 'coordinator')];
  // The port after the coordinator's is left for its standby.
  for (let content = 0; content < options.primaries; content++) {
    instances.push(instance(2 + content, content, 'p', options.basePort + 2 + content, `primary${content}`));
  }
  for (let content = 0; options.mirrors && content < options.primaries; content++) {
    const dbid = 2 + options.primaries + content;
    instances.push(instance(dbid, content, 'm', options.basePort + 2 + options.primaries + content, `mirror${content}`));
  }
  return { clusterId, name: 'demo', demo: true, admin: options.admin, database: 'postgres', instances, settings: {} };
}

/**
 * Finds the coordinator's data directory: the given one, the environment's, or `./damson-demo`.
 * A directory that `damson demo` made stands for the coordinator's in it.
 */
export function findCoordinatorDir(given: string | undefined, environment: NodeJS.ProcessEnv, cwd: string): string {
  const candidate = given ?? environment.COORDINATOR_DATA_DIRECTORY ?? join(cwd, 'damson-demo');
  const source =
    given !== undefined ? '--coordinator-dir' : environment.COORDINATOR_DATA_DIRECTORY ? 'COORDINATOR_DATA_DIRECTORY' : null;
  for (const directory of [resolve(cwd, candidate), resolve(cwd, candidate, 'coordinator')]) {
    if (existsSync(join(directory, CLUSTER_FILE))) return directory;
  }
  if (source === null) {
    throw new DamsonError('no cluster was named, and there is none in ./damson-demo', {
      hint: "name the coordinator's data directory with -d DIR or COORDINATOR_DATA_DIRECTORY, or make a cluster with damson demo",
    });
  }
  throw new DamsonError(`${resolve(cwd, candidate)} (from ${source}) holds no cluster`, {
    hint: `give the coordinator's data directory (the one with ${CLUSTER_FILE}), or the directory that damson demo made`,
  });
}
