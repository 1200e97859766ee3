import { Flags } from '@oclif/core';
import { knownInstances, withCoordinator } from '../cluster/engine/port.js';
import { daemonPid } from '../cluster/hosts/local.js';
import { OPERATIONS, startPlan } from '../cluster/plan/create.js';
import { journalPath, runPlan } from '../cluster/run/run.js';
import { findProblems } from '../cluster/state/findings.js';
import { ExitCode, notSupported } from '../core/errors.js';
import { DamsonCommand } from './base.js';

export default class Start extends DamsonCommand<typeof Start> {
  static override summary = 'Start the daemons of a cluster.';
  static override examples = [{ description: 'Start what does not run', command: '<%= config.bin %> start -d ./damson-demo' }];
  static override flags = {
    'coordinator-only': Flags.boolean({ char: 'm', summary: 'the coordinator only, for maintenance' }),
    restricted: Flags.boolean({ char: 'R', summary: 'administrators only' }),
  };

  async run(): Promise<{ started: number[]; running: number[]; problems: string[] }> {
    if (this.flags.restricted) throw notSupported('restricted mode is not supported yet', 'start without -R');
    const directory = this.coordinatorDir;
    const instances = await knownInstances(directory);
    const wanted = instances.filter(({ content }) => !this.flags['coordinator-only'] || content === -1);
    const running = wanted.filter(({ datadir }) => daemonPid(datadir) !== null);
    const failed: string[] = [];
    try {
      await runPlan(
        startPlan(instances, directory, { coordinatorOnly: this.flags['coordinator-only'] }),
        OPERATIONS,
        this.progress,
        {
          journalPath: journalPath(directory, 'start'),
          keep: true,
        },
      );
    } catch (error) {
      // A cluster starts with what is left of it, as long as its coordinator does.
      if (daemonPid(directory) === null) throw error;
      failed.push(error instanceof Error ? error.message : String(error));
    }
    const problems = await withCoordinator(directory, async (coordinator) =>
      findProblems(await coordinator.call('admin.status', {})),
    );
    const started = wanted.filter((instance) => !running.includes(instance) && daemonPid(instance.datadir) !== null);
    this.log(`${started.length} instances started, ${running.length} ran already`);
    for (const text of failed) this.tell(`Warning: ${text}`);
    for (const { what, hint } of problems) this.tell(`Warning: ${what}\n  Hint: ${hint}`);
    if (failed.length + problems.length > 0) process.exitCode = ExitCode.warning;
    return {
      started: started.map(({ dbid }) => dbid),
      running: running.map(({ dbid }) => dbid),
      problems: [...failed, ...problems.map(({ what }) => what)],
    };
  }
}
