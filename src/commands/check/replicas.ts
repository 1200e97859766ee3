import { withCoordinator } from '../../cluster/engine/port.js';
import { ExitCode } from '../../core/errors.js';
import type { ReplicaCheck } from '../../model/admin.js';
import { renderTable } from '../../ui/table.js';
import { DamsonCommand } from '../base.js';

export default class CheckReplicas extends DamsonCommand<typeof CheckReplicas> {
  static override summary = 'Compare mirrors with their primaries by checksum, while the cluster works.';
  static override examples = [{ description: 'Exit code 1 when anything differs', command: '<%= config.bin %> check replicas' }];

  async run(): Promise<ReplicaCheck> {
    const result = await this.progress.task('Compare mirrors with primaries', () =>
      withCoordinator(this.coordinatorDir, (coordinator) => coordinator.call('admin.checkReplicas', {})),
    );
    const { compared, skipped, shards, rows, differences } = result;
    this.log(
      `Compared segments ${compared.join(', ') || 'none'}: ${shards} shards, ${rows} rows, ${differences.length} differences`,
    );
    if (differences.length > 0) {
      this.log(
        renderTable(
          ['Segment', 'Shard', 'Primary rows', 'Mirror rows', 'Primary checksum', 'Mirror checksum'],
          differences.map(({ content, shardId, primary, mirror }) => [
            String(content),
            String(shardId),
            String(primary?.rows ?? '-'),
            String(mirror?.rows ?? '-'),
            primary?.checksum ?? '-',
            mirror?.checksum ?? '-',
          ]),
        ),
      );
      this.tell('Hint: recover the mirror in full: stop its daemon, wait until it is marked down, then damson recover -F');
    }
    for (const { content, reason } of skipped) this.tell(`Warning: segment ${content} was not compared: ${reason}`);
    if (differences.length > 0 || skipped.length > 0) process.exitCode = ExitCode.warning;
    return result;
  }
}
