import { Listr } from 'listr2';
import type { RunListener } from '../cluster/run/step.js';
import { DamsonError } from '../core/errors.js';

/** `20261121:15:33:38`, as the gp tools begin their lines. */
export function timestamp(now = new Date()): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `${day}:${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
}

export interface ProgressOptions {
  /** Lines go here besides the screen. */
  log(level: 'INFO' | 'ERROR', text: string): void;
  command: string;
  quiet: boolean;
  /** Spinners on a terminal; plain timestamped lines otherwise. */
  terminal: boolean;
}

/** Shows what a run does: listr2 on a terminal, timestamped lines otherwise, nothing when quiet. Always on standard error. */
export function progressListener(options: ProgressOptions): RunListener {
  const line = (text: string) => {
    options.log('INFO', text);
    if (!options.quiet && !options.terminal) process.stderr.write(`${timestamp()} ${options.command}: ${text}\n`);
  };
  if (options.terminal && !options.quiet) return listrListener(line);
  return {
    task: async (title, work) => {
      line(title);
      return work(notes(title, line));
    },
    group: async (tasks) => {
      const results = await Promise.allSettled(
        tasks.map(({ title, work }) => {
          line(title);
          return work(notes(title, line));
        }),
      );
      throwFailures(results);
    },
  };
}

const NOTE_EVERY_MS = 1000;

/** Notes of a task as lines: not one that says the same again, and not more than one each second. */
function notes(title: string, line: (text: string) => void): (text: string) => void {
  let last = '';
  let at = Number.NEGATIVE_INFINITY;
  return (text) => {
    if (text === last || performance.now() - at < NOTE_EVERY_MS) return;
    last = text;
    at = performance.now();
    line(`${title}: ${text}`);
  };
}

function listrListener(line: (text: string) => void): RunListener {
  // Signals are the command's own; the library would end the process itself.
  const settings = { registerSignalListeners: false, exitOnError: true } as const;
  return {
    task: async <T>(title: string, work: (note: (text: string) => void) => Promise<T>) => {
      line(title);
      let result: T | undefined;
      await new Listr(
        [
          {
            title,
            task: async (_context, task) => {
              result = await work((text) => {
                task.title = `${title}: ${text}`;
              });
            },
          },
        ],
        settings,
      ).run();
      return result as T;
    },
    group: async (tasks) => {
      const failures: PromiseSettledResult<void>[] = [];
      await new Listr(
        tasks.map(({ title, work }) => ({
          title,
          task: async (_context: unknown, task: { title?: string }) => {
            line(title);
            const [result] = await Promise.allSettled([
              work((text) => {
                task.title = `${title}: ${text}`;
              }),
            ]);
            if (result.status === 'rejected') {
              failures.push(result);
              throw result.reason;
            }
          },
        })),
        { ...settings, concurrent: 8, exitOnError: false },
      ).run();
      throwFailures(failures);
    },
  };
}

/** All of a group have ended when their failures are thrown, as one: nothing goes on behind the caller's back. */
function throwFailures(results: PromiseSettledResult<unknown>[]): void {
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []));
  const [first] = failures;
  if (failures.length <= 1 || first === undefined) {
    if (first !== undefined) throw first;
    return;
  }
  const hint = first instanceof DamsonError ? first.hint : undefined;
  throw new DamsonError(failures.map(({ message }) => message).join('; '), {
    cause: first,
    ...(hint === undefined ? {} : { hint }),
  });
}
