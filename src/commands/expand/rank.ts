import { Args, Flags } from '@oclif/core';
import { withCoordinator } from '../../cluster/engine/port.js';
import { DamsonError } from '../../core/errors.js';
import { renderTable } from '../../ui/table.js';
import { DamsonCommand } from '../base.js';

export default class ExpandRank extends DamsonCommand<typeof ExpandRank> {
  static override summary = "Set a table's priority in the redistribution queue: 1 goes first.";
  static override examples = [
    { description: 'This one first', command: '<%= config.bin %> expand rank github_events 1' },
    { description: 'All tables by size, largest first', command: '<%= config.bin %> expand rank --by size' },
  ];
  static override args = {
    table: Args.string({ description: 'table, with its schema where that is not public' }),
    rank: Args.integer({ min: 1, description: 'its rank' }),
  };
  static override flags = { by: Flags.option({ options: ['size', 'use'] as const, summary: 'rank all tables' })() };

  async run(): Promise<{ changed: { table: string; rank: number }[] }> {
    const { table, rank } = this.args;
    const by = this.flags.by as 'size' | 'use' | undefined;
    if ((by === undefined) === (table === undefined || rank === undefined)) {
      throw new DamsonError('give a table and its rank, or --by', { hint: 'for example: damson expand rank github_events 1' });
    }
    const request = by === undefined ? { table: table as string, rank: rank as number } : { by };
    const result = await withCoordinator(this.coordinatorDir, (coordinator) => coordinator.call('admin.expandRank', request));
    this.log(
      renderTable(
        ['Table', 'Rank'],
        result.changed.map((row) => [row.table, String(row.rank)]),
        { numeric: [false, true] },
      ),
    );
    return result;
  }
}
