import { Flags } from '@oclif/core';
import { withCoordinator } from '../cluster/engine/port.js';
import { stopCluster } from '../cluster/stop.js';
import { DamsonCommand } from './base.js';

export default class Stop extends DamsonCommand<typeof Stop> {
  static override summary = 'Stop the daemons of a cluster, or reload its configuration.';
  static override examples = [
    { description: 'End sessions and stop', command: '<%= config.bin %> stop' },
    { description: 'Wait for sessions to end by themselves', command: '<%= config.bin %> stop -M smart' },
    { description: 'Reload settings and host rules', command: '<%= config.bin %> stop -u' },
  ];
  static override flags = {
    mode: Flags.option({
      char: 'M',
      options: ['smart', 'fast', 'immediate'] as const,
      default: 'fast',
      summary: 'how sessions end',
    })(),
    reload: Flags.boolean({ char: 'u', summary: 'stop nothing; reload settings and host rules' }),
  };

  async run(): Promise<{ stopped: number[] } | { reloaded: string[] }> {
    const directory = this.coordinatorDir;
    if (this.flags.reload) {
      const { changed } = await withCoordinator(directory, (coordinator) => coordinator.call('admin.reload', {}));
      this.log(changed.length === 0 ? 'Nothing changed' : `Reloaded: ${changed.join(', ')}`);
      return { reloaded: changed };
    }
    const mode = this.flags.mode as 'smart' | 'fast' | 'immediate';
    const instances = await this.alone(() => stopCluster(directory, mode, this.progress));
    this.log(`${instances.length} instances stopped`);
    return { stopped: instances.map(({ dbid }) => dbid) };
  }
}
