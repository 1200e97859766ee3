/** A real cluster whose daemons are killed, stopped and brought back, with bounded waits that print the cluster's state when they expire. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type pg from 'pg';
import { connectCoordinator, withCoordinator } from '../../src/cluster/engine/port.js';
import type { AdminMethods, ClusterStatus } from '../../src/model/admin.js';
import type { Instance } from '../../src/model/topology.js';
import { TestCluster } from '../helpers/cluster.js';

/** Short limits: a failover is decided within a second or two even on a busy machine. */
const FAST_PROBES = {
  'damson.fts_probe_interval': '0.3',
  'damson.fts_probe_timeout': '2',
  'damson.fts_probe_retries': '2',
  'damson.fts_mirror_stall': '3',
};
const COORDINATOR = 1;

export class FaultCluster {
  private constructor(readonly cluster: TestCluster) {}

  static async start(options: { segments?: number; settings?: Record<string, string> } = {}): Promise<FaultCluster> {
    const { segments = 2, settings = {} } = options;
    const cluster = new FaultCluster(
      await TestCluster.start({ segments, mirrors: true, settings: { ...FAST_PROBES, ...settings } }),
    );
    await cluster.inSync();
    return cluster;
  }

  get directory(): string {
    return this.cluster.coordinator.datadir;
  }

  client(extra: pg.ClientConfig = {}): Promise<pg.Client> {
    return this.cluster.client(extra);
  }

  async stop(): Promise<void> {
    await this.cluster.stop();
  }

  admin<M extends keyof AdminMethods>(method: M, input: AdminMethods[M]['in']): Promise<AdminMethods[M]['out']> {
    return withCoordinator(this.directory, (coordinator) => coordinator.call(method, input));
  }

  /** A call that goes on while others are made; `cancel` is what Ctrl-C in the command does. */
  async begin<M extends keyof AdminMethods>(
    method: M,
    input: AdminMethods[M]['in'],
  ): Promise<{ result: Promise<AdminMethods[M]['out']>; messages: string[]; cancel(): void }> {
    const coordinator = await connectCoordinator(this.directory);
    const stop = new AbortController();
    const messages: string[] = [];
    const result = coordinator
      .follow(method, input, (progress) => messages.push(progress.message), stop.signal)
      .finally(() => coordinator.close());
    result.catch(() => undefined);
    return { result, messages, cancel: () => stop.abort() };
  }

  status(): Promise<ClusterStatus> {
    return this.admin('admin.status', {});
  }

  async member(content: number, role: 'p' | 'm'): Promise<number> {
    const { pairs } = await this.admin('admin.status', { quick: true });
    const pair = pairs.find((one) => one.content === content);
    const dbid = role === 'p' ? pair?.primaryDbid : pair?.mirrorDbid;
    if (dbid === undefined || dbid === null) throw new Error(`content ${content} has no ${role}`);
    return dbid;
  }

  kill(dbid: number): Promise<void> {
    return this.cluster.kill(dbid);
  }

