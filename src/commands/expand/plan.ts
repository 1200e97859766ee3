import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { input, number } from '@inquirer/prompts';
import { Flags } from '@oclif/core';
import { formatExpansion, planExpansion } from '../../cluster/config/expansion-file.js';
import { knownInstances } from '../../cluster/engine/port.js';
import { DamsonError } from '../../core/errors.js';
import { writeFileAtomic } from '../../core/files.js';
import type { Instance } from '../../model/topology.js';
import { timestamp } from '../../ui/progress.js';
import { renderTable } from '../../ui/table.js';
import { DamsonCommand } from '../base.js';

export default class ExpandPlan extends DamsonCommand<typeof ExpandPlan> {
  static override summary = 'Plan new segments and write the input file of expand add.';
  static override examples = [
    { description: 'Asked on the terminal', command: '<%= config.bin %> expand plan' },
    {
      description: 'One more segment on this host',
      command: '<%= config.bin %> expand plan --segments-per-host 1 -o expand.txt',
    },
  ];
  static override flags = {
    output: Flags.string({
      char: 'o',
      helpValue: 'FILE',
      summary: 'the input file to write; else gpexpand_inputfile_<time> here',
    }),
    hosts: Flags.string({ helpValue: 'HOST,…', summary: 'hosts of the new segments; else this one' }),
    'segments-per-host': Flags.integer({ min: 1, max: 128, summary: 'new segments on each of them' }),
  };

  async run(): Promise<{ file: string; instances: Instance[] }> {
    const existing = await knownInstances(this.coordinatorDir);
    const { hosts, perHost } = await this.answers();
    const strangers = hosts.filter((host) => host !== hostname() && host !== 'localhost');
    if (strangers.length > 0) {
      throw new DamsonError(`hosts reached over SSH are not supported yet: ${strangers.join(', ')}`, {
        hint: `plan segments on this host (${hostname()})`,
      });
    }
    const instances = planExpansion(
      existing,
      hosts.map(() => hostname()),
      perHost,
    );
    const stamp = timestamp().replaceAll(':', '');
    const file = resolve(this.flags.output ?? `gpexpand_inputfile_${stamp.slice(0, 8)}_${stamp.slice(8)}`);
    if (existsSync(file)) await this.ensureConfirmed(`${file} is there already and will be replaced.`);
    writeFileAtomic(file, formatExpansion(instances), 0o644);
    this.log(
      renderTable(
        ['Segment', 'Role', 'Host', 'Port', 'Data directory'],
        instances.map(({ content, role, hostname: host, port, datadir }) => [
          String(content),
          role === 'p' ? 'primary' : 'mirror',
          host,
          String(port),
          datadir,
        ]),
      ),
    );
    this.log(`Written to ${file}. Look it over, then: damson expand add -i ${file}`);
    return { file, instances };
  }

  private async answers(): Promise<{ hosts: string[]; perHost: number }> {
    const { flags } = this;
    const here = hostname();
    const split = (text: string) =>
      text
        .split(',')
        .map((host) => host.trim())
        .filter((host) => host !== '');
    if (flags['segments-per-host'] !== undefined)
      return { hosts: split(flags.hosts ?? here), perHost: flags['segments-per-host'] };
    if (process.stdin.isTTY !== true || this.jsonEnabled() || flags.yes) {
      throw new DamsonError('--segments-per-host is missing, and there is no terminal to ask on', {
        hint: 'say how many segments each host gets: --segments-per-host 1',
      });
    }
    const screen = { output: process.stderr };
    const hosts =
      flags.hosts ?? (await input({ message: 'Hosts of the new segments, separated by commas:', default: here }, screen));
    const perHost = await number(
      { message: 'New primary segments on each host:', default: 1, min: 1, max: 128, required: true },
      screen,
    );
    return { hosts: split(hosts), perHost };
  }
}
