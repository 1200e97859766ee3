import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { flush, run } from '@oclif/core';
import { ExitCode } from './core/errors.js';
import { explainError } from './ui/errors.js';

/** The command line: finds and runs the command, prints what went wrong, ends the process with the exit code of the contract. */
export async function main(argv: string[]): Promise<void> {
  const interrupt = () => process.exit(ExitCode.interrupted);
  process.once('SIGINT', interrupt);
  try {
    await run(argv, dirname(dirname(fileURLToPath(import.meta.url))));
    await flush();
  } catch (error) {
    await flush();
    const exit = exitOfOclif(error);
    if (exit !== undefined) {
      process.exitCode = exit;
      return;
    }
    const explained = explainError(error, { verbose: argv.includes('-v') || argv.includes('--verbose'), log: logOf(error) });
    process.stderr.write(`${explained.text}\n`);
    process.exitCode = explained.exit;
  }
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
