import { createServer } from 'node:net';
import type pg from 'pg';
import { connect, damson, damsonJson, type Target } from '../demo/damson.js';
import type { ClusterStatus } from '../src/model/admin.js';
import type { Figure } from './main.js';

export interface BenchCluster {
  target: Target;
  client: pg.Client;
  figures: Figure[];
}

/** A block of ports that nobody uses now, below the range that the system gives out. */
export async function freePorts(count: number): Promise<number> {
  for (let base = 17_000 + (process.pid % 500) * 20; base < 32_000; base += 20) {
    const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(base + i)));
    if (free.every(Boolean)) return base;
  }
  throw new Error('no free ports');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** `damson demo` with two segments and mirrors; how long until the first connection, and what the daemons weigh. */
export async function startDamson(directory: string): Promise<BenchCluster> {
  const port = await freePorts(12);
  const target = { host: '127.0.0.1', port };
  const cliStarted = performance.now();
  await damson(['--version']);
  const cliMs = performance.now() - cliStarted;
  const started = performance.now();
  const { stderr } = await damson(['demo', '--directory', directory, '--base-port', String(port)]);
  const demoMs = performance.now() - started;
  const client = await connect(target);
  await client.query('SELECT 1');
  const firstMs = performance.now() - started;
  process.stderr.write(stderr);
  const { instances, cluster } = await damsonJson<{ instances: ClusterStatus['instances']; cluster: ClusterStatus }>([
    'state',
    '-d',
    directory,
  ]);
  const mb = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(0)} MB`;
  const segments = instances.filter(({ content }) => content >= 0).map(({ rssBytes }) => rssBytes ?? 0);
  const plain = (what: string, ours: string, aim = '') => ({ what, ours, comparator: '', ratio: '', aim });
  return {
    target,
    client,
    figures: [
      plain('damson demo to the first accepted connection', `${(firstMs / 1000).toFixed(1)} s`, 'under 10 s'),
      plain('… of which the command line alone (damson --version)', `${(cliMs / 1000).toFixed(1)} s`),
      plain('… of which making and starting five daemons', `${((demoMs - cliMs) / 1000).toFixed(1)} s`),
      plain('Idle memory of the coordinator', mb(cluster.coordinator.rssBytes)),
      plain('Idle memory of a segment instance (largest)', mb(Math.max(...segments))),
    ],
  };
}

/** Waits until instances apply nothing any more, mirrors included, so that loading does not run on beside what is measured next. */
export async function settled(directory: string): Promise<void> {
  let before = '';
  for (let attempt = 0; attempt < 30; attempt++) {
    const { instances } = await damsonJson<{ instances: ClusterStatus['instances'] }>(['state', '-d', directory]);
    const applied = instances.map((instance) => instance.applied).join();
    if (applied === before) return;
    before = applied;
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}
