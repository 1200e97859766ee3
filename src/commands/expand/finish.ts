import { withCoordinator } from '../../cluster/engine/port.js';
import { DamsonCommand } from '../base.js';

export default class ExpandFinish extends DamsonCommand<typeof ExpandFinish> {
  static override summary = 'Close an expansion whose tables have all been redistributed.';
  static override examples = [{ description: 'Empty the queue', command: '<%= config.bin %> expand finish' }];

  async run(): Promise<{ finished: true }> {
    await withCoordinator(this.coordinatorDir, (coordinator) => coordinator.call('admin.expandFinish', {}));
    this.log('The expansion is closed');
    return { finished: true };
  }
}
