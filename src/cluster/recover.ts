import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { AdminMethods, AdminProgress } from '../model/admin.js';
import type { Instance } from '../model/topology.js';
import { readDefinition } from './config/definition.js';
import { withCoordinator } from './engine/port.js';
import { daemonPid } from './hosts/local.js';
import { IDENTITY_FILE } from './ops/instance.js';
import { OPERATIONS } from './plan/create.js';
import { journalPath, runPlan } from './run/run.js';
import type { RunListener, Step } from './run/step.js';

/**
 * Brings instances that are down back: their daemons are started here, what they lack they get from their primaries. With
 * `full`, one whose directory is gone is made anew.
 */
export async function recoverInstances(
  coordinatorDir: string,
  down: Instance[],
  options: { full: boolean; version: string; tell: (progress: AdminProgress) => string },
  listener: RunListener,
): Promise<AdminMethods['admin.recover']['out']> {
  const { clusterId } = readDefinition(coordinatorDir);
  const gone = down.filter(({ datadir }) => options.full && !existsSync(join(datadir, IDENTITY_FILE)));
  const asleep = down.filter(({ datadir }) => daemonPid(datadir) === null);
  const steps = [
    ...gone.map((instance): Step => {
      return { kind: 'createInstance', group: 'create', args: { instance, clusterId, version: options.version } };
    }),
    ...asleep.map((instance): Step => ({ kind: 'startInstance', group: 'start', args: { instance } })),
  ];
  await runPlan({ command: 'recover', steps }, OPERATIONS, listener, {
    journalPath: journalPath(coordinatorDir, 'recover'),
    keep: true,
  });
  return await listener.task('Recover', (note) =>
    withCoordinator(coordinatorDir, (coordinator) =>
      coordinator.follow('admin.recover', { full: options.full }, (progress) => note(options.tell(progress))),
    ),
  );
}
