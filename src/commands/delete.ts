import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { input } from '@inquirer/prompts';
import { readDefinition } from '../cluster/config/definition.js';
import { removeDirectory } from '../cluster/hosts/local.js';
import { stopCluster } from '../cluster/stop.js';
import { DamsonError } from '../core/errors.js';
import { DamsonCommand } from './base.js';

export default class Delete extends DamsonCommand<typeof Delete> {
  static override summary = 'Stop a cluster and remove every trace of it, its data included.';
  static override examples = [{ description: 'Remove the demo cluster', command: '<%= config.bin %> delete -d ./damson-demo' }];

  async run(): Promise<{ removed: string[] }> {
    const directory = this.coordinatorDir;
    const { name } = readDefinition(directory);
    await this.ensureName(name);
    const instances = await stopCluster(directory, 'immediate', this.progress);
    // The coordinator goes last: a deletion that was interrupted can be run again.
    const removed = instances.map(({ datadir }) => datadir).sort((a, b) => Number(a === directory) - Number(b === directory));
    for (const datadir of removed) {
      await this.progress.task(`Remove ${datadir}`, async () => removeDirectory(datadir));
    }
    const parent = dirname(directory);
    if (existsSync(parent) && readdirSync(parent).length === 0) rmdirSync(parent);
    this.log(`Cluster ${name} is deleted: ${removed.length} instances`);
    return { removed };
  }

  private async ensureName(name: string): Promise<void> {
    if (this.flags.yes) return;
    if (process.stdin.isTTY !== true || this.jsonEnabled()) {
      throw new DamsonError(`deleting a cluster asks for its name, and there is no terminal to ask on`, {
        hint: 'add -a (--yes) to delete without being asked',
      });
    }
    const answer = await input(
      { message: `All data of cluster "${name}" will be removed. Type its name to go on:` },
      { output: process.stderr },
    );
    if (answer !== name)
      throw new DamsonError(`"${answer}" is not the cluster's name; nothing was changed`, { hint: `its name is ${name}` });
  }
}
