/** The daemon of the coordinator: composes catalog, engine, transactions, links, front, sessions and administration. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DamsonError } from '../../core/errors.js';
import { readJson, writeFileAtomic } from '../../core/files.js';
import { createLogger, type Logger } from '../../core/log.js';
import { COORDINATOR_CONTENT, type Instance, type InstanceIdentity } from '../../model/topology.js';
import { connectRpc } from '../../rpc/client.js';
import { listenRpc } from '../../rpc/server.js';
import { socketPath } from '../../rpc/sockets.js';
import type { RpcServer } from '../../rpc/types.js';
import { openCatalog } from '../catalog/catalog.js';
import { CatalogRefresher } from '../catalog/refresh.js';
import type { Catalog } from '../catalog/types.js';
import { openInstance } from '../executor/instance.js';
import type { InstanceEngine } from '../executor/types.js';
import { openFront } from '../front/front.js';
import type { Front } from '../front/types.js';
import { FaultTolerance } from '../ha/fts.js';
import { Members } from '../ha/members.js';
import { ClusterExpansion } from '../move/expansion.js';
import { sweepOrphans } from '../move/orphans.js';
import { createSessionHandler, type SessionHandler } from '../session/handler.js';
import type { ClusterState } from '../session/types.js';
import { ClusterLinks } from '../txn/links.js';
import { ClusterTransactions } from '../txn/manager.js';
import { authenticateBy } from '../wire/auth.js';
import { listenWire, type WireServer } from '../wire/server.js';
import { adminHandlers } from './admin.js';
import { bootstrapOps, SettingName } from './bootstrap.js';
import { announce, instanceShare, readIdentity } from './identity.js';
import { LiveFactSource } from './live-facts.js';
import { type DirectoryLock, lockDirectory } from './lock-file.js';
import { durableSequences } from './sequences.js';
import { warmFront } from './warm.js';

export type StopMode = 'smart' | 'fast' | 'immediate';

export interface RunningCoordinator {
  readonly port: number;
  stop(mode: StopMode): Promise<void>;
  /** Resolves when it has ended, however. */
  readonly ended: Promise<void>;
}

/** Kept beside the catalog for tools, for when the coordinator does not run. */
const INSTANCES_FILE = 'gpsegconfig_dump';
const SMART_WAIT_MS = 100;

/** Starts the coordinator of a data directory; the first start takes its cluster from `cluster.json`. */
export async function startCoordinator(datadir: string): Promise<RunningCoordinator> {
  const identity = readIdentity(datadir);
  const lock = lockDirectory(datadir);
  const undo: (() => Promise<unknown> | unknown)[] = [() => lock.release()];
  try {
    return await new CoordinatorStart(datadir, identity, lock, undo).open();
  } catch (error) {
    for (const step of undo.reverse()) await Promise.resolve(step()).catch(() => undefined);
    throw error;
  }
}

/** The whole life of the process. */
export async function runCoordinator(datadir: string): Promise<void> {
  const coordinator = await startCoordinator(datadir);
  const stopBy = (mode: StopMode) => () => {
    coordinator.stop(mode).catch((error: unknown) => {
      process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 2;
    });
  };
  process.on('SIGTERM', stopBy('fast'));
  process.on('SIGINT', stopBy('fast'));
  process.on('SIGQUIT', stopBy('immediate'));
  await coordinator.ended;
  process.exit();
}

/** Everything that is open while it runs. */
interface Parts {
  logger: Logger;
  lock: DirectoryLock;
  catalog: Catalog;
  engine: InstanceEngine;
  transactions: ClusterTransactions;
  links: ClusterLinks;
  members: Members;
  fts: FaultTolerance;
  expansion: ClusterExpansion;
  front: Front;
  refresher: CatalogRefresher;
  sessions: SessionHandler;
  wire: WireServer;
  admin: RpcServer;
}

class CoordinatorStart {
  private readonly logger: Logger;
  private state: ClusterState = 'starting';
  private readonly startedMs = Date.now();
  private parts: Parts | null = null;
  private stopping: Promise<void> | null = null;
  private hurried = false;
  private onEnded: () => void = () => undefined;
  private readonly ended = new Promise<void>((resolve) => {
    this.onEnded = resolve;
  });

  constructor(
    private readonly datadir: string,
    private readonly identity: InstanceIdentity,
    private readonly lock: DirectoryLock,
    private readonly undo: (() => Promise<unknown> | unknown)[],
  ) {
    mkdirSync(join(datadir, 'log'), { recursive: true });
    this.logger = createLogger({ name: 'coordinator', file: join(datadir, 'log', 'damsond.log') });
  }

