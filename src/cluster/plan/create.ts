import type { ClusterDefinition } from '../config/definition.js';
import { createInstance, startInstance, stopInstance, surroundings } from '../ops/instance.js';
import { waitReady } from '../ops/ready.js';
import type { Operations, Plan, Step } from '../run/step.js';

/** All kinds of steps of the plans here. */
export const OPERATIONS: Operations = { createInstance, startInstance, stopInstance, waitReady };

/** A new cluster: directories, daemons all at once, then the coordinator accepts connections. */
export function createPlan(definition: ClusterDefinition, version: string): Plan {
  const { clusterId, instances } = definition;
  const create = instances.map((instance): Step => {
    const args = { instance, clusterId, version, ...surroundings(instance, instances) };
    return { kind: 'createInstance', group: 'create', args: instance.content === -1 ? { ...args, definition } : args };
  });
  const start = instances.map((instance): Step => ({ kind: 'startInstance', group: 'start', args: { instance } }));
  const coordinator = instances.find((instance) => instance.content === -1 && instance.role === 'p');
  return {
    command: 'create',
    steps: [...create, ...start, { kind: 'waitReady', args: { coordinatorDir: coordinator?.datadir } }],
  };
}

/** Start what does not run: every daemon at once; they find each other. */
export function startPlan(
  instances: ClusterDefinition['instances'],
  coordinatorDir: string,
  options: { coordinatorOnly: boolean },
): Plan {
  const wanted = instances.filter((instance) => !options.coordinatorOnly || instance.content === -1);
  const start = wanted.map((instance): Step => ({ kind: 'startInstance', group: 'start', args: { instance } }));
  return {
    command: 'start',
    steps: [...start, { kind: 'waitReady', args: { coordinatorDir, coordinatorOnly: options.coordinatorOnly } }],
  };
}

/** The coordinator first, so that no client sees segments go; then primaries, so that mirrors have all; then mirrors. */
export function stopPlan(instances: ClusterDefinition['instances'], mode: 'smart' | 'fast' | 'immediate'): Plan {
  const stop = (group: string, chosen: ClusterDefinition['instances']) =>
    chosen.map((instance): Step => ({ kind: 'stopInstance', group, args: { instance, mode } }));
  return {
    command: 'stop',
    steps: [
      ...stop(
        'coordinator',
        instances.filter((instance) => instance.content === -1),
      ),
      ...stop(
        'primaries',
        instances.filter((instance) => instance.content >= 0 && instance.role === 'p'),
      ),
      ...stop(
        'mirrors',
        instances.filter((instance) => instance.content >= 0 && instance.role === 'm'),
      ),
    ],
  };
}
