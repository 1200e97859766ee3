/** Calls of the command line (model/admin.ts). One operation that changes the cluster at a time. */
import { DamsonError } from '../../core/errors.js';
import type { AdminMethods, AdminProgress, ClusterStatus, InstanceStatus } from '../../model/admin.js';
import { COORDINATOR_CONTENT, type Instance } from '../../model/topology.js';
import type { CallContext, Handlers } from '../../rpc/types.js';
import type { Catalog } from '../catalog/types.js';
import { checkReplicas, failoverAndJoin, type PairDeps, rebalanceRoles, recover } from '../ha/operations.js';
import type { ClusterExpansion } from '../move/expansion.js';
import { SettingName } from './bootstrap.js';

export interface AdminDeps extends PairDeps {
  catalog: Catalog;
  expansion: ClusterExpansion;
  coordinator: { timeline: number; incarnation: number };
  version: string;
  startedAt: string;
  sessions(): number;
  front(): string;
  stop(mode: 'smart' | 'fast' | 'immediate'): void;
  reload(): Promise<string[]>;
}

type In<M extends keyof AdminMethods> = AdminMethods[M]['in'];

export function adminHandlers(deps: AdminDeps): Handlers {
  const turn = new OneAtATime();
  const { expansion } = deps;
  const tellTo = (context: CallContext) => (progress: AdminProgress) => {
    // A client that has gone does not stop the work by not reading.
    void context.send(progress).catch(() => undefined);
  };
  const handlers: { [M in keyof AdminMethods]: (body: In<M>, context: CallContext) => Promise<AdminMethods[M]['out']> } = {
    'admin.status': async ({ quick }) => statusOf(deps, turn.running, quick === true),
    'admin.stop': async ({ mode }) => {
      deps.stop(mode);
      return {};
    },
    'admin.expandAdd': ({ instances }, context) => turn.run('expand add', () => expansion.add(instances, tellTo(context))),
    'admin.expandRun': (options, context) =>
      turn.run('expand run', () => expansion.run(options, tellTo(context), context.signal)),
    'admin.expandStop': () => expansion.stop(),
    'admin.expandRank': (request) => expansion.rank(request),
    'admin.expandStatus': async () => expansion.report(),
    'admin.expandFinish': () => turn.run('expand finish', () => expansion.finish().then(() => ({}))),
    'admin.expandRollback': () => turn.run('expand rollback', () => expansion.rollback()),
    'admin.recover': (options, context) => turn.run('recover', () => recover(deps, options, tellTo(context), context.signal)),
    'admin.rebalanceRoles': (_, context) =>
      turn.run('recover --rebalance', () => rebalanceRoles(deps, tellTo(context), context.signal)),
    'admin.failover': ({ content }, context) =>
      turn.run(`failover ${content}`, () => failoverAndJoin(deps, content, context.signal)),
    'admin.checkReplicas': (_, context) => turn.run('check replicas', () => checkReplicas(deps, tellTo(context))),
    'admin.reload': async () => ({ changed: await deps.reload() }),
  };
  return handlers as unknown as Handlers;
}

/** The lock of administration: whoever comes second is told who works. */
class OneAtATime {
  running: string | null = null;

  async run<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.running !== null) {
      throw new DamsonError(`another operation is running: ${this.running}`, {
        hint: 'Wait until it has ended; damson state shows it.',
      });
    }
    this.running = name;
    try {
      return await work();
    } finally {
      this.running = null;
    }
  }
}

async function statusOf(deps: AdminDeps, operation: string | null, quick: boolean): Promise<ClusterStatus> {
  const { catalog, transactions, links, expansion } = deps;
  if (!quick) await deps.fts.probeNow();
  const instances = await Promise.all(catalog.instances().map((instance) => statusOfInstance(deps, instance, quick)));
  return {
    clusterId: catalog.setting(SettingName.clusterId) ?? '',
    version: deps.version,
    coordinator: {
      pid: process.pid,
      ...deps.coordinator,
      startedAt: deps.startedAt,
      sessions: deps.sessions(),
      oldestSnapshotMs: links.reads.oldestMs(),
      outstanding: transactions.outstanding(),
      rssBytes: process.memoryUsage.rss(),
      front: deps.front(),
    },
    instances,
    pairs: catalog.rowsOf('pair').sort((a, b) => a.content - b.content),
    history: catalog.rowsOf('history').sort((a, b) => (a.time < b.time ? -1 : 1)),
    expansion: expansion.report(),
    operation,
    settings: Object.fromEntries(catalog.rowsOf('setting').map((setting) => [setting.name, setting.value])),
  };
}

async function statusOfInstance(deps: AdminDeps, instance: Instance, quick: boolean): Promise<InstanceStatus> {
  const own = instance.content === COORDINATOR_CONTENT && deps.catalog.primaryOf(COORDINATOR_CONTENT)?.dbid === instance.dbid;
  const primary = deps.catalog.primaryOf(instance.content)?.dbid === instance.dbid;
  const sets = primary ? deps.catalog.setsOfContent(instance.content) : [];
  const shards = sets.reduce((total, setKey) => total + deps.catalog.shardsOfSet(setKey).length, 0);
  const unknown = {
    pid: null,
    version: null,
    timeline: null,
    end: null,
    safe: null,
    applied: null,
    mirrorDurable: null,
    rssBytes: null,
  };
  if (quick) return { ...instance, ...unknown, pid: own ? process.pid : null, shards, error: null };
  try {
    const probe = own
      ? await deps.links.of(COORDINATOR_CONTENT).then((link) => link.call('probe', {}))
      : await deps.members.call(instance.dbid, 'probe', {}, 3000);
    const { pid, timeline, end, safe, applied, rssBytes, mirror } = probe;
    const version = own ? deps.version : await versionOf(deps, instance.dbid);
    return {
      ...instance,
      pid,
      version,
      timeline,
      end,
      safe,
      applied,
      rssBytes,
      mirrorDurable: mirror?.durable ?? null,
      shards,
      error: null,
    };
  } catch (error) {
    return { ...instance, ...unknown, shards, error: error instanceof Error ? error.message : String(error) };
  }
}

async function versionOf(deps: AdminDeps, dbid: number): Promise<string> {
  return (await deps.members.call(dbid, 'hello', { dbid }, 3000)).version;
}
