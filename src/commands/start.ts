import { Flags } from '@oclif/core';
import { startCluster } from '../cluster/start.js';
import { notSupported } from '../core/errors.js';
import { DamsonCommand } from './base.js';

export default class Start extends DamsonCommand<typeof Start> {
  static override summary = 'Start the daemons of a cluster.';
  static override description =
    'Those that run already are left as they are. Exit code 1 when something of the cluster is not right.';
  static override examples = [
    { description: 'Start what does not run', command: '<%= config.bin %> start -d ./damson-demo' },
    { description: 'The coordinator alone', command: '<%= config.bin %> start -m' },
  ];
  static override flags = {
    'coordinator-only': Flags.boolean({ char: 'm', summary: 'the coordinator only, for maintenance' }),
    restricted: Flags.boolean({ char: 'R', summary: 'administrators only' }),
  };

  async run(): Promise<{ started: number[]; running: number[]; problems: string[] }> {
    if (this.flags.restricted) throw notSupported('restricted mode is not supported yet', 'start without -R');
    const { coordinatorDir, progress } = this;
    const options = { coordinatorOnly: this.flags['coordinator-only'] };
    const result = await this.alone(() => startCluster(coordinatorDir, options, progress));
    const [started, running] = [result.started, result.running].map((list) => list.map(({ dbid }) => dbid)) as [
      number[],
      number[],
    ];
    this.log(
      started.length + result.failed.length === 0
        ? `The cluster runs already: ${running.length} instances`
        : `${started.length} instances started, ${running.length} ran already`,
    );
    return { started, running, problems: this.tellProblems(result) };
  }
}
