import { Args } from '@oclif/core';
import { withCoordinator } from '../cluster/engine/port.js';
import type { AdminMethods } from '../model/admin.js';
import { DamsonCommand } from './base.js';

export default class Failover extends DamsonCommand<typeof Failover> {
  static override summary = 'Switch primary and mirror of a segment. Writes pause for a moment; nothing fails.';
  static override examples = [{ description: 'Segment 0', command: '<%= config.bin %> failover 0' }];
  static override args = { content: Args.integer({ required: true, min: 0, description: 'content id of the segment' }) };

  async run(): Promise<AdminMethods['admin.failover']['out']> {
    const { content } = this.args;
    const result = await this.progress.task(`Switch primary and mirror of segment ${content}`, () =>
      withCoordinator(this.coordinatorDir, (coordinator) => coordinator.call('admin.failover', { content })),
    );
    this.log(`Segment ${content} is now served by instance ${result.primaryDbid}`);
    return result;
  }
}
