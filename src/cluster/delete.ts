import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { socketPath } from '../rpc/sockets.js';
import { removeDirectory } from './hosts/local.js';
import { journalPath } from './run/run.js';
import type { RunListener } from './run/step.js';
import { stopCluster } from './stop.js';

/**
 * Stops all daemons and removes every directory, socket and journal of the cluster. The coordinator goes last: a deletion that
 * was interrupted can be run again. Returns the directories that are gone.
 */
export async function deleteCluster(coordinatorDir: string, listener: RunListener): Promise<string[]> {
  const instances = await stopCluster(coordinatorDir, 'immediate', listener);
  const directories = instances
    .map(({ datadir }) => datadir)
    .sort((a, b) => Number(a === coordinatorDir) - Number(b === coordinatorDir));
  for (const datadir of directories) {
    await listener.task(`Remove ${datadir}`, async () => {
      rmSync(socketPath(datadir), { force: true });
      removeDirectory(datadir);
    });
  }
  const parent = dirname(coordinatorDir);
  for (const left of [journalPath(parent, 'demo'), join(parent, 'admin.lock')]) rmSync(left, { force: true });
  if (existsSync(parent) && readdirSync(parent).length === 0) rmdirSync(parent);
  return directories;
}
