import { Flags } from '@oclif/core';
import { withCoordinator } from '../cluster/engine/port.js';
import { type Finding, findProblems } from '../cluster/state/findings.js';
import { systemClock } from '../core/clock.js';
import { ExitCode } from '../core/errors.js';
import type { ClusterStatus } from '../model/admin.js';
import {
  renderDetails,
  renderExpansion,
  renderFindings,
  renderInstances,
  renderMirrors,
  renderPairsOf,
  renderStandby,
  renderSummary,
} from '../ui/state.js';
import { DamsonCommand } from './base.js';

interface StateResult {
  cluster: Omit<ClusterStatus, 'instances' | 'pairs' | 'history' | 'expansion'>;
  instances: ClusterStatus['instances'];
  pairs: ClusterStatus['pairs'];
  expansion: ClusterStatus['expansion'];
  problems: Finding[];
}

export default class State extends DamsonCommand<typeof State> {
  static override summary = 'Show the state of every instance.';
  static override examples = [
    { description: 'A summary', command: '<%= config.bin %> state' },
    { description: 'Everything that is not right; exit code 1 if anything is', command: '<%= config.bin %> state -e' },
    { description: 'For scripts', command: '<%= config.bin %> state --json' },
  ];
  static override flags = {
    details: Flags.boolean({
      char: 's',
      summary: 'all details of each instance',
      exclusive: ['mirrors', 'pairs', 'problems', 'standby'],
    }),
    mirrors: Flags.boolean({ char: 'm', summary: 'mirrors' }),
    pairs: Flags.boolean({ char: 'c', summary: 'primary to mirror pairs' }),
    problems: Flags.boolean({ char: 'e', summary: 'everything that is not right' }),
    standby: Flags.boolean({ char: 'f', summary: 'the standby' }),
    versions: Flags.boolean({ char: 'i', summary: 'versions' }),
    ports: Flags.boolean({ char: 'p', summary: 'ports' }),
    expansion: Flags.boolean({ char: 'x', summary: 'expansion' }),
    quick: Flags.boolean({ char: 'Q', summary: 'quick, from the catalog alone' }),
    watch: Flags.boolean({ summary: 'repeat every two seconds until interrupted' }),
  };

  async run(): Promise<StateResult> {
    return withCoordinator(this.coordinatorDir, async (coordinator) => {
      for (;;) {
        const status = await coordinator.call('admin.status', { quick: this.flags.quick });
        const problems = findProblems(status);
        if (this.flags.watch && process.stdout.isTTY) process.stdout.write('\u001b[2J\u001b[H');
        this.log(this.render(status, problems));
        if (!this.flags.watch || this.jsonEnabled()) return this.finish(status, problems);
        await systemClock.sleep(2000);
      }
    });
  }

  private render(status: ClusterStatus, problems: Finding[]): string {
    const { flags } = this;
    if (flags.details) return renderDetails(status);
    if (flags.mirrors) return renderMirrors(status);
    if (flags.pairs) return renderPairsOf(status);
    if (flags.problems) return renderFindings(problems);
    if (flags.standby) return renderStandby(status);
    if (flags.versions) return renderInstances(status, 'versions');
    if (flags.ports) return renderInstances(status, 'ports');
    if (flags.expansion) return renderExpansion(status.expansion);
    if (flags.quick) return renderInstances(status, 'quick');
    const more = problems.length === 0 ? '' : `\n\n${problems.length} things are not right: damson state -e shows them`;
    return renderSummary(status) + more;
  }

  private finish(status: ClusterStatus, problems: Finding[]): StateResult {
    const unhealthy = this.flags.problems
      ? problems.length > 0
      : this.flags.quick && status.instances.some(({ status: s }) => s === 'd');
    if (unhealthy) process.exitCode = ExitCode.warning;
    const { instances, pairs, history: _history, expansion, ...cluster } = status;
    return { cluster, instances, pairs, expansion, problems };
  }
}
