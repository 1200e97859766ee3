import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { confirm } from '@inquirer/prompts';
import { Command, Flags, type Interfaces } from '@oclif/core';
import { findCoordinatorDir } from '../cluster/config/definition.js';
import { withLock } from '../cluster/run/lock.js';
import type { RunListener } from '../cluster/run/step.js';
import type { Started } from '../cluster/start.js';
import { DamsonError, ExitCode } from '../core/errors.js';
import { progressListener, timestamp } from '../ui/progress.js';

const MAX_UNLOGGED = 1000;

export type FlagsOf<T extends typeof Command> = Interfaces.InferredFlags<(typeof DamsonCommand)['baseFlags'] & T['flags']>;
export type ArgsOf<T extends typeof Command> = Interfaces.InferredArgs<T['args']>;

/** What every command has: finding the cluster, `--json`, questions, progress, the log, exit codes. */
export abstract class DamsonCommand<T extends typeof Command> extends Command {
  static override enableJsonFlag = true;
  static override baseFlags = {
    'coordinator-dir': Flags.string({
      char: 'd',
      helpGroup: 'GLOBAL',
      helpValue: 'DIR',
      summary:
        "the coordinator's data directory, or the directory that damson demo made; else COORDINATOR_DATA_DIRECTORY, else ./damson-demo",
    }),
    yes: Flags.boolean({ char: 'a', helpGroup: 'GLOBAL', summary: 'ask nothing' }),
    quiet: Flags.boolean({ char: 'q', helpGroup: 'GLOBAL', summary: 'no progress' }),
    verbose: Flags.boolean({ char: 'v', helpGroup: 'GLOBAL', summary: 'more detail, stack traces of errors' }),
    'log-dir': Flags.string({
      char: 'l',
      helpGroup: 'GLOBAL',
      helpValue: 'DIR',
      summary: "the command's log goes here; else log/ of the coordinator's data directory",
    }),
  };

  protected flags!: FlagsOf<T>;
  protected args!: ArgsOf<T>;
  #coordinatorDir: string | undefined;
  #logFile: string | undefined;
  /** Lines from before the log's place was known. */
  #unlogged: string[] = [];

  override async init(): Promise<void> {
    await super.init();
    const { args, flags } = await this.parse({
      flags: this.ctor.flags,
      baseFlags: (super.ctor as typeof DamsonCommand).baseFlags,
      args: this.ctor.args,
      strict: this.ctor.strict,
      enableJsonFlag: this.ctor.enableJsonFlag,
    });
    this.flags = flags as FlagsOf<T>;
    this.args = args as ArgsOf<T>;
  }

  /** The coordinator's data directory of the cluster that was named. */
  protected get coordinatorDir(): string {
    this.#coordinatorDir ??= findCoordinatorDir(this.flags['coordinator-dir'], process.env, process.cwd());
    return this.#coordinatorDir;
  }

  /** For commands that make the directory. */
  protected set coordinatorDir(directory: string) {
    this.#coordinatorDir = directory;
  }

  protected get name(): string {
    return (this.id ?? 'damson').replaceAll(':', '-').replaceAll(' ', '-');
  }

  /** Progress on standard error and in the log. */
  protected get progress(): RunListener {
    return progressListener({
      command: `damson ${(this.id ?? '').replaceAll(':', ' ')}`,
      quiet: this.flags.quiet,
      // listr2 draws on standard output: where that goes elsewhere, lines on standard error it is.
      terminal: process.stderr.isTTY && process.stdout.isTTY && !this.jsonEnabled() && process.env.CI === undefined,
      log: (level, text) => this.record(level, text),
    });
  }

  /** A message for people, on standard error so that `--json` stays clean. */
  protected tell(text: string): void {
    this.record('INFO', text);
    if (!this.flags.quiet) process.stderr.write(`${text}\n`);
  }

  /** Appends to the command's log; until the cluster's directory is known and there, lines wait. */
  protected record(level: 'INFO' | 'ERROR', text: string): void {
    const stamp = timestamp();
    this.#unlogged.push(`${stamp}:${String(process.pid).padStart(6, '0')} damson ${this.name}-[${level}]:-${text}\n`);
    const given = this.flags?.['log-dir'];
    const directory = given ?? (this.#coordinatorDir === undefined ? undefined : join(this.#coordinatorDir, 'log'));
    if (directory === undefined || (given === undefined && !existsSync(join(directory, '..')))) {
      if (this.#unlogged.length > MAX_UNLOGGED) this.#unlogged.shift();
      return;
    }
    mkdirSync(directory, { recursive: true });
    this.#logFile = join(directory, `${this.name}_${stamp.slice(0, 8)}.log`);
    appendFileSync(this.#logFile, this.#unlogged.join(''), { mode: 0o600 });
    this.#unlogged = [];
  }

  /** Runs what makes, starts, stops or removes daemons of the cluster: one such command at a time. */
  protected alone<T>(work: () => Promise<T>, directory = this.coordinatorDir): Promise<T> {
    return withLock(directory, `damson ${(this.id ?? '').replaceAll(':', ' ')}`, work);
  }

  /** Says what did not start or is not right, with exit code 1 when there is anything. */
  protected tellProblems({ failed, problems }: Pick<Started, 'failed' | 'problems'>): string[] {
    for (const text of failed) this.tell(`Warning: ${text}`);
    for (const { what, hint } of problems) this.tell(`Warning: ${what}\n  Hint: ${hint}`);
    if (failed.length + problems.length > 0) process.exitCode = ExitCode.warning;
    return [...failed, ...problems.map(({ what }) => what)];
  }

  /** Asks before much is changed. Without a terminal and without `-a` it fails and names the flag. */
  protected async ensureConfirmed(question: string): Promise<void> {
    if (this.flags.yes) return;
    if (process.stdin.isTTY !== true || this.jsonEnabled()) {
      throw new DamsonError(`this asks before it goes on, and there is no terminal to ask on: ${question}`, {
        hint: 'add -a (--yes) to go on without being asked',
      });
    }
    if (!(await confirm({ message: question, default: false }, { output: process.stderr }))) {
      throw new DamsonError('stopped by your answer; nothing was changed', { exitCode: ExitCode.failed });
    }
  }

  protected override async catch(error: Error & { exitCode?: number }): Promise<void> {
    if ((error as { code?: string }).code !== 'EEXIT') {
      this.record('ERROR', error.message);
      Object.assign(error, { damsonLog: this.#logFile });
    }
    throw error;
  }
}
