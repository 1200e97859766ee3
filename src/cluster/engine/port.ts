import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import { readJson } from '../../core/files.js';
import type { AdminMethods, AdminProgress } from '../../model/admin.js';
import type { Instance } from '../../model/topology.js';
import { connectRpc } from '../../rpc/client.js';
import { socketPath } from '../../rpc/sockets.js';
import type { RpcClient } from '../../rpc/types.js';
import { readDefinition } from '../config/definition.js';
import { daemonPid } from '../hosts/local.js';

/** Every instance of the cluster as the coordinator last knew them; kept by it beside its catalog, for when it is down. */
const INSTANCES_FILE = 'gpsegconfig_dump';

/** Administration's one way to the engine: the coordinator's calls. */
export interface Coordinator {
  call<M extends keyof AdminMethods>(method: M, input: AdminMethods[M]['in']): Promise<AdminMethods[M]['out']>;
  /** A call that tells its progress. `signal` asks the coordinator to stop. */
  follow<M extends keyof AdminMethods>(
    method: M,
    input: AdminMethods[M]['in'],
    onProgress: (progress: AdminProgress) => void,
    signal?: AbortSignal,
  ): Promise<AdminMethods[M]['out']>;
  close(): void;
}

export function coordinatorRuns(coordinatorDir: string): boolean {
  return daemonPid(coordinatorDir) !== null;
}

/** Connects to the running coordinator. */
export async function connectCoordinator(coordinatorDir: string): Promise<Coordinator> {
  if (!coordinatorRuns(coordinatorDir)) {
    throw new DamsonError(`the coordinator of ${coordinatorDir} does not run`, {
      hint: `start the cluster: damson start -d ${coordinatorDir}`,
    });
  }
  let client: RpcClient;
  try {
    client = await connectRpc(socketPath(coordinatorDir), { timeoutMs: 10_000, name: 'damson' });
  } catch (cause) {
    throw new DamsonError(`the coordinator of ${coordinatorDir} does not answer`, {
      hint: `look into ${join(coordinatorDir, 'log', 'damsond.log')}; damson stop -M immediate and damson start bring it back`,
      cause,
    });
  }
  return {
    call: (method, input) => client.call(method, input),
    follow: async (method, input, onProgress, signal) => {
      const call = client.open(method, input);
      const stop = () => call.cancel();
      signal?.addEventListener('abort', stop, { once: true });
      call.end();
      call.result.catch(() => undefined);
      try {
        for await (const part of call.parts) onProgress(part as AdminProgress);
        return (await call.result) as never;
      } finally {
        signal?.removeEventListener('abort', stop);
      }
    },
    close: () => client.close(),
  };
}

/** Opens the connection for one piece of work. */
export async function withCoordinator<T>(coordinatorDir: string, work: (coordinator: Coordinator) => Promise<T>): Promise<T> {
  const coordinator = await connectCoordinator(coordinatorDir);
  try {
    return await work(coordinator);
  } finally {
    coordinator.close();
  }
}

/** All instances: from the coordinator where it runs, else from what it last wrote, else as the cluster was created. */
export async function knownInstances(coordinatorDir: string): Promise<Instance[]> {
  if (coordinatorRuns(coordinatorDir)) {
    return withCoordinator(
      coordinatorDir,
      async (coordinator) => (await coordinator.call('admin.status', { quick: true })).instances,
    );
  }
  return recordedInstances(coordinatorDir);
}

/** All instances without asking the coordinator: as it last wrote them. */
export function recordedInstances(coordinatorDir: string): Instance[] {
  return readJson<Instance[]>(join(coordinatorDir, INSTANCES_FILE)) ?? readDefinition(coordinatorDir).instances;
}
