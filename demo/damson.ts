/** The demo uses the commands and the protocol that users have, nothing else. */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

const BIN = join(dirname(fileURLToPath(import.meta.url)), '../bin/damson.js');

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a `damson` command. Its progress goes to the screen when `show` is set. */
export function damson(args: string[], options: { show?: boolean; allow?: number[] } = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [BIN, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, FORCE_COLOR: '0' },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (options.show) process.stdout.write(text.replace(/^/gm, '   ').replace(/ {3}$/, ''));
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (![0, ...(options.allow ?? [])].includes(code ?? -1)) {
        const why = stderr.split('\n').filter((line) => /^(Error|ERROR|Hint|HINT|Log): /.test(line));
        const said = options.show ? 'its error stands above' : why.join('\n').replace(/^Error: /, '') || stderr;
        reject(new Error(`damson ${args.join(' ')} ended with ${code}: ${said}`));
      } else resolve({ code: code ?? -1, stdout, stderr });
    });
  });
}

export async function damsonJson<T>(args: string[], allow: number[] = []): Promise<T> {
  return JSON.parse((await damson([...args, '--json'], { allow })).stdout) as T;
}

export interface Target {
  host: string;
  port: number;
}

const asText = { getTypeParser: () => (value: string | Buffer) => value.toString() };

export async function connect(target: Target): Promise<pg.Client> {
  // biome-ignore lint/suspicious/noExplicitAny: pg's typing of parsers knows no text for all
  const client = new pg.Client({ ...target, user: 'postgres', database: 'postgres', types: asText as any });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

export async function rows(client: pg.Client, sql: string, values: unknown[] = []): Promise<(string | null)[][]> {
  const result = await client.query({ text: sql, values, rowMode: 'array' });
  return result.rows as (string | null)[][];
}

export async function value(client: pg.Client, sql: string, values: unknown[] = []): Promise<string | null> {
  return (await rows(client, sql, values))[0]?.[0] ?? null;
}
