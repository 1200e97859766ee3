import { join } from 'node:path';
import { DamsonError } from '../core/errors.js';
import type { AdminProgress, ExpansionReport } from '../model/admin.js';
import type { Instance } from '../model/topology.js';
import { readDefinition } from './config/definition.js';
import { withCoordinator } from './engine/port.js';
import { removeDirectory, stopDaemon } from './hosts/local.js';
import { checkInstances, createInstance, startInstance } from './ops/instance.js';
import { hasJournal, journalPath, rollBackInterrupted, runPlan } from './run/run.js';
import type { Operation, Operations, Plan, RunListener, Step } from './run/step.js';

/** The coordinator registers the new segments, copies reference tables to them and fills the queue. Never undone here: it rolls back itself. */
const registerInstances: Operation<{ coordinatorDir: string; instances: Instance[] }> = {
  describe: ({ instances }) =>
    `Register ${instances.filter(({ role }) => role === 'p').length} new segments and give them the reference tables`,
  isDone: async () => false,
  apply: async ({ coordinatorDir, instances }, report) => {
    await withCoordinator(coordinatorDir, (coordinator) =>
      coordinator.follow('admin.expandAdd', { instances }, (progress: AdminProgress) => report(progress.message)),
    );
  },
};

const EXPAND_OPERATIONS: Operations = { createInstance, startInstance, registerInstances };

export function expandPlan(coordinatorDir: string, instances: Instance[], clusterId: string, version: string): Plan {
  return {
    command: 'expand add',
    steps: [
      ...instances.map((instance): Step => ({ kind: 'createInstance', group: 'create', args: { instance, clusterId, version } })),
      ...instances.map((instance): Step => ({ kind: 'startInstance', group: 'start', args: { instance } })),
      { kind: 'registerInstances', args: { coordinatorDir, instances } },
    ],
  };
}

/** Makes and starts the daemons of new segments and registers them; a failure rolls all back. */
export async function expandAdd(
  coordinatorDir: string,
  instances: Instance[],
  version: string,
  listener: RunListener,
): Promise<ExpansionReport> {
  const before = await withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.status', { quick: true }));
  if (before.operation !== null) {
    throw new DamsonError(`another operation is running: ${before.operation}`, {
      hint: 'wait until it has ended; damson state shows it',
    });
  }
  const { expansion } = before.expansion;
  if (expansion !== null && expansion.status !== 'EXPANSION COMPLETE') {
    throw new DamsonError(`an expansion is under way (${expansion.status})`, {
      hint: 'go on with damson expand run and damson expand finish, or take it back with damson expand rollback',
    });
  }
  const journal = journalPath(join(coordinatorDir), 'expand-add');
  if (hasJournal(journal)) {
    await listener.task('Roll back a run that was interrupted', () => rollBackInterrupted(journal, EXPAND_OPERATIONS));
  }
  await checkInstances(instances);
  const { clusterId } = readDefinition(coordinatorDir);
  await runPlan(expandPlan(coordinatorDir, instances, clusterId, version), EXPAND_OPERATIONS, listener, { journalPath: journal });
  return withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.expandStatus', {}));
}

/** Takes back an expansion of which nothing has moved: the coordinator forgets the segments, then their daemons and directories go. */
export async function expandRollback(coordinatorDir: string, listener: RunListener): Promise<Instance[]> {
  const { removed } = await listener.task('Unregister the new segments', () =>
    withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.expandRollback', {})),
  );
  for (const { datadir } of removed) {
    await listener.task(`Stop and remove ${datadir}`, async () => {
      await stopDaemon(datadir, 'immediate');
      removeDirectory(datadir);
    });
  }
  return removed;
}
