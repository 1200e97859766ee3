import { DamsonError } from '../core/errors.js';
import type { AdminProgress, ClusterStatus, ExpansionReport } from '../model/admin.js';
import type { Instance } from '../model/topology.js';
import { readDefinition } from './config/definition.js';
import { withCoordinator } from './engine/port.js';
import { removeDirectory, stopDaemon } from './hosts/local.js';
import { checkInstances, createInstance, startInstance, surroundings } from './ops/instance.js';
import { dropJournal, interruptedPlan, journalPath, rollBackInterrupted, runPlan } from './run/run.js';
import type { Operation, Operations, Plan, RunListener, Step } from './run/step.js';

/** The coordinator registers the new segments, copies reference tables to them and fills the queue. Undone by its own rollback, before their daemons go. */
const registerInstances: Operation<{ coordinatorDir: string; instances: Instance[] }> = {
  describe: ({ instances }) =>
    `Register ${instances.filter(({ role }) => role === 'p').length} new segments and give them the reference tables`,
  isDone: async () => false,
  apply: async ({ coordinatorDir, instances }, report) => {
    await withCoordinator(coordinatorDir, (coordinator) =>
      coordinator.follow('admin.expandAdd', { instances }, (progress: AdminProgress) => report(progress.message)),
    );
  },
  undo: async ({ coordinatorDir, instances }) => {
    await withCoordinator(coordinatorDir, async (coordinator) => {
      const known = (await coordinator.call('admin.status', { quick: true })).instances;
      if (registered(instances, known)) await coordinator.call('admin.expandRollback', {});
    });
  },
};

/** Whether the cluster counts any of them among its instances. */
function registered(instances: Instance[], known: Instance[]): boolean {
  return instances.some(({ dbid, datadir }) => known.some((other) => other.dbid === dbid && other.datadir === datadir));
}

const JOURNAL = 'expand-add';

const EXPAND_OPERATIONS: Operations = { createInstance, startInstance, registerInstances };

export function expandPlan(
  coordinatorDir: string,
  instances: Instance[],
  existing: Instance[],
  clusterId: string,
  version: string,
): Plan {
  const all = [...existing, ...instances];
  return {
    command: 'expand add',
    steps: [
      ...instances.map((instance): Step => {
        const args = { instance, clusterId, version, ...surroundings(instance, all) };
        return { kind: 'createInstance', group: 'create', args };
      }),
      ...instances.map((instance): Step => ({ kind: 'startInstance', group: 'start', args: { instance } })),
      { kind: 'registerInstances', args: { coordinatorDir, instances } },
    ],
  };
}

/**
 * Makes and starts the daemons of new segments and registers them; a failure rolls all back.
 * @param read gives the new instances, checked against those that the cluster has.
 */
export async function expandAdd(
  coordinatorDir: string,
  read: (existing: Instance[]) => Instance[],
  version: string,
  listener: RunListener,
): Promise<ExpansionReport> {
  const journal = journalPath(coordinatorDir, JOURNAL);
  await clearJournal(journal, await quietStatus(coordinatorDir), listener);
  const before = await quietStatus(coordinatorDir);
  const { expansion } = before.expansion;
  if (expansion !== null && expansion.status !== 'EXPANSION COMPLETE') {
    throw new DamsonError(`an expansion is under way (${expansion.status})`, {
      hint: 'go on with damson expand run and damson expand finish, or take it back with damson expand rollback',
    });
  }
  const instances = read(before.instances);
  await checkInstances(instances);
  const { clusterId } = readDefinition(coordinatorDir);
  await runPlan(expandPlan(coordinatorDir, instances, before.instances, clusterId, version), EXPAND_OPERATIONS, listener, {
    journalPath: journal,
  });
  return withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.expandStatus', {}));
}

/** The cluster's state, as long as no other operation works on it. */
async function quietStatus(coordinatorDir: string): Promise<ClusterStatus> {
  const status = await withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.status', { quick: true }));
  if (status.operation !== null) {
    throw new DamsonError(`another operation is running: ${status.operation}`, {
      hint: 'wait until it has ended; damson state shows it',
    });
  }
  return status;
}

/** A run that was killed is taken back, unless the coordinator brought it to its end: then its journal says nothing any more. */
async function clearJournal(journal: string, before: ClusterStatus, listener: RunListener): Promise<void> {
  const plan = interruptedPlan(journal);
  if (plan === undefined) return;
  const instances = plan.steps.flatMap(({ args }) => (args.instance === undefined ? [] : [args.instance as Instance]));
  const isSetUp = before.expansion.expansion?.status !== 'SETUP' && registered(instances, before.instances);
  if (isSetUp) dropJournal(journal);
  else await listener.task('Roll back a run that was interrupted', () => rollBackInterrupted(journal, EXPAND_OPERATIONS));
}

/** Takes back an expansion of which nothing has moved: the coordinator forgets the segments, then their daemons and directories go. */
export async function expandRollback(coordinatorDir: string, listener: RunListener): Promise<Instance[]> {
  const { removed } = await listener.task('Unregister the new segments', () =>
    withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.expandRollback', {})),
  );
  dropJournal(journalPath(coordinatorDir, JOURNAL));
  for (const { datadir } of removed) {
    await listener.task(`Stop and remove ${datadir}`, async () => {
      await stopDaemon(datadir, 'immediate');
      removeDirectory(datadir);
    });
  }
  return removed;
}
