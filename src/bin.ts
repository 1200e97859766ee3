import { writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Config, flush, run } from '@oclif/core';
import { ExitCode } from './core/errors.js';
import { explainError } from './ui/errors.js';

/** The command line: finds and runs the command, prints what went wrong, ends the process with the exit code of the contract. */
export async function main(argv: string[]): Promise<void> {
  process.once('SIGINT', endInterrupted);
  let commands: string[] = [];
  try {
    const config = await Config.load(dirname(dirname(fileURLToPath(import.meta.url))));
    commands = config.commandIDs.map((id) => id.replaceAll(':', ' '));
    await run(argv, config);
    await flush();
  } catch (error) {
    await flush();
    const exit = exitOfOclif(error);
    if (exit !== undefined) {
      process.exitCode = exit;
      return;
    }
    const verbose = argv.includes('-v') || argv.includes('--verbose');
    const explained = explainError(error, { verbose, log: logOf(error), commands });
    process.stderr.write(`${explained.text}\n`);
    process.exitCode = explained.exit;
  }
}

/**
 * Ctrl-C. What was begun is in a journal, and the coordinator's calls end with their connection. Written past the streams, which
 * progress on a terminal holds back; the cursor that it hid is shown again.
 */
function endInterrupted(): void {
  const { text } = explainError(Object.assign(new Error(), { name: 'AbortError' }), { verbose: false });
  writeSync(2, `${process.stderr.isTTY ? '\u001b[?25h\n' : ''}${text}\n`);
  process.exit(ExitCode.interrupted);
}

/** `this.exit(n)` of a command, help and version arrive as errors that say nothing. */
function exitOfOclif(error: unknown): number | undefined {
  const { code, oclif } = (error ?? {}) as { code?: string; oclif?: { exit?: number } };
  return code === 'EEXIT' ? (oclif?.exit ?? 0) : undefined;
}

/** Commands attach the path of their log to what they throw. */
function logOf(error: unknown): string | undefined {
  const path = (error as { damsonLog?: unknown } | null)?.damsonLog;
  return typeof path === 'string' ? path : undefined;
}