  async open(): Promise<RunningCoordinator> {
    const { logger, datadir } = this;
    const catalog = openCatalog(datadir);
    this.undo.push(() => catalog.close());
    const engine = await this.openEngine(catalog);
    this.undo.push(() => engine.close('fast'));
    const coordinator = await this.begin(catalog, engine);
    this.keepInstancesFile(catalog);

    const transactions = new ClusterTransactions({ catalog, engine, coordinator, logger });
    const connect = (instance: Instance) =>
      connectRpc(socketPath(instance.datadir), { timeoutMs: 5000, name: `instance ${instance.dbid}` });
    const members = new Members({ catalog, connect, coordinator });
    const fts = new FaultTolerance({ catalog, engine, members, logger });
    const links = new ClusterLinks({
      catalog,
      local: engine.local,
      coordinator,
      connect,
      ensurePrimary: async (content) => {
        const pair = catalog.pair(content);
        if (pair !== undefined) await members.order(pair.primaryDbid);
      },
      onReady: (connection, hello) => {
        transactions.onReady(connection, hello);
        const orphans = { catalog, links, locks: transactions.locks, logger };
        sweepOrphans(orphans, connection.content, hello.sets).catch((error) =>
          logger.warn({ content: connection.content, err: error }, 'sets that belong to nobody were not swept'),
        );
      },
      logger,
    });
    transactions.useLinks(links);
    this.undo.push(
      () => members.close(),
      () => links.close(),
      () => fts.stop(),
    );
    fts.start();

    let refresher: CatalogRefresher | null = null;
    const opened = await this.openFront(catalog, () => refresher?.markAll());
    this.undo.push(() => opened.close());
    const front = await durableSequences(opened, catalog, engine);
    const database = catalog.setting(SettingName.database) ?? 'postgres';
    const live = new LiveFactSource({ catalog, links, fts, database });
    refresher = new CatalogRefresher({ catalog, front, facts: () => live.facts(), logger });

    const expansion = new ClusterExpansion({ catalog, engine, links, locks: transactions.locks, logger });
    const sessions = await this.openSessions({ catalog, engine, transactions, links, front, refresher, expansion, database });
    const wire = await this.listen(catalog, sessions);
    this.undo.push(() => wire.close());
    const admin = await listenRpc(
      socketPath(datadir),
      adminHandlers({
        catalog,
        engine,
        links,
        transactions,
        members,
        fts,
        expansion,
        coordinator,
        logger,
        version: this.identity.version,
        startedAt: new Date(this.startedMs).toISOString(),
        sessions: () => sessions.count,
        front: () => front.rssNote(),
        // The answer goes out first.
        stop: (mode) => void setTimeout(() => void this.stop(mode), 20),
        reload: () => this.reload(catalog, engine),
      }),
      { logger },
    );
    this.parts = {
      logger,
      lock: this.lock,
      catalog,
      engine,
      transactions,
      links,
      members,
      fts,
      expansion,
      front,
      refresher,
      sessions,
      wire,
      admin,
    };
    this.state = 'up';
    announce(datadir, wire.port);
    logger.info({ port: wire.port, pid: process.pid, ...coordinator }, 'the cluster takes clients');
    warmFront(front, logger);
    return { port: wire.port, stop: (mode) => this.stop(mode), ended: this.ended };
  }

  private openEngine(catalog: Catalog): Promise<InstanceEngine> {
    return openInstance({
      directory: this.datadir,
      identity: this.identity,
      logger: this.logger,
      ...instanceShare(this.datadir),
      onCatalog: (ops, lsn) => catalog.apply(ops, lsn),
      settleCatalog: (lsn) => catalog.settle(lsn),
      onFatal: (error) => {
        this.logger.fatal({ err: error }, 'the coordinator cannot go on; it replays its log when it starts again');
        process.exit(3);
      },
    });
  }

  /** Takes its own role, raises the incarnation durably, and makes the catalog of a new cluster. */
  private async begin(catalog: Catalog, engine: InstanceEngine): Promise<{ timeline: number; incarnation: number }> {
    const timeline = catalog.pair(COORDINATOR_CONTENT)?.timeline ?? 1;
    const incarnation = catalog.counter('incarnation') + 1;
    const stamp = { timeline, incarnation, contentTimeline: timeline };
    await engine.local.call('role', { stamp, role: 'p', timeline, state: 'ALONE', peer: null });
    // The log is applied now: what the catalog file had missed is in.
    const raised = Math.max(incarnation, catalog.counter('incarnation') + 1);
    await engine.state([
      { kind: 'counter', key: 'incarnation', row: { name: 'incarnation', value: raised } },
      ...bootstrapOps(catalog, this.datadir),
    ]);
    return { timeline, incarnation: raised };
  }

  private keepInstancesFile(catalog: Catalog): void {
    const write = () => writeFileAtomic(join(this.datadir, INSTANCES_FILE), `${JSON.stringify(catalog.instances(), null, 2)}\n`);
    write();
    catalog.onChange((kinds) => {
      if (kinds.has('instance')) write();
    });
  }

  /** The template brought up to the DDL journal, and its relations matched to our tables. */
  private async openFront(catalog: Catalog, onRebuilt: () => void): Promise<Front> {
    const front = await openFront({
      templatePath: templatePath(),
      logger: this.logger,
      onRebuilt: () => {
        bindOids(catalog, front).catch((error) =>
          this.logger.error({ err: error }, 'tables of the rebuilt front could not be matched'),
        );
        onRebuilt();
      },
    });
    const journal = catalog.rowsOf('ddl').sort((a, b) => a.seq - b.seq);
    for (const entry of journal) await front.replay(entry.sql, entry.role, entry.searchPath);
    await bindOids(catalog, front);
    return front;
  }

