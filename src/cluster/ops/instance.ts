import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import { readJson, writeFileAtomic } from '../../core/files.js';
import { CLUSTER_FILE } from '../../model/admin.js';
import type { Instance, InstanceIdentity } from '../../model/topology.js';
import type { ClusterDefinition } from '../config/definition.js';
import {
  directoryIsEmpty,
  fileAmong,
  freeBytes,
  portIsFree,
  removeDirectory,
  startDaemon,
  stopDaemon,
  threadsForEach,
} from '../hosts/local.js';
import type { Operation } from '../run/step.js';

/** In every instance's data directory: whose it is. */
export const IDENTITY_FILE = 'instance.json';
/** What an instance takes of its host. */
const SETTINGS_FILE = 'settings.json';
const SPACE_NEEDED = 512 * 1024 * 1024;

/** How an instance is called on the screen. */
export function instanceName(instance: Pick<Instance, 'content' | 'role' | 'dbid'>): string {
  if (instance.content === -1) return instance.role === 'p' ? 'coordinator' : 'standby';
  return `${instance.role === 'p' ? 'primary' : 'mirror'} of segment ${instance.content}`;
}

/** What an instance is told of the cluster that it becomes a part of: the primaries on its host, and where clients connect. */
export function surroundings(instance: Instance, all: Instance[]): Pick<CreateArgs, 'primaries' | 'coordinator'> {
  const beside = all.filter(({ hostname, content, role }) => hostname === instance.hostname && content >= 0 && role === 'p');
  const coordinator = all.find(({ content, role }) => content === -1 && role === 'p');
  return {
    primaries: beside.length,
    ...(coordinator === undefined ? {} : { coordinator: { address: coordinator.address, port: coordinator.port } }),
  };
}

interface CreateArgs extends Record<string, unknown> {
  instance: Instance;
  clusterId: string;
  version: string;
  /** Primaries on its host: a segment takes its part of the host's cores. */
  primaries?: number;
  coordinator?: { address: string; port: number };
  /** Coordinator only: the catalog is made from it at the first start. */
  definition?: ClusterDefinition;
}

/** Everything that would stop these instances from being made, all at once, before anything is changed. */
export async function checkInstances(instances: Instance[]): Promise<void> {
  const problems: string[] = [];
  const seen = new Map<string, number>();
  for (const instance of instances) {
    const { address, port, datadir, dbid } = instance;
    for (const key of [`port ${port} of ${address}`, `directory ${datadir}`]) {
      const other = seen.get(key);
      if (other !== undefined) problems.push(`${key} is named by instances ${other} and ${dbid}`);
      seen.set(key, dbid);
    }
    if (!(await portIsFree(address, port)))
      problems.push(`port ${port} of ${address} is already taken (${instanceName(instance)})`);
    const file = fileAmong(datadir);
    if (file !== null) problems.push(`${file} is a file, not a directory (${instanceName(instance)})`);
    else if (!directoryIsEmpty(datadir)) problems.push(`data directory ${datadir} is not empty (${instanceName(instance)})`);
    else if (freeBytes(datadir) < SPACE_NEEDED)
      problems.push(`less than ${SPACE_NEEDED / 1024 / 1024} MB are free for ${datadir}`);
  }
  if (problems.length > 0) {
    throw new DamsonError(problems.join('; '), {
      hint: 'choose other ports with --base-port and another directory with --directory (or in the input file), or remove what is there; nothing was changed',
    });
  }
}

export const createInstance: Operation<CreateArgs> = {
  describe: ({ instance }) => `Create ${instanceName(instance)} in ${instance.datadir}`,
  isDone: async ({ instance, clusterId }) =>
    readJson<InstanceIdentity>(join(instance.datadir, IDENTITY_FILE))?.clusterId === clusterId,
  apply: async ({ instance, clusterId, version, primaries, coordinator, definition }) => {
    mkdirSync(instance.datadir, { recursive: true, mode: 0o700 });
    if (definition !== undefined) writeFileAtomic(join(instance.datadir, CLUSTER_FILE), JSON.stringify(definition, null, 1));
    const identity: InstanceIdentity = {
      clusterId,
      dbid: instance.dbid,
      content: instance.content,
      hostname: instance.hostname,
      address: instance.address,
      port: instance.port,
      version,
      ...(coordinator === undefined ? {} : { coordinator }),
    };
    if (primaries !== undefined && instance.content >= 0) {
      const settings = { 'damson.segment_threads': String(threadsForEach(primaries)) };
      writeFileAtomic(join(instance.datadir, SETTINGS_FILE), JSON.stringify(settings, null, 1));
    }
    writeFileAtomic(join(instance.datadir, IDENTITY_FILE), JSON.stringify(identity, null, 1));
  },
  undo: async ({ instance, clusterId }) => {
    const identity = readJson<InstanceIdentity>(join(instance.datadir, IDENTITY_FILE));
    // A directory of somebody else is never removed.
    if (
      identity === undefined
        ? directoryIsEmpty(instance.datadir)
        : identity.clusterId === clusterId && identity.dbid === instance.dbid
    ) {
      removeDirectory(instance.datadir);
    }
  },
};

export const startInstance: Operation<{ instance: Instance }> = {
  describe: ({ instance }) => `Start ${instanceName(instance)} on port ${instance.port}`,
  isDone: async () => false,
  apply: async ({ instance }) => {
    if (!existsSync(join(instance.datadir, IDENTITY_FILE))) {
      throw new DamsonError(`${instance.datadir} holds no instance (${instanceName(instance)})`, {
        hint: 'the directory was removed or its disk is not mounted; bring it back, or make it anew from its other member: damson recover -F',
      });
    }
    await startDaemon(instance.datadir);
  },
  undo: async ({ instance }) => {
    await stopDaemon(instance.datadir, 'immediate');
  },
};

export const stopInstance: Operation<{ instance: Instance; mode: 'smart' | 'fast' | 'immediate' }> = {
  describe: ({ instance }) => `Stop ${instanceName(instance)} on port ${instance.port}`,
  isDone: async () => false,
  apply: async ({ instance, mode }) => {
    await stopDaemon(instance.datadir, mode);
  },
};
