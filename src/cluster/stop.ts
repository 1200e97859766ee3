import type { Instance } from '../model/topology.js';
import { coordinatorRuns, knownInstances, withCoordinator } from './engine/port.js';
import { OPERATIONS, stopPlan } from './plan/create.js';
import { journalPath, runPlan } from './run/run.js';
import type { RunListener } from './run/step.js';

/** Ends all daemons of the cluster: sessions by the mode first, then coordinator, primaries, mirrors. Returns the instances. */
export async function stopCluster(
  coordinatorDir: string,
  mode: 'smart' | 'fast' | 'immediate',
  listener: RunListener,
): Promise<Instance[]> {
  const instances = await knownInstances(coordinatorDir);
  if (mode !== 'immediate' && coordinatorRuns(coordinatorDir)) {
    await listener.task(`End sessions (${mode})`, () =>
      withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.stop', { mode })),
    );
  }
  await runPlan(stopPlan(instances, mode), OPERATIONS, listener, {
    journalPath: journalPath(coordinatorDir, 'stop'),
    keep: true,
  });
  return instances;
}
