import { spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import type { Target } from '../demo/damson.js';
import { freePorts } from './damson-cluster.js';

export interface BenchPostgres {
  target: Target;
  client: pg.Client;
  stop(): Promise<void>;
}

function binDirectory(): string | null {
  const found = spawnSync('sh', ['-c', 'command -v postgres && dirname "$(readlink -f "$(command -v postgres)")"'], {
    encoding: 'utf8',
  });
  const candidates = [found.stdout.trim().split('\n')[1], '/usr/lib/postgresql/15/bin'];
  return candidates.find((path) => path !== undefined && path !== '' && existsSync(join(path, 'initdb'))) ?? null;
}

/** A fresh PostgreSQL with its default, durable settings. It refuses to run as root: the user `postgres` or `nobody` runs it then. */
export async function startPostgres(directory: string): Promise<BenchPostgres | null> {
  const bin = binDirectory();
  if (bin === null) return null;
  const user = unprivileged();
  mkdirSync(directory, { recursive: true });
  if (user !== null) {
    spawnSync('chmod', ['a+rx', dirname(directory)]);
    chownSync(directory, user.uid, user.gid);
  }
  const as = user === null ? {} : { uid: user.uid, gid: user.gid };
  const data = join(directory, 'data');
  const made = spawnSync(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8'], {
    ...as,
    cwd: directory,
    encoding: 'utf8',
  });
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
  const port = await freePorts(14);
  const server = spawn(
    join(bin, 'postgres'),
    [
      '-D',
      data,
      '-p',
      String(port + 13),
      '-k',
      directory,
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      'shared_buffers=512MB',
      '-c',
      'max_wal_size=4GB',
    ],
    {
      ...as,
      cwd: directory,
      stdio: 'ignore',
    },
  );
  const target = { host: '127.0.0.1', port: port + 13 };
  const client = await connectWhenReady(target);
  return {
    target,
    client,
    stop: async () => {
      await client.end();
      server.kill('SIGINT');
      await new Promise((resolve) => server.once('exit', resolve));
    },
  };
}

function unprivileged(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) =>
      Number(spawnSync('id', [flag, name], { encoding: 'utf8' }).stdout || Number.NaN),
    ) as [number, number];
    if (Number.isFinite(uid) && Number.isFinite(gid)) return { uid, gid };
  }
  return null;
}

async function connectWhenReady(target: Target): Promise<pg.Client> {
  for (let attempt = 0; ; attempt++) {
    const client = new pg.Client({ ...target, user: 'postgres', database: 'postgres' });
    try {
      await client.connect();
      return client;
    } catch (error) {
      if (attempt > 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
