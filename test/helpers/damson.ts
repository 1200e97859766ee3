/** The `damson` command and psql as users run them, and demo clusters in temporary directories on free ports. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../bin/damson.js', import.meta.url));

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  input?: string;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
}

function run(program: string, args: string[], options: RunOptions = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: options.cwd, env: { ...process.env, ...options.env } });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

/** Runs `damson` with these arguments to its end. Standard input is no terminal. */
export function damson(args: string[], options: RunOptions = {}): Promise<CommandResult> {
  return run(process.execPath, [BIN, ...args], options);
}

/** `damson` in the background, for what is to be interrupted. */
export function startDamson(args: string[]) {
  return spawn(process.execPath, [BIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Whether psql is installed; a test without it says so and is skipped. */
export const psqlVersion: string | undefined = spawnSync('psql', ['--version'], { encoding: 'utf8' }).stdout?.trim();

export function psql(port: number, args: string[], options: RunOptions = {}): Promise<CommandResult> {
  return run('psql', ['-X', '-h', '127.0.0.1', '-p', String(port), '-U', 'postgres', ...args, 'postgres'], options);
}

/** A cluster that `damson demo` made. */
export class DemoCluster {
  private constructor(
    /** Holds the cluster's directory and whatever a test writes. */
    readonly home: string,
    readonly port: number,
  ) {}

  static async start(flags: string[] = []): Promise<DemoCluster> {
    const cluster = new DemoCluster(mkdtempSync(join(tmpdir(), 'damson-cli-')), await freePorts(20));
    const made = await damson(['demo', '--directory', cluster.directory, '--base-port', String(cluster.port), ...flags]);
    if (made.code !== 0) {
      await cluster.remove();
      throw new Error(`damson demo ended with ${made.code}: ${made.stderr}`);
    }
    return cluster;
  }

  get directory(): string {
    return join(this.home, 'cluster');
  }

  run(...args: string[]): Promise<CommandResult> {
    return damson([...args, '-d', this.directory]);
  }

  /** Rows of a statement, as objects of texts. */
  async rows(sql: string): Promise<Record<string, string | null>[]> {
    const { code, stdout, stderr } = await this.run('sql', '-c', sql, '--json');
    if (code !== 0) throw new Error(stderr);
    return (JSON.parse(stdout) as Record<string, string | null>[][]).at(-1) ?? [];
  }

  /** Process of the daemon in a folder of the cluster (`coordinator`, `primary0`, …). */
  pid(folder: string): number {
    return (JSON.parse(readFileSync(join(this.directory, folder, 'damsond.pid'), 'utf8')) as { pid: number }).pid;
  }

  async remove(): Promise<void> {
    if (existsSync(join(this.directory, 'coordinator', 'cluster.json'))) await this.run('delete', '-a', '-q');
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** First of `count` ports in a row on which nobody listens. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const first = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(first + i)));
    if (free.every(Boolean)) return first;
  }
  throw new Error(`no ${count} ports in a row are free`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
