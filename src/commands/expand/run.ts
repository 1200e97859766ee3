import { Flags } from '@oclif/core';
import { withCoordinator } from '../../cluster/engine/port.js';
import { DamsonError, ExitCode } from '../../core/errors.js';
import type { AdminProgress, ExpandRunOptions, ExpansionReport } from '../../model/admin.js';
import { renderExpansion } from '../../ui/state.js';
import { bytesText } from '../../ui/table.js';
import { DamsonCommand } from '../base.js';

/** `HH:MM:SS` → milliseconds. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,4}):([0-5]\d):([0-5]\d)$/.exec(text);
  if (match === null) throw new DamsonError(`"${text}" is no duration`, { hint: 'write it as HH:MM:SS, for example 02:30:00' });
  const [, h, m, s] = match.map(Number) as [number, number, number, number];
  return ((h * 60 + m) * 60 + s) * 1000;
}

/** `YYYY-MM-DD HH:MM:SS`, local time → ISO time. */
export function parseEnd(text: string): string {
  const match = /^(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)$/.exec(text);
  const time = match === null ? Number.NaN : Date.parse(text.replace(' ', 'T'));
  if (Number.isNaN(time)) throw new DamsonError(`"${text}" is no time`, { hint: "write it as 'YYYY-MM-DD HH:MM:SS'" });
  if (time <= Date.now()) throw new DamsonError(`${text} is past`, { hint: 'give a time to come' });
  return new Date(time).toISOString();
}

export default class ExpandRun extends DamsonCommand<typeof ExpandRun> {
  static override summary = 'Redistribute tables onto the new segments, by rank, while the cluster works.';
  static override description = 'Interrupted by anything and run again, it goes on.';
  static override examples = [
    { description: 'Until all is done', command: '<%= config.bin %> expand run' },
    {
      description: 'Two moves at once, at most two hours and 100 MB/s',
      command: '<%= config.bin %> expand run --parallel 2 --duration 02:00:00 --rate 100',
    },
  ];
  static override flags = {
    parallel: Flags.integer({ char: 'n', min: 1, max: 96, summary: 'moves at once' }),
    duration: Flags.string({ helpValue: 'HH:MM:SS', summary: 'stop after this time' }),
    end: Flags.string({ helpValue: "'YYYY-MM-DD HH:MM:SS'", summary: 'stop at this time' }),
    rate: Flags.integer({ min: 1, helpValue: 'MB/s', summary: 'move no faster than this' }),
  };

  async run(): Promise<{ report: ExpansionReport; reason: string }> {
    const { flags } = this;
    const options: ExpandRunOptions = {};
    if (flags.parallel !== undefined) options.parallel = flags.parallel;
    if (flags.duration !== undefined) options.durationMs = parseDuration(flags.duration);
    if (flags.end !== undefined) options.end = parseEnd(flags.end);
    if (flags.rate !== undefined) options.rate = flags.rate * 1024 * 1024;
    const directory = this.coordinatorDir;
    const outcome = await this.progress.task('Redistribute', (note) =>
      withCoordinator(directory, async (coordinator) => {
        // The first Ctrl-C breaks off the move that runs (the next run goes on with it); the command tells how far it came.
        const stop = () => void withCoordinator(directory, (other) => other.call('admin.expandStop', {}));
        process.removeAllListeners('SIGINT');
        process.once('SIGINT', stop);
        return coordinator.follow('admin.expandRun', options, (progress) => note(this.text(progress)));
      }),
    );
    this.log(renderExpansion(outcome.report));
    this.log(
      {
        done: 'All tables are redistributed. Close the expansion with: damson expand finish',
        stopped: 'Stopped. Go on with: damson expand run',
        time: 'The time is up. Go on with: damson expand run',
        failed: 'Some tables could not be moved: damson expand status says why. Mend the cause and run damson expand run again',
      }[outcome.reason],
    );
    if (outcome.reason === 'failed') process.exitCode = ExitCode.warning;
    return outcome;
  }

  private text({ message, bytes, bytesDone }: AdminProgress): string {
    return bytes === undefined || bytesDone === undefined
      ? message
      : `${message} (${bytesText(bytesDone)} of ${bytesText(bytes)})`;
  }
}
