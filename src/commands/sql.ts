import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { Flags } from '@oclif/core';
import { readDefinition } from '../cluster/config/definition.js';
import { connectSql, type SqlConnection } from '../cluster/sql/client.js';
import { openHistory } from '../cluster/sql/history.js';
import { splitStatements } from '../cluster/sql/split.js';
import { DamsonError, ExitCode, notSupported, SqlError } from '../core/errors.js';
import { renderResult, renderSqlError, resultObjects, type SqlFormat } from '../ui/sql.js';
import { DamsonCommand } from './base.js';

const SHELL_HELP = `Statements end with a semicolon and may have several lines. Ctrl-C ends a statement, or drops what was typed.
  \\q        ends (also Ctrl-D)
  \\timing   shows the time of each statement, or no longer
  \\?        this help
psql knows the other commands: psql -h HOST -p PORT -U postgres postgres`;

export default class Sql extends DamsonCommand<typeof Sql> {
  static override summary = "Run SQL with the cluster's own credentials.";
  static override description =
    'Without -c and -f a shell on a terminal; else statements are read from standard input. The first error ends a script with exit code 2.';
  static override examples = [
    { description: 'A shell', command: '<%= config.bin %> sql' },
    { description: 'One statement', command: "<%= config.bin %> sql -c 'SELECT * FROM pg_dist_shard'" },
    { description: 'A script, results as CSV', command: '<%= config.bin %> sql -f report.sql --format csv' },
    { description: 'From a pipe', command: "echo 'SELECT 1' | <%= config.bin %> sql --format json" },
  ];
  static override flags = {
    command: Flags.string({ char: 'c', multiple: true, helpValue: 'SQL', summary: 'run this and end', exclusive: ['file'] }),
    file: Flags.string({ char: 'f', helpValue: 'FILE', summary: 'run this script and end; - for standard input' }),
    format: Flags.option({ options: ['table', 'csv', 'json'] as const, default: 'table', summary: 'how rows are shown' })(),
    timing: Flags.boolean({ summary: 'show the time of each statement' }),
  };

  async run(): Promise<unknown> {
    const script = this.script();
    if (script === undefined && this.jsonEnabled())
      throw new DamsonError('--json needs a statement or a script', { hint: 'add -c SQL or -f FILE' });
    const { admin, database, instances } = readDefinition(this.coordinatorDir);
    const coordinator = instances.find(({ content, role }) => content === -1 && role === 'p');
    if (coordinator === undefined)
      throw new DamsonError('the cluster has no coordinator', { hint: 'its cluster.json was damaged' });
    const connection = await connectSql({ host: coordinator.address, port: coordinator.port, user: admin, database });
    connection.onNotice((text) => process.stderr.write(`${text}\n`));
    connection.onCopyData((chunk) => void process.stdout.write(chunk));
    process.removeAllListeners('SIGINT');
    process.on('SIGINT', () => void connection.cancel());
    try {
      if (script !== undefined) return await this.runAll(connection, script);
      await this.shell(connection, database);
      return undefined;
    } finally {
      await connection.close();
    }
  }

  /** Statements to run one by one; undefined for the shell. */
  private script(): string[] | undefined {
    const { command, file } = this.flags;
    if (command !== undefined) return command;
    if (file === undefined && process.stdin.isTTY) return undefined;
    const text = file === undefined || file === '-' ? readFileSync(0, 'utf8') : this.readScript(file);
    const { statements, rest } = splitStatements(text);
    return rest.trim() === '' ? statements : [...statements, rest.trim()];
  }

  private readScript(file: string): string {
    const path = resolve(file);
    if (!existsSync(path)) throw new DamsonError(`${path} is not there`, { hint: 'give the path of a file with SQL statements' });
    return readFileSync(path, 'utf8');
  }

  /** The results, for `--json`. The first error ends it: then there are none. */
  private async runAll(connection: SqlConnection, statements: string[]): Promise<unknown[]> {
    const all: unknown[] = [];
    for (const statement of statements) {
      if (!(await this.runOne(connection, statement, this.flags.timing, all))) this.exit(ExitCode.failed);
    }
    return all;
  }

  /** Runs a statement and shows what it gave, or its error; false for an error. */
  private async runOne(connection: SqlConnection, statement: string, timing: boolean, all: unknown[] = []): Promise<boolean> {
    try {
      if (statement.startsWith('\\'))
        throw notSupported(
          `invalid command ${statement.split(/\s/)[0]}`,
          "Commands with a backslash are psql's; damson sql knows \\q, \\timing and \\? in its shell.",
        );
      if (this.jsonEnabled() && /^\s*copy\b.*\bto\s+stdout\b/is.test(statement))
        throw notSupported('rows of COPY … TO STDOUT have no JSON form', 'Leave --json out, or use SELECT.');
      for (const result of await connection.run(statement)) {
        all.push(resultObjects(result));
        const text = renderResult(result, this.flags.format as SqlFormat);
        if (text !== '') this.log(text);
        if (timing) this.log(`Time: ${result.ms.toFixed(3)} ms`);
      }
      return true;
    } catch (error) {
      if (!(error instanceof SqlError)) throw error;
      this.record('ERROR', error.message);
      process.stderr.write(`${renderSqlError(error, statement)}\n`);
      return false;
    }
  }

  private async shell(connection: SqlConnection, database: string): Promise<void> {
    const history = openHistory(process.env, homedir());
    const terminal = createInterface({
      input: process.stdin,
      output: process.stdout,
      history: history.lines,
      prompt: `${database}=# `,
    });
    let pending = '';
    let running = false;
    let timing = this.flags.timing;
    terminal.on('SIGINT', () => {
      if (running) void connection.cancel();
      else {
        pending = '';
        drop(terminal, `${database}=# `);
      }
    });
    this.log(`${database} of ${this.coordinatorDir}. Statements end with a semicolon; \\? helps, \\q ends.`);
    terminal.prompt();
    for await (const line of terminal) {
      const command = pending === '' ? line.trim() : '';
      if (/^(\\q|quit|exit)$/.test(command)) break;
      if (command === '\\timing' || command === '\\timing on' || command === '\\timing off') {
        timing = command === '\\timing' ? !timing : command.endsWith('on');
        this.log(`Timing is ${timing ? 'on' : 'off'}.`);
      } else if (command === '\\?') this.log(SHELL_HELP);
      else if (command.startsWith('\\')) await this.runOne(connection, command, timing);
      else {
        history.add(line);
        const { statements, rest } = splitStatements(`${pending}${line}\n`);
        pending = rest.trim() === '' ? '' : rest;
        running = true;
        for (const statement of statements) if (!(await this.runOne(connection, statement, timing))) break;
        running = false;
      }
      terminal.setPrompt(`${database}${pending === '' ? '=' : '-'}# `);
      terminal.prompt();
    }
    terminal.close();
  }
}

/** Ctrl-C without a statement that runs: what was typed is gone, a new line begins. */
function drop(terminal: Interface, prompt: string): void {
  process.stdout.write('^C\n');
  terminal.write(null, { ctrl: true, name: 'e' });
  terminal.write(null, { ctrl: true, name: 'u' });
  terminal.setPrompt(prompt);
  terminal.prompt();
}
