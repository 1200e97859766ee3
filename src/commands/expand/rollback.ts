import { expandRollback } from '../../cluster/expand.js';
import type { Instance } from '../../model/topology.js';
import { DamsonCommand } from '../base.js';

export default class ExpandRollback extends DamsonCommand<typeof ExpandRollback> {
  static override summary = 'Undo an expansion whose tables have not begun to move.';
  static override examples = [{ description: 'Remove the new segments again', command: '<%= config.bin %> expand rollback' }];

  async run(): Promise<{ removed: Instance[] }> {
    await this.ensureConfirmed('The segments that this expansion added will be removed.');
    const removed = await this.alone(() => expandRollback(this.coordinatorDir, this.progress));
    this.log(`The expansion is taken back: ${removed.length} instances removed`);
    return { removed };
  }
}
