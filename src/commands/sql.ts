import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Flags } from '@oclif/core';
import { readDefinition } from '../cluster/config/definition.js';
import { connectSql, type SqlConnection } from '../cluster/sql/client.js';
import { splitStatements } from '../cluster/sql/split.js';
import { DamsonError, ExitCode, SqlError } from '../core/errors.js';
import { renderResult, renderSqlError, resultObjects, type SqlFormat } from '../ui/sql.js';
import { DamsonCommand } from './base.js';

const HISTORY_LIMIT = 500;

export default class Sql extends DamsonCommand<typeof Sql> {
  static override summary = "Run SQL with the cluster's own credentials.";
  static override examples = [
    { description: 'A shell', command: '<%= config.bin %> sql' },
    { description: 'One statement', command: "<%= config.bin %> sql -c 'SELECT * FROM pg_dist_shard'" },
    { description: 'A script, results as CSV', command: '<%= config.bin %> sql -f report.sql --format csv' },
  ];
  static override flags = {
    command: Flags.string({ char: 'c', multiple: true, helpValue: 'SQL', summary: 'run this and end' }),
    file: Flags.string({ char: 'f', helpValue: 'FILE', summary: 'run this script and end; - for standard input' }),
    format: Flags.option({ options: ['table', 'csv', 'json'] as const, default: 'table', summary: 'how rows are shown' })(),
    timing: Flags.boolean({ summary: 'show the time of each statement' }),
  };

  async run(): Promise<unknown> {
    const { admin, database, instances } = readDefinition(this.coordinatorDir);
    const coordinator = instances.find(({ content, role }) => content === -1 && role === 'p');
    if (coordinator === undefined)
      throw new DamsonError('the cluster has no coordinator', { hint: 'its cluster.json was damaged' });
    const connection = await connectSql({ host: coordinator.address, port: coordinator.port, user: admin, database });
    connection.onNotice((text) => process.stderr.write(`${text}\n`));
    process.removeAllListeners('SIGINT');
    process.on('SIGINT', () => void connection.cancel());
    try {
      const script = this.script();
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

  private async runAll(connection: SqlConnection, statements: string[]): Promise<unknown[]> {
    const all: unknown[] = [];
    for (const statement of statements) {
      try {
        for (const result of await connection.run(statement)) {
          all.push(resultObjects(result));
          const text = renderResult(result, this.flags.format as SqlFormat);
          if (text !== '') this.log(text);
          if (this.flags.timing) this.log(`Time: ${result.ms.toFixed(3)} ms`);
        }
      } catch (error) {
        if (!(error instanceof SqlError)) throw error;
        process.stderr.write(`${renderSqlError(error, statement)}\n`);
        process.exitCode = ExitCode.failed;
        return all;
      }
    }
    return all;
  }

  private async shell(connection: SqlConnection, database: string): Promise<void> {
    const historyFile = join(homedir(), '.damson_history');
    const history = existsSync(historyFile)
      ? readFileSync(historyFile, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
          .slice(-HISTORY_LIMIT)
          .reverse()
      : [];
    const terminal = createInterface({
      input: process.stdin,
      output: process.stdout,
      history,
      historySize: HISTORY_LIMIT,
      prompt: `${database}=# `,
    });
    terminal.on('SIGINT', () => void connection.cancel());
    this.log('Statements end with a semicolon; \\q ends.');
    let pending = '';
    let timing = this.flags.timing;
    terminal.prompt();
    for await (const line of terminal) {
      if (pending === '' && /^\s*(\\q|quit|exit)\s*$/.test(line)) break;
      if (pending === '' && /^\s*\\timing\s*$/.test(line)) {
        timing = !timing;
        this.log(`Timing is ${timing ? 'on' : 'off'}.`);
      } else {
        if (line.trim() !== '') appendFileSync(historyFile, `${line}\n`, { mode: 0o600 });
        const { statements, rest } = splitStatements(`${pending}${line}\n`);
        pending = rest.trim() === '' ? '' : rest;
        for (const statement of statements) await this.runOne(connection, statement, timing);
      }
      terminal.setPrompt(`${database}${pending === '' ? '=' : '-'}# `);
      terminal.prompt();
    }
    terminal.close();
  }

  private async runOne(connection: SqlConnection, statement: string, timing: boolean): Promise<void> {
    try {
      for (const result of await connection.run(statement)) {
        this.log(renderResult(result, this.flags.format as SqlFormat));
        if (timing) this.log(`Time: ${result.ms.toFixed(3)} ms`);
      }
    } catch (error) {
      if (!(error instanceof SqlError)) throw error;
      process.stderr.write(`${renderSqlError(error, statement)}\n`);
    }
  }
}
