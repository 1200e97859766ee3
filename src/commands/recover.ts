import { Flags } from '@oclif/core';
import { withCoordinator } from '../cluster/engine/port.js';
import { recoverInstances } from '../cluster/recover.js';
import { DamsonError, ExitCode, notSupported } from '../core/errors.js';
import type { AdminMethods, AdminProgress } from '../model/admin.js';
import { bytesText } from '../ui/table.js';
import { DamsonCommand } from './base.js';

type Rebalanced = AdminMethods['admin.rebalanceRoles']['out'];

export default class Recover extends DamsonCommand<typeof Recover> {
  static override summary = 'Bring down instances back, or give every instance its preferred role.';
  static override examples = [
    { description: 'All that are down', command: '<%= config.bin %> recover -a' },
    { description: 'Made anew from their primaries', command: '<%= config.bin %> recover -a -F' },
    { description: 'Preferred roles again', command: '<%= config.bin %> recover -a --rebalance' },
  ];
  static override flags = {
    full: Flags.boolean({ char: 'F', summary: 'copy everything from the primary, whatever the instance still has' }),
    differential: Flags.boolean({ summary: 'copy what differs by checksum' }),
    rebalance: Flags.boolean({
      char: 'r',
      summary: 'restore preferred roles by planned switches',
      exclusive: ['full', 'differential'],
    }),
  };

  async run(): Promise<AdminMethods['admin.recover']['out'] | Rebalanced> {
    if (this.flags.differential)
      throw notSupported('differential recovery is not supported yet', 'use damson recover, or -F for a full copy');
    return this.flags.rebalance ? this.rebalance() : this.recover();
  }

  private async recover() {
    const directory = this.coordinatorDir;
    const status = await withCoordinator(directory, (coordinator) => coordinator.call('admin.status', {}));
    const down = status.instances.filter(({ status: s, content }) => s === 'd' && content >= 0);
    if (down.length === 0) {
      this.log('Nothing to recover: no instance is down');
      const joining = status.pairs.some(
        ({ content, state, mirrorDbid }) => content >= 0 && mirrorDbid !== null && state !== 'IN_SYNC',
      );
      this.tell(
        `Hint: ${joining ? 'a pair is still being brought in sync; damson state -c shows it' : 'damson state -e shows what is not right'}`,
      );
      process.exitCode = ExitCode.warning;
      return { recovered: [], failed: [] };
    }
    for (const { dbid, content, hostname, port, datadir } of down) {
      this.tell(`Segment ${content}: instance ${dbid} at ${hostname}:${port} (${datadir}) will be recovered from its primary`);
    }
    await this.ensureConfirmed(`${down.length} instances will be recovered.`);
    const { full } = this.flags;
    const result = await this.alone(() =>
      recoverInstances(directory, down, { full, version: this.config.version, tell: progressText }, this.progress),
    );
    this.log(`${result.recovered.length} of ${down.length} instances recovered`);
    for (const { dbid, error } of result.failed) this.tell(`Warning: instance ${dbid} was not recovered: ${error}`);
    if (result.recovered.length === 0)
      throw new DamsonError('no instance could be recovered', {
        hint: 'damson state -e says what is wrong; damson recover can be run again',
      });
    if (result.failed.length > 0) process.exitCode = ExitCode.warning;
    return result;
  }

  private async rebalance(): Promise<Rebalanced> {
    await this.ensureConfirmed('Instances will change roles; writes pause for a moment, nothing fails.');
    const result = await this.progress.task('Restore preferred roles', (note) =>
      withCoordinator(this.coordinatorDir, (coordinator) =>
        coordinator.follow('admin.rebalanceRoles', {}, (progress) => note(progressText(progress))),
      ),
    );
    this.log(
      result.switched.length === 0 ? 'No roles were switched' : `Roles switched for segments ${result.switched.join(', ')}`,
    );
    for (const { content, reason } of result.skipped) this.tell(`Warning: segment ${content}: ${reason}`);
    if (result.skipped.length > 0) process.exitCode = ExitCode.warning;
    return result;
  }
}

function progressText({ message, bytes, bytesDone }: AdminProgress): string {
  return bytes === undefined || bytesDone === undefined ? message : `${message} (${bytesText(bytesDone)} of ${bytesText(bytes)})`;
}
