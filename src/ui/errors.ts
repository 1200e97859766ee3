import { DamsonError, ExitCode, SqlError } from '../core/errors.js';
import { nearest } from './nearest.js';

export interface Explained {
  text: string;
  exit: number;
}

/** What a person reads of an error, and the exit code. `commands` are the names that could have been meant, as they are typed. */
export function explainError(
  error: unknown,
  options: { verbose: boolean; log?: string | undefined; commands?: string[] },
): Explained {
  const { message, hint, exit } = describe(error, options.commands ?? []);
  const lines = [`Error: ${message}`];
  if (hint !== undefined) lines.push(`Hint: ${hint}`);
  if (options.log !== undefined) lines.push(`Log: ${options.log}`);
  if (options.verbose && error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  return { text: lines.join('\n'), exit };
}

interface Description {
  message: string;
  hint: string | undefined;
  exit: number;
}

function describe(error: unknown, commands: string[]): Description {
  if (isInterrupt(error))
    return {
      message: 'interrupted',
      hint: 'run the command again; what was begun goes on or is taken back',
      exit: ExitCode.interrupted,
    };
  if (error instanceof DamsonError) return { message: oneLine(error.message), hint: error.hint, exit: error.exitCode };
  if (error instanceof SqlError) return { message: oneLine(error.message), hint: error.hint, exit: ExitCode.failed };
  const message = error instanceof Error ? error.message : String(error);
  if (isOfParser(error)) return { ...argumentProblem(message, commands), exit: ExitCode.failed };
  const { code, path } = (error ?? {}) as { code?: unknown; path?: unknown };
  if (typeof code === 'string' && typeof path === 'string')
    return {
      message: oneLine(message),
      hint: `look at ${path}: is it there, and may this user read and write it?`,
      exit: ExitCode.failed,
    };
  return { message: oneLine(message), hint: 'this was not expected; -v shows where it comes from', exit: ExitCode.failed };
}

/** Ctrl-C, also at a question. */
function isInterrupt(error: unknown): boolean {
  return error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortError');
}

/** oclif marks what it throws over flags, arguments and names of commands. */
function isOfParser(error: unknown): boolean {
  return error instanceof Error && 'oclif' in error;
}

const HELP = 'add --help to see the arguments and examples';

/** oclif's texts have headings, lists and advice over several lines: this makes one line of them. */
function argumentProblem(message: string, commands: string[]): { message: string; hint: string } {
  const unknown = /^command (\S+) not found$/.exec(message)?.[1];
  if (unknown !== undefined) {
    const typed = unknown.replaceAll(':', ' ');
    const command = commands.find((name) => typed.startsWith(`${name} `));
    if (command !== undefined) return { message: `unexpected argument: ${typed.slice(command.length + 1)}`, hint: HELP };
    const meant = nearest(typed, commands);
    return {
      message: `there is no command "${typed}"`,
      hint: meant === undefined ? 'damson --help lists the commands' : `did you mean damson ${meant}? damson --help lists all`,
    };
  }
  const lines = message
    .replace(/\n+See more help with --help$/, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const [first = '', ...rest] = lines;
  if (/^The following errors? occurred:$/.test(first)) return { message: rest.join('; '), hint: HELP };
  const missing = /^Missing \d+ required args?:?$/.test(first);
  if (missing) return { message: `missing argument: ${rest.map((line) => line.split(/\s+/)[0]).join(', ')}`, hint: HELP };
  const parsing = /^Parsing (--\S+)$/.exec(first)?.[1];
  if (parsing !== undefined) return { message: `${parsing}: ${rest.join('; ')}`, hint: HELP };
  return { message: lines.join('; '), hint: HELP };
}

function oneLine(message: string): string {
  return message
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .join('; ');
}
