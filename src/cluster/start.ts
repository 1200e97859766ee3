import type { Instance } from '../model/topology.js';
import { knownInstances, withCoordinator } from './engine/port.js';
import { daemonPid } from './hosts/local.js';
import { OPERATIONS, startPlan } from './plan/create.js';
import { journalPath, runPlan } from './run/run.js';
import type { RunListener } from './run/step.js';
import { type Finding, findProblems } from './state/findings.js';

export interface Started {
  started: Instance[];
  /** Ran before. */
  running: Instance[];
  /** What did not start, and what is not right now. */
  failed: string[];
  problems: Finding[];
}

/**
 * Starts every daemon that does not run and waits until the cluster takes statements. A cluster starts with what is left of it,
 * as long as its coordinator does.
 */
export async function startCluster(
  coordinatorDir: string,
  options: { coordinatorOnly: boolean },
  listener: RunListener,
): Promise<Started> {
  const instances = await knownInstances(coordinatorDir);
  const wanted = instances.filter(({ content }) => !options.coordinatorOnly || content === -1);
  const running = wanted.filter(({ datadir }) => daemonPid(datadir) !== null);
  const failed: string[] = [];
  const asleep = instances.filter((instance) => !running.includes(instance));
  const plan = startPlan(asleep, coordinatorDir, options);
  const journal = { journalPath: journalPath(coordinatorDir, 'start'), keep: true };
  const isWait = ({ kind }: { kind: string }) => kind === 'waitReady';
  for (const part of [plan.steps.filter((step) => !isWait(step)), plan.steps.filter(isWait)]) {
    try {
      await runPlan({ command: plan.command, steps: part }, OPERATIONS, listener, journal);
    } catch (error) {
      if (daemonPid(coordinatorDir) === null) throw error;
      failed.push(error instanceof Error ? error.message : String(error));
    }
  }
  const problems = await withCoordinator(coordinatorDir, async (coordinator) =>
    findProblems(await coordinator.call('admin.status', {})),
  );
  const started = wanted.filter((instance) => !running.includes(instance) && daemonPid(instance.datadir) !== null);
  return { started, running, failed, problems: options.coordinatorOnly ? [] : problems };
}
