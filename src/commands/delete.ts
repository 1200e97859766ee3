import { input } from '@inquirer/prompts';
import { readDefinition } from '../cluster/config/definition.js';
import { deleteCluster } from '../cluster/delete.js';
import { DamsonError } from '../core/errors.js';
import { DamsonCommand } from './base.js';

export default class Delete extends DamsonCommand<typeof Delete> {
  static override summary = 'Stop a cluster and remove every trace of it, its data included.';
  static override examples = [{ description: 'Remove the demo cluster', command: '<%= config.bin %> delete -d ./damson-demo' }];

  async run(): Promise<{ removed: string[] }> {
    const directory = this.coordinatorDir;
    const { name } = readDefinition(directory);
    await this.ensureName(name);
    const removed = await this.alone(() => deleteCluster(directory, this.progress));
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
