import { Flags } from '@oclif/core';
import { OPERATIONS, startPlan } from '../cluster/plan/create.js';
import { journalPath, runPlan } from '../cluster/run/run.js';
import { stopCluster } from '../cluster/stop.js';
import { DamsonCommand } from './base.js';

export default class Restart extends DamsonCommand<typeof Restart> {
  static override summary = 'Stop a cluster and start it again.';
  static override examples = [{ description: 'End sessions, stop, start', command: '<%= config.bin %> restart' }];
  static override flags = {
    mode: Flags.option({
      char: 'M',
      options: ['smart', 'fast', 'immediate'] as const,
      default: 'fast',
      summary: 'how sessions end',
    })(),
  };

  async run(): Promise<{ restarted: number[] }> {
    const directory = this.coordinatorDir;
    const instances = await stopCluster(directory, this.flags.mode as 'smart' | 'fast' | 'immediate', this.progress);
    const plan = startPlan(instances, directory, { coordinatorOnly: false });
    await runPlan(plan, OPERATIONS, this.progress, { journalPath: journalPath(directory, 'start'), keep: true });
    this.log(`${instances.length} instances restarted`);
    return { restarted: instances.map(({ dbid }) => dbid) };
  }
}
