import { randomUUID } from 'node:crypto';
import { mkdirSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { Flags } from '@oclif/core';
import { demoDefinition } from '../cluster/config/definition.js';
import { checkInstances } from '../cluster/ops/instance.js';
import { createPlan, OPERATIONS } from '../cluster/plan/create.js';
import { describePlan, hasJournal, journalPath, rollBackInterrupted, runPlan } from '../cluster/run/run.js';
import type { Plan } from '../cluster/run/step.js';
import { DamsonError } from '../core/errors.js';
import type { Instance } from '../model/topology.js';
import { connectionHelp } from '../ui/connect.js';
import { DamsonCommand } from './base.js';

export default class Demo extends DamsonCommand<typeof Demo> {
  static override summary = 'Make a cluster on this machine and start it.';
  static override examples = [
    {
      description: 'Two segments with mirrors under ./damson-demo, the coordinator on port 7000',
      command: '<%= config.bin %> demo',
    },
    {
      description: 'Four segments without mirrors',
      command: '<%= config.bin %> demo --primaries 4 --no-mirrors --directory /data/demo',
    },
  ];
  static override flags = {
    primaries: Flags.integer({ default: 2, min: 1, max: 64, summary: 'number of segments' }),
    'no-mirrors': Flags.boolean({ summary: 'segments without mirrors' }),
    'no-standby': Flags.boolean({ summary: 'no standby of the coordinator (there is none yet in any case)' }),
    'base-port': Flags.integer({ default: 7000, min: 1024, max: 65000, summary: "the coordinator's port; the others follow" }),
    directory: Flags.string({ default: './damson-demo', helpValue: 'DIR', summary: 'directory of the cluster, made new' }),
    admin: Flags.string({ default: 'postgres', helpValue: 'NAME', summary: "the administrator's role" }),
    'dry-run': Flags.boolean({ summary: 'show what would be done' }),
  };

  async run(): Promise<{ coordinatorDir: string; port: number; instances: Instance[] }> {
    const { flags } = this;
    if (flags.admin !== 'postgres') {
      throw new DamsonError(`the administrator's role cannot be ${flags.admin} yet`, {
        hint: 'leave --admin out, and CREATE ROLE another superuser',
      });
    }
    const definition = demoDefinition(
      {
        directory: flags.directory,
        primaries: flags.primaries,
        mirrors: !flags['no-mirrors'],
        basePort: flags['base-port'],
        admin: flags.admin,
      },
      randomUUID(),
    );
    const coordinator = definition.instances[0] as Instance;
    const plan = createPlan(definition, this.config.version);
    if (flags['dry-run']) {
      this.log(describePlan(plan, OPERATIONS).join('\n'));
      return { coordinatorDir: coordinator.datadir, port: coordinator.port, instances: definition.instances };
    }
    if (!isDirectory(flags.directory)) {
      await checkInstances(definition.instances);
      mkdirSync(flags.directory, { recursive: true, mode: 0o700 });
    }
    try {
      await this.alone(() => this.create(plan, definition.instances), flags.directory);
    } catch (error) {
      if (readdirSync(flags.directory).length === 0) rmdirSync(flags.directory);
      throw error;
    }
    this.coordinatorDir = coordinator.datadir;
    this.record('INFO', 'the cluster runs');
    this.log(connectionHelp(coordinator, flags.directory));
    return { coordinatorDir: coordinator.datadir, port: coordinator.port, instances: definition.instances };
  }

  private async create(plan: Plan, instances: Instance[]): Promise<void> {
    const journal = journalPath(this.flags.directory, 'demo');
    if (hasJournal(journal)) {
      await this.progress.task('Roll back a run that was interrupted', () => rollBackInterrupted(journal, OPERATIONS));
    }
    await checkInstances(instances);
    await runPlan(plan, OPERATIONS, this.progress, { journalPath: journal });
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
