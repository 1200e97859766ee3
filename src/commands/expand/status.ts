import { Flags } from '@oclif/core';
import { withCoordinator } from '../../cluster/engine/port.js';
import { systemClock } from '../../core/clock.js';
import type { ExpansionReport } from '../../model/admin.js';
import { renderExpansion } from '../../ui/state.js';
import { DamsonCommand } from '../base.js';

export default class ExpandStatus extends DamsonCommand<typeof ExpandStatus> {
  static override summary = 'Show the redistribution queue: what has moved, what is left, and when it will be done.';
  static override examples = [{ description: 'Repeat until it is done', command: '<%= config.bin %> expand status --watch' }];
  static override flags = { watch: Flags.boolean({ summary: 'repeat every two seconds until nothing is left' }) };

  async run(): Promise<ExpansionReport> {
    return withCoordinator(this.coordinatorDir, async (coordinator) => {
      for (;;) {
        const report = await coordinator.call('admin.expandStatus', {});
        if (this.flags.watch && process.stdout.isTTY) process.stdout.write('\u001b[2J\u001b[H');
        this.log(renderExpansion(report));
        if (!this.flags.watch || this.jsonEnabled() || report.tablesLeft + report.tablesInProgress === 0) return report;
        await systemClock.sleep(2000);
      }
    });
  }
}
