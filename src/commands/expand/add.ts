import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Flags } from '@oclif/core';
import { parseExpansion } from '../../cluster/config/expansion-file.js';
import { expandAdd } from '../../cluster/expand.js';
import { DamsonError } from '../../core/errors.js';
import type { ExpansionReport } from '../../model/admin.js';
import { renderExpansion } from '../../ui/state.js';
import { DamsonCommand } from '../base.js';

export default class ExpandAdd extends DamsonCommand<typeof ExpandAdd> {
  static override summary = 'Make, start and register new segments with their mirrors, and fill the redistribution queue.';
  static override examples = [
    { description: 'With a file of expand plan or of gpexpand', command: '<%= config.bin %> expand add -i expand.txt' },
  ];
  static override flags = {
    input: Flags.string({
      char: 'i',
      required: true,
      helpValue: 'FILE',
      summary: 'hostname|address|port|datadir|dbid|content|preferred_role for each instance',
    }),
  };

  async run(): Promise<ExpansionReport> {
    const path = resolve(this.flags.input);
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (cause) {
      throw new DamsonError(`${path} cannot be read: ${(cause as Error).message}`, {
        hint: 'damson expand plan writes such a file',
        cause,
      });
    }
    const { coordinatorDir, progress } = this;
    const report = await this.alone(() =>
      expandAdd(coordinatorDir, (existing) => parseExpansion(text, existing, path), this.config.version, progress),
    );
    this.log(renderExpansion(report));
    this.log('New tables use the new segments from now on. Move the others with: damson expand run');
    return report;
  }
}