  private openSessions(parts: {
    catalog: Catalog;
    engine: InstanceEngine;
    transactions: ClusterTransactions;
    links: ClusterLinks;
    front: Front;
    refresher: CatalogRefresher;
    expansion: ClusterExpansion;
    database: string;
  }): Promise<SessionHandler> {
    const { catalog, engine, transactions, links, front, refresher, expansion, database } = parts;
    const tempDir = join(this.datadir, 'tmp', 'sessions');
    rmSync(tempDir, { recursive: true, force: true });
    mkdirSync(tempDir, { recursive: true });
    return createSessionHandler({
      front,
      catalog,
      transactions,
      links,
      logger: this.logger,
      relations: refresher,
      expansion,
      nextRid: (shardId) => engine.nextRid(shardId),
      tempDir,
      duckdb: instanceShare(this.datadir),
      cluster: {
        database,
        adminRole: catalog.setting(SettingName.admin) ?? 'postgres',
        version: this.identity.version,
        startedMs: this.startedMs,
        state: () => this.state,
      },
    });
  }

  private async listen(catalog: Catalog, sessions: SessionHandler): Promise<WireServer> {
    const { address, port } = this.identity;
    const trust = catalog.setting(SettingName.trust) === 'on';
    const rules = (startup: { address: string }) =>
      trust && isLoopback(startup.address) ? ({ method: 'trust' } as const) : undefined;
    try {
      return await listenWire({
        host: address,
        port,
        logger: this.logger,
        authenticate: authenticateBy(rules, serverSecret(this.datadir)),
        onSession: (startup, connection) => sessions.onSession(startup, connection),
        onCancel: (connection) => sessions.onCancel(connection),
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      throw new DamsonError(`port ${port} of ${address} is in use by another process`, {
        hint: 'Stop that process, or give the coordinator another port.',
        cause: error,
      });
    }
  }

  /** Settings of `settings.json` become settings of the cluster; returns the names of those that changed. */
  private async reload(catalog: Catalog, engine: InstanceEngine): Promise<string[]> {
    const wanted = readJson<Record<string, string>>(join(this.datadir, 'settings.json')) ?? {};
    const changed = Object.entries(wanted).filter(([name, value]) => catalog.setting(name) !== value);
    if (changed.length > 0)
      await engine.state(changed.map(([name, value]) => ({ kind: 'setting', key: name, row: { name, value } })));
    return changed.map(([name]) => name);
  }

  private stop(mode: StopMode): Promise<void> {
    // A smart stop that waits for sessions can be hurried.
    if (mode !== 'smart') this.hurried = true;
    this.stopping ??= this.stopOnce(mode).finally(() => this.onEnded());
    return this.stopping;
  }

  private async stopOnce(mode: StopMode): Promise<void> {
    const { parts } = this;
    if (parts === null) return;
    this.state = 'stopping';
    parts.logger.info({ mode }, 'stopping');
    if (mode === 'immediate') return this.leave(parts, 'immediate');
    await parts.wire.stopListening();
    while (!this.hurried && parts.sessions.count > 0) await new Promise((resolve) => setTimeout(resolve, SMART_WAIT_MS));
    await parts.wire.close();
    await parts.sessions.close();
    await parts.expansion.stop();
    await parts.fts.stop();
    await parts.transactions.close();
    await this.leave(parts, 'fast');
  }

  private async leave(parts: Parts, mode: 'fast' | 'immediate'): Promise<void> {
    await parts.admin.close();
    await parts.links.close();
    parts.members.close();
    parts.refresher.close();
    if (mode === 'fast') await parts.front.close();
    await parts.engine.close(mode);
    parts.catalog.close();
    rmSync(join(this.datadir, 'damsond.pid'), { force: true });
    parts.lock.release();
    parts.logger.info('stopped');
  }
}

/** By name: OIDs of a rebuilt front are others. */
async function bindOids(catalog: Catalog, front: Front): Promise<void> {
  const relations = await front.tables();
  const oids = new Map(relations.map((relation) => [JSON.stringify([relation.schema, relation.name]), relation.oid]));
  for (const table of catalog.tables()) {
    const oid = oids.get(JSON.stringify([table.schema, table.name]));
    if (oid === undefined)
      throw new DamsonError(`table ${table.schema}.${table.name} is not in the front after the DDL journal was replayed`);
    catalog.bindOid(table.tableId, oid);
  }
}

/** Built beside the front; from the sources it is found in dist. */
function templatePath(): string {
  const built = fileURLToPath(new URL('../front/template.tar.gz', import.meta.url));
  return existsSync(built) ? built : fileURLToPath(new URL('../../../dist/engine/front/template.tar.gz', import.meta.url));
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.');
}

/** Random bytes of this cluster, made at the first start. */
function serverSecret(datadir: string): Buffer {
  const path = join(datadir, 'server.secret');
  if (!existsSync(path)) writeFileAtomic(path, crypto.getRandomValues(new Uint8Array(32)));
  return readFileSync(path);
}
