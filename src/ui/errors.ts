import { DamsonError, ExitCode, SqlError } from '../core/errors.js';

/** What a person reads of an error, and the exit code. */
export function explainError(
  error: unknown,
  options: { verbose: boolean; log?: string | undefined },
): { text: string; exit: number } {
  const lines: string[] = [];
  const interrupted = error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortError');
  const message = interrupted ? 'interrupted' : error instanceof Error ? error.message : String(error);
  lines.push(`Error: ${message.split('\n')[0]}`);
  const hint = hintOf(error);
  if (hint !== undefined) lines.push(`Hint: ${hint}`);
  if (options.log !== undefined) lines.push(`Log: ${options.log}`);
  if (options.verbose && error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  if (interrupted) return { text: lines.join('\n'), exit: ExitCode.interrupted };
  return { text: lines.join('\n'), exit: error instanceof DamsonError ? error.exitCode : ExitCode.failed };
}

function hintOf(error: unknown): string | undefined {
  if (error instanceof DamsonError || error instanceof SqlError) return error.hint;
  // oclif's parser: wrong or missing flags.
  const name = error instanceof Error ? error.constructor.name : '';
  if (/Parse|Invalid|Nonexistent|Required|Unexpected|FailedFlag/.test(name))
    return 'add --help to see the arguments and examples';
  return undefined;
}
