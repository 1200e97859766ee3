import { systemClock } from '../core/clock.js';
import type { Instance } from '../model/topology.js';
import { coordinatorRuns, knownInstances, recordedInstances, withCoordinator } from './engine/port.js';
import { OPERATIONS, stopPlan } from './plan/create.js';
import { journalPath, runPlan } from './run/run.js';
import type { RunListener } from './run/step.js';

const SMART_POLL_MS = 300;

/** Ends all daemons of the cluster: sessions by the mode first, then coordinator, primaries, mirrors. Returns the instances. */
export async function stopCluster(
  coordinatorDir: string,
  mode: 'smart' | 'fast' | 'immediate',
  listener: RunListener,
): Promise<Instance[]> {
  // One that hangs is not asked.
  const instances = mode === 'immediate' ? recordedInstances(coordinatorDir) : await knownInstances(coordinatorDir);
  if (mode !== 'immediate' && coordinatorRuns(coordinatorDir)) {
    await listener.task(`End sessions (${mode})`, async (note) => {
      await withCoordinator(coordinatorDir, (coordinator) => coordinator.call('admin.stop', { mode }));
      if (mode === 'smart') await sessionsEnd(coordinatorDir, note);
    });
  }
  await runPlan(stopPlan(instances, mode), OPERATIONS, listener, {
    journalPath: journalPath(coordinatorDir, 'stop'),
    keep: true,
  });
  return instances;
}

/** As long as sessions last: whoever does not want to wait ends them with mode fast. */
async function sessionsEnd(coordinatorDir: string, note: (text: string) => void): Promise<void> {
  let told = 0;
  while (coordinatorRuns(coordinatorDir)) {
    const sessions = await withCoordinator(coordinatorDir, (coordinator) =>
      coordinator.call('admin.status', { quick: true }),
    ).then(
      (status) => status.coordinator.sessions,
      () => 0, // It ended between the two.
    );
    if (sessions !== told && sessions > 0) note(`waiting for ${sessions} to end; damson stop -M fast ends them`);
    told = sessions;
    await systemClock.sleep(SMART_POLL_MS);
  }
}
