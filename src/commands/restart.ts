import { Flags } from '@oclif/core';
import { startCluster } from '../cluster/start.js';
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
      summary: 'how sessions end: by themselves, at once, or with their daemons',
    })(),
  };

  async run(): Promise<{ restarted: number[]; problems: string[] }> {
    const { coordinatorDir, progress } = this;
    const result = await this.alone(async () => {
      await stopCluster(coordinatorDir, this.flags.mode as 'smart' | 'fast' | 'immediate', progress);
      return await startCluster(coordinatorDir, { coordinatorOnly: false }, progress);
    });
    this.log(`${result.started.length} instances restarted`);
    return { restarted: result.started.map(({ dbid }) => dbid), problems: this.tellProblems(result) };
  }
}
