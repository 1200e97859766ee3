/** The coordinator's parts over real engines in this process, by real sockets: commit, restart, failover, recovery, moves. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger, silentLogger } from '../../core/log.js';
import { Oid } from '../../model/storage.js';
import type { TableDef } from '../../model/table.js';
import type { Instance } from '../../model/topology.js';
import { connectRpc } from '../../rpc/client.js';
import { listenRpc } from '../../rpc/server.js';
import { socketPath } from '../../rpc/sockets.js';
import type { RpcServer } from '../../rpc/types.js';
import { createDistributed, createReference, newTable } from '../catalog/builders.js';
import { openCatalog } from '../catalog/catalog.js';
import type { Catalog, TableChange } from '../catalog/types.js';
import { openInstance } from '../executor/instance.js';
import type { InstanceEngine } from '../executor/types.js';
import { FaultTolerance } from '../ha/fts.js';
import { Members } from '../ha/members.js';
import { checkReplicas, failover, type PairDeps, recover } from '../ha/operations.js';
import { ClusterExpansion } from '../move/expansion.js';
import { ClusterLinks } from '../txn/links.js';
import { ClusterTransactions } from '../txn/manager.js';
import { locksForWrite } from '../txn/names.js';
import type { Transaction } from '../txn/types.js';
import { definitionOps } from './bootstrap.js';

const logger = process.env.TEST_LOG === undefined ? silentLogger() : createLogger({ name: 'test' });

interface Daemon {
  instance: Instance;
  engine: InstanceEngine;
  server: RpcServer;
}

class TestCluster {
  readonly daemons = new Map<number, Daemon>();
  catalog!: Catalog;
  engine!: InstanceEngine;
  links!: ClusterLinks;
  transactions!: ClusterTransactions;
  members!: Members;
  fts!: FaultTolerance;
  expansion!: ClusterExpansion;

  constructor(readonly root: string) {}

  instance(dbid: number, content: number, role: 'p' | 'm'): Instance {
    const datadir = join(this.root, `i${dbid}`);
    return {
      dbid,
      content,
      role,
      preferred_role: role,
      mode: 's',
      status: 'u',
      hostname: 'h',
      address: '127.0.0.1',
      port: 1,
      datadir,
    };
  }

  async startDaemon(instance: Instance): Promise<void> {
    const engine = await this.openEngine(instance);
    const server = await listenRpc(socketPath(instance.datadir), engine.methods, { logger });
    this.daemons.set(instance.dbid, { instance, engine, server });
  }

  async stopDaemon(dbid: number): Promise<void> {
    const daemon = this.daemons.get(dbid) as Daemon;
    this.daemons.delete(dbid);
    await daemon.server.close();
    await daemon.engine.close('immediate');
  }

  async startCoordinator(instances: Instance[]): Promise<void> {
    const own = this.instance(1, -1, 'p');
    mkdirSync(own.datadir, { recursive: true });
    this.catalog = openCatalog(own.datadir);
    const { catalog } = this;
    this.engine = await this.openEngine(own, catalog);
    const incarnation = catalog.counter('incarnation') + 1;
    const coordinator = { timeline: 1, incarnation };
    await this.engine.local.call('role', {
      stamp: { ...coordinator, contentTimeline: 1 },
      role: 'p',
      timeline: 1,
      state: 'ALONE',
      peer: null,
    });
    const raise = { kind: 'counter', key: 'incarnation', row: { name: 'incarnation', value: incarnation } } as const;
    const settings = {
      'damson.fts_probe_interval': '0.1',
      'damson.fts_probe_timeout': '2',
      'damson.fts_start_grace': '2',
      'damson.fts_mirror_stall': '2',
    };
    const first =
      catalog.instances().length === 0 ? definitionOps({ clusterId: 'test', instances: [own, ...instances], settings }) : [];
    await this.engine.state([raise, ...first]);
    this.transactions = new ClusterTransactions({ catalog, engine: this.engine, coordinator, logger, outcomeLimitMs: 20_000 });
    const connect = (instance: Instance) => connectRpc(socketPath(instance.datadir));
    this.members = new Members({ catalog, connect, coordinator });
    this.fts = new FaultTolerance({ catalog, engine: this.engine, members: this.members, logger });
    this.links = new ClusterLinks({
      catalog,
      local: this.engine.local,
      coordinator,
      connect,
      ensurePrimary: async (content) => void (await this.members.order(catalog.pair(content)?.primaryDbid ?? 0)),
      onReady: (connection, hello) => this.transactions.onReady(connection, hello),
      logger,
    });
    this.transactions.useLinks(this.links);
    this.expansion = new ClusterExpansion({
      catalog,
      engine: this.engine,
      links: this.links,
      locks: this.transactions.locks,
      logger,
    });
    this.fts.start();
  }

  async stopCoordinator(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.fts.stop();
    if (mode === 'fast') await this.transactions.close();
    await this.links.close();
    this.members.close();
    await this.engine.close(mode);
    this.catalog.close();
  }

  async stop(): Promise<void> {
    await this.stopCoordinator();
    for (const dbid of [...this.daemons.keys()]) await this.stopDaemon(dbid);
  }

  pairs(): PairDeps {
    const { catalog, engine, links, transactions, members, fts } = this;
    return { catalog, engine, links, transactions, members, fts, logger };
  }

  /** Runs a change of tables in one transaction, as dispatch does. */
  async apply(txn: Transaction, change: TableChange): Promise<void> {
    for (const part of [change.create, change.drop]) {
      for (const [content, ddl] of part) {
        const link = await txn.enlist(content);
        await link.call('write', { op: 'ddl', gid: txn.gid, ddl });
      }
    }
    txn.addCatalog(change.catalog);
  }

  async createTable(name: string, accessMethod: 'heap' | 'columnar', shardCount: number | 'reference'): Promise<TableDef> {
    const txn = this.transactions.begin();
    const columns = [
      { attnum: 1, name: 'id', typeOid: Oid.int8, typmod: -1, notNull: true },
      { attnum: 2, name: 'note', typeOid: Oid.text, typmod: -1, notNull: false },
    ];
    const created = newTable(this.catalog, {
      schema: 'public',
      name,
      owner: 'postgres',
      accessMethod,
      columns,
      uniques: [],
      indexes: [],
      needsFront: false,
    });
    await this.apply(txn, created);
    const view = this.catalog.overlay(txn.catalogOps);
    const change =
      shardCount === 'reference'
        ? createReference(this.catalog, view, created.table)
        : createDistributed(this.catalog, view, created.table, { column: 'id', shardCount });
    await this.apply(txn, change);
    await txn.commit();
    return change.table;
  }

  /** One row into each shard, in one transaction. */
  async insertEverywhere(table: TableDef, from: number): Promise<void> {
    const txn = this.transactions.begin();
    try {
      const shards = this.catalog.shards(table.tableId);
      await txn.lock(locksForWrite(table, shards, 'insert'));
      for (const shard of shards) {
        for (const content of this.catalog.placement(shard.setKey).contents) {
          const link = await txn.enlist(content);
          const rows = [[from + shard.index, `row ${from}`]];
          await link.call('write', { op: 'insert', gid: txn.gid, shardId: shard.shardId, rows });
        }
      }
      await txn.commit();
    } catch (error) {
      await txn.abort();
      throw error;
    }
  }

  async rowsOf(table: TableDef): Promise<number> {
    // Checksums are no readings of a transaction: they do not stand behind second phases that are on their way.
    await this.until('acknowledgements', () => this.transactions.outstanding().length === 0);
    let rows = 0;
    for (const shard of this.catalog.shards(table.tableId)) {
      const content = this.catalog.placement(shard.setKey).contents[0] as number;
      const { shards } = await (await this.links.of(content)).call('checksums', { barrier: null });
      rows += shards.find((one) => one.shardId === shard.shardId)?.rows ?? 0;
    }
    return rows;
  }

  async until(what: string, check: () => boolean): Promise<void> {
    const deadline = Date.now() + 20_000;
    while (!check()) {
      if (Date.now() > deadline) throw new Error(`not reached: ${what}; pairs ${JSON.stringify(this.catalog.rowsOf('pair'))}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  private openEngine(instance: Instance, catalog?: Catalog): Promise<InstanceEngine> {
    mkdirSync(instance.datadir, { recursive: true });
    const { dbid, content, hostname, address, port, datadir } = instance;
    return openInstance({
      directory: datadir,
      identity: { clusterId: 'test', dbid, content, hostname, address, port, version: '0' },
      logger,
      memoryMb: 128,
      threads: 1,
      onFatal: (error) => {
        process.stderr.write(`instance ${dbid}: ${error.stack}\n`);
      },
      ...(catalog === undefined
        ? {}
        : { onCatalog: (ops, lsn) => catalog.apply(ops, lsn), settleCatalog: (lsn) => catalog.settle(lsn) }),
    });
  }
}

describe('a cluster of real engines', () => {
  let root: string;
  let cluster: TestCluster;
  const start = async (members: [number, number, 'p' | 'm'][]) => {
    const instances = members.map(([dbid, content, role]) => cluster.instance(dbid, content, role));
    for (const instance of instances) await cluster.startDaemon(instance);
    await cluster.startCoordinator(instances);
  };
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'cl-'));
    cluster = new TestCluster(root);
  });
  afterEach(async () => {
    await cluster.stop();
    rmSync(root, { recursive: true, force: true });
  });

  it('commits over two segments, and keeps it over a restart of the coordinator', async () => {
    await start([
      [2, 0, 'p'],
      [3, 1, 'p'],
    ]);
    const heap = await cluster.createTable('h', 'heap', 4);
    const columnar = await cluster.createTable('c', 'columnar', 4);
    await cluster.insertEverywhere(heap, 100);
    await cluster.insertEverywhere(columnar, 200);
    expect([await cluster.rowsOf(heap), await cluster.rowsOf(columnar)]).toEqual([4, 4]);
    await cluster.stopCoordinator('immediate');
    await cluster.startCoordinator([]);
    expect(cluster.catalog.tables().map((table) => table.name)).toEqual(['h', 'c']);
    expect([await cluster.rowsOf(heap), await cluster.rowsOf(columnar)]).toEqual([4, 4]);
    await cluster.insertEverywhere(heap, 300);
    expect(await cluster.rowsOf(heap)).toBe(8);
  });

  it('aborts what was prepared and never decided, and sets its locks free; a segment that comes back has what was decided', async () => {
    await start([
      [2, 0, 'p'],
      [3, 1, 'p'],
    ]);
    const table = await cluster.createTable('t', 'heap', 2);
    await cluster.until('acknowledgements', () => cluster.transactions.outstanding().length === 0);
    const [shard] = cluster.catalog.shards(table.tableId);
    const doubtful = cluster.transactions.begin();
    await doubtful.lock(locksForWrite(table, cluster.catalog.shards(table.tableId), 'insert'));
    const link = await doubtful.enlist(0);
    await link.call('write', { op: 'insert', gid: doubtful.gid, shardId: shard?.shardId ?? 0, rows: [[1, 'lost']] });
    const locks = cluster.transactions.locks.heldBy(doubtful.gid);
    await link.call('prepare', { gid: doubtful.gid, participants: [0, 1], locks });
    await cluster.stopCoordinator('immediate');
    await cluster.startCoordinator([]);
    await cluster.insertEverywhere(table, 10);
    expect(await cluster.rowsOf(table)).toBe(2);
    // Both phases of the next one, with a segment that goes away between them.
    const txn = cluster.transactions.begin();
    await txn.lock(locksForWrite(table, cluster.catalog.shards(table.tableId), 'insert'));
    for (const one of cluster.catalog.shards(table.tableId)) {
      const at = await txn.enlist(cluster.catalog.placement(one.setKey).contents[0] ?? 0);
      await at.call('write', { op: 'insert', gid: txn.gid, shardId: one.shardId, rows: [[20 + one.index, 'kept']] });
    }
    txn.onDecided(() => cluster.stopDaemon(3));
    await txn.commit();
    await cluster.startDaemon(cluster.instance(3, 1, 'p'));
    expect(await cluster.rowsOf(table)).toBe(4);
    expect(cluster.transactions.locks.heldBy(txn.gid)).toEqual([]);
  });

  it('fails over, recovers the old primary, and switches back as planned', async () => {
    await start([
      [2, 0, 'p'],
      [3, 0, 'm'],
    ]);
    const table = await cluster.createTable('t', 'heap', 2);
    await cluster.insertEverywhere(table, 0);
    await cluster.stopDaemon(2);
    await cluster.until('promotion', () => cluster.catalog.pair(0)?.primaryDbid === 3);
    expect(cluster.catalog.instance(2)).toMatchObject({ role: 'm', status: 'd', mode: 'n' });
    await cluster.insertEverywhere(table, 10);
    expect(await cluster.rowsOf(table)).toBe(4);
    await cluster.startDaemon(cluster.instance(2, 0, 'p'));
    const done = await recover(cluster.pairs(), {}, () => undefined, new AbortController().signal);
    expect(done).toEqual({ recovered: [2], failed: [] });
    await cluster.insertEverywhere(table, 20);
    const check = await checkReplicas(cluster.pairs(), () => undefined);
    expect(check).toMatchObject({ compared: [0], differences: [] });
    await failover(cluster.pairs(), 0);
    await cluster.until('in sync again', () => cluster.catalog.pair(0)?.state === 'IN_SYNC');
    expect(cluster.catalog.primaryOf(0)?.dbid).toBe(2);
    await cluster.insertEverywhere(table, 30);
    expect(await cluster.rowsOf(table)).toBe(8);
    expect(
      cluster.catalog.rowsOf('history').some((entry) => entry.desc.startsWith('FTS: update role, status, and mode for dbid 2')),
    ).toBe(true);
  });

  it('expands to new segments while rows are written, and loses none', async () => {
    await start([
      [2, 0, 'p'],
      [3, 1, 'p'],
    ]);
    const tables = [await cluster.createTable('h', 'heap', 8), await cluster.createTable('c', 'columnar', 8)];
    const reference = await cluster.createTable('r', 'heap', 'reference');
    for (const table of [...tables, reference]) await cluster.insertEverywhere(table, 0);
    const added = [cluster.instance(4, 2, 'p'), cluster.instance(5, 3, 'p')];
    for (const instance of added) await cluster.startDaemon(instance);
    const ready = await cluster.expansion.add(added, () => undefined);
    expect(ready.expansion?.status).toBe('SETUP DONE');
    expect(cluster.catalog.placement('c1_0').contents).toEqual([-1, 0, 1, 2, 3]);
    let writing = true;
    let rounds = 1;
    const writer = (async () => {
      while (writing) {
        for (const table of tables) await cluster.insertEverywhere(table, rounds * 100);
        rounds += 1;
        // A client that thinks for a moment: one that always holds every lock would let a move in only by luck.
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    })();
    const { report, reason } = await cluster.expansion.run({ parallel: 2 }, () => undefined, new AbortController().signal);
    writing = false;
    await writer;
    expect(reason).toBe('done');
    expect(report.tables.map((table) => table.status)).toEqual(['COMPLETED', 'COMPLETED']);
    expect([0, 1, 2, 3].map((content) => cluster.catalog.setsOfContent(content).filter((set) => set !== 'c1_0').length)).toEqual([
      2, 2, 2, 2,
    ]);
    for (const table of tables) expect(await cluster.rowsOf(table)).toBe(8 * rounds);
    await cluster.expansion.finish();
    expect(cluster.catalog.rowsOf('move')).toEqual([]);
  });
});