  signal(dbid: number, signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.cluster.daemons.get(dbid)?.child.kill(signal);
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.cluster.daemons.keys()].map((dbid) => this.kill(dbid)));
  }

  /** Starts every daemon that does not run, segments first, as `damson start` does. */
  async startAll(): Promise<void> {
    const missing = this.cluster.instances.filter(({ dbid }) => !this.cluster.daemons.has(dbid));
    const segments = missing.filter(({ dbid }) => dbid !== COORDINATOR);
    await Promise.all(segments.map(({ dbid }) => this.cluster.startDaemon(dbid)));
    if (segments.length < missing.length) await this.cluster.startDaemon(COORDINATOR);
  }

  async restartCoordinator(): Promise<void> {
    await this.kill(COORDINATOR);
    await this.cluster.startDaemon(COORDINATOR);
  }

  /** Daemons up, every instance recovered, every pair in sync. */
  async recoverAll(full = false): Promise<void> {
    await this.startAll();
    await this.eventually('no segment is down', async () => (await this.status()).pairs.every((pair) => !pair.down));
    const down = (await this.status()).instances.filter(({ status, content }) => status === 'd' && content >= 0);
    if (down.length > 0) {
      const { failed } = await (await this.begin('admin.recover', { full })).result;
      if (failed.length > 0) throw new Error(`recover failed: ${JSON.stringify(failed)}\n${await this.describe()}`);
    }
    await this.inSync();
  }

  async inSync(): Promise<void> {
    await this.eventually('every pair is in sync', async () =>
      (await this.status()).pairs.every((pair) => pair.mirrorDbid === null || (pair.state === 'IN_SYNC' && !pair.down)),
    );
  }

  /** No decided or doubtful transaction is left. */
  async settled(): Promise<void> {
    await this.eventually('nothing is outstanding', async () => (await this.status()).coordinator.outstanding.length === 0);
  }

  /** Waits, at most `limitMs`; the error that ends it tells the state of the cluster. */
  async eventually(what: string, holds: () => Promise<boolean>, limitMs = 40_000): Promise<void> {
    const deadline = performance.now() + limitMs;
    let last: unknown;
    while (performance.now() < deadline) {
      try {
        if (await holds()) return;
        last = undefined;
      } catch (error) {
        last = error;
      }
      await sleep(50);
    }
    throw new Error(`not within ${limitMs} ms: ${what}\n${await this.describe()}`, { cause: last });
  }

  async describe(): Promise<string> {
    try {
      const { pairs, instances, coordinator, expansion } = await this.status();
      const lines = instances.map(
        ({ dbid, content, role, mode, status, pid, end, safe, applied, mirrorDurable, error }) =>
          `dbid ${dbid} content ${content} ${role}${mode}${status} pid ${pid} end ${end} safe ${safe} applied ${applied} mirror ${mirrorDurable} ${error ?? ''}`,
      );
      const states = pairs.map(({ content, state, down, timeline }) => `${content}: ${state} t${timeline}${down ? ' down' : ''}`);
      return [
        `cluster in ${this.cluster.directory}`,
        ...lines,
        states.join(', '),
        `outstanding ${JSON.stringify(coordinator.outstanding)}`,
        `expansion ${expansion.expansion?.status} ${JSON.stringify(expansion.tables)}`,
      ].join('\n');
    } catch (error) {
      return `no status: ${(error as Error).message}`;
    }
  }

  /** Daemons of new segments with mirrors, running, not registered. */
  async newSegments(count: number): Promise<Instance[]> {
    const { instances } = await this.admin('admin.status', { quick: true });
    const clusterId = (await this.admin('admin.status', { quick: true })).clusterId;
    let dbid = Math.max(...instances.map((one) => one.dbid), ...this.cluster.instances.map((one) => one.dbid));
    const first = Math.max(...instances.map((one) => one.content)) + 1;
    const made: Instance[] = [];
    for (let content = first; content < first + count; content++) {
      for (const role of ['p', 'm'] as const) {
        dbid += 1;
        const datadir = join(this.cluster.directory, `new${content}${role}${dbid}`);
        const endpoint = { hostname: 'localhost', address: '127.0.0.1', port: await freePort(), datadir };
        const instance: Instance = { dbid, content, role, preferred_role: role, mode: 'n', status: 'u', ...endpoint };
        mkdirSync(datadir, { recursive: true, mode: 0o700 });
        const { hostname, address, port } = endpoint;
        writeFileSync(
          join(datadir, 'instance.json'),
          JSON.stringify({ clusterId, dbid, content, hostname, address, port, version: '0.1.0' }),
        );
        made.push(instance);
      }
    }
    this.cluster.instances.push(...made);
    await Promise.all(made.map((instance) => this.cluster.startDaemon(instance.dbid)));
    return made;
  }

  /** Stops instances that are no longer part of the cluster. */
  async forget(instances: Instance[]): Promise<void> {
    for (const { dbid } of instances) {
      await this.kill(dbid);
      const at = this.cluster.instances.findIndex((one) => one.dbid === dbid);
      if (at >= 0) this.cluster.instances.splice(at, 1);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A generator of numbers in [0, 1) from a seed (mulberry32), so that a failed run can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** From the environment, to repeat a run; else of this moment. It is printed. */
export function seedOf(name: string): number {
  const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000);
  console.log(`${name}: FAULT_SEED=${seed}`);
  return seed;
}
