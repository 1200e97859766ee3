/** A real cluster of daemons in a temporary directory, on free ports, from the compiled sources in dist. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import type { ClusterDefinition } from '../../src/model/admin.js';
import type { Instance, InstanceIdentity } from '../../src/model/topology.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DAEMON = process.env.DAMSON_TEST_DAEMON ?? join(ROOT, 'bin', 'damsond.js');
const READY_MS = 60_000;

export interface ClusterOptions {
  segments?: number;
  mirrors?: boolean;
  settings?: Record<string, string>;
}

/** One daemon of a test cluster. */
export interface Daemon {
  instance: Instance;
  child: ChildProcess;
}

export class TestCluster {
  readonly daemons = new Map<number, Daemon>();

  private constructor(
    readonly directory: string,
    readonly instances: Instance[],
  ) {}

  /** Creates and starts a cluster; call `stop` at the end, always. */
  static async start(options: ClusterOptions = {}): Promise<TestCluster> {
    const directory = mkdtempSync(join(tmpdir(), 'damson-test-'));
    const instances = await describeInstances(directory, options);
    const cluster = new TestCluster(directory, instances);
    try {
      cluster.write(options.settings ?? {});
      // The coordinator looks for its segments when it starts.
      for (const instance of [...instances].sort((a, b) => b.content - a.content)) await cluster.startDaemon(instance.dbid);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get coordinator(): Instance {
    return this.instances.find((instance) => instance.content === -1)!;
  }

  /** Connection settings for the `pg` package. */
  get connection(): pg.ClientConfig {
    return { host: '127.0.0.1', port: this.coordinator.port, user: 'postgres', database: 'postgres' };
  }

  async client(extra: pg.ClientConfig = {}): Promise<pg.Client> {
    const client = new pg.Client({ ...this.connection, ...extra });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  async startDaemon(dbid: number): Promise<void> {
    const instance = this.instances.find((candidate) => candidate.dbid === dbid)!;
    const child = spawn(process.execPath, [DAEMON, '--datadir', instance.datadir], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, UV_THREADPOOL_SIZE: '24', DAMSON_SEGMENT_MEMORY: '256', DAMSON_SEGMENT_THREADS: '1' },
    });
    this.daemons.set(dbid, { instance, child });
    await ready(instance, child);
  }

  /** `kill -9` of one instance. */
  async kill(dbid: number): Promise<void> {
    const daemon = this.daemons.get(dbid);
    if (daemon === undefined) return;
    this.daemons.delete(dbid);
    await ended(daemon.child, 'SIGKILL');
  }

  async stop(): Promise<void> {
    const daemons = [...this.daemons.values()].sort((a, b) => a.instance.content - b.instance.content);
    this.daemons.clear();
    for (const { child } of daemons) await ended(child, 'SIGTERM');
    if (process.env.DAMSON_TEST_KEEP === undefined) rmSync(this.directory, { recursive: true, force: true });
  }

  private write(settings: Record<string, string>): void {
    const clusterId = `test-${process.pid}-${Date.now()}`;
    const definition: ClusterDefinition = {
      clusterId,
      admin: 'postgres',
      database: 'postgres',
      demo: true,
      instances: this.instances,
      settings,
    };
    for (const instance of this.instances) {
      mkdirSync(instance.datadir, { recursive: true, mode: 0o700 });
      const { dbid, content, hostname, address, port } = instance;
      const identity: InstanceIdentity = { clusterId, dbid, content, hostname, address, port, version: '0.1.0' };
      writeFileSync(join(instance.datadir, 'instance.json'), JSON.stringify(identity));
      if (content === -1) writeFileSync(join(instance.datadir, 'cluster.json'), JSON.stringify(definition));
    }
  }
}

async function describeInstances(directory: string, options: ClusterOptions): Promise<Instance[]> {
  const segments = options.segments ?? 2;
  const members: { content: number; role: 'p' | 'm' }[] = [{ content: -1, role: 'p' }];
  for (let content = 0; content < segments; content++) {
    members.push({ content, role: 'p' });
    if (options.mirrors === true) members.push({ content, role: 'm' });
  }
  const ports = await freePorts(members.length);
  return members.map(({ content, role }, i) => {
    const datadir = join(directory, content < 0 ? 'coordinator' : `${role === 'p' ? 'primary' : 'mirror'}${content}`);
    const mode = options.mirrors === true && content >= 0 ? 's' : 'n';
    return {
      dbid: i + 1,
      content,
      role,
      preferred_role: role,
      mode,
      status: 'u',
      hostname: 'localhost',
      address: '127.0.0.1',
      port: ports[i]!,
      datadir,
    };
  });
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Waits for the daemon's line that says it is ready. */
function ready(instance: Instance, child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = '';
    let errors = '';
    const fail = (why: string) => reject(new Error(`instance ${instance.dbid} ${why}\n${errors}\n${tail(instance)}`));
    const timer = setTimeout(() => fail(`was not ready within ${READY_MS} ms`), READY_MS);
    child.stderr!.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-4000);
    });
    child.stdout!.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000);
      if (!output.includes('"ready":true')) return;
      clearTimeout(timer);
      resolve();
    });
    child.once('exit', (code) => {
      clearTimeout(timer);
      fail(`ended with ${code}`);
    });
  });
}

/** The end of an instance's log, for whoever reads a failed test. */
function tail(instance: Instance): string {
  const path = join(instance.datadir, 'log', 'damsond.log');
  return existsSync(path) ? readFileSync(path, 'utf8').slice(-4000) : '';
}

function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill(signal);
  });
}
