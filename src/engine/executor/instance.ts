/** One instance's engine: composes log, stores, transactions, replication and moves behind the calls of SegmentMethods. */
import { join } from 'node:path';
import { internalError } from '../../core/errors.js';
import type { LockName } from '../../model/log.js';
import { type HeapValue, storageOf } from '../../model/storage.js';
import type { ShardDef } from '../../model/table.js';
import type { CoordinatorStamp, CopyPart, CopyResult, QuickRead, SegmentMethods, WriteResult } from '../../model/task.js';
import { localLink } from '../../rpc/local.js';
import type { CallContext, Handlers } from '../../rpc/types.js';
import { openChangeLog } from '../changelog/changelog.js';
import { fromLogValue } from '../store/rows-batch.js';
import { openStores } from '../store/stores.js';
import { Checkpoints, LOG_FILE_BYTES } from './checkpoint.js';
import { Commits } from './commits.js';
import type { Core, InstanceOptions } from './core.js';
import { FragmentRunner } from './fragments.js';
import { LoggedBatches } from './logged-batches.js';
import { runModify } from './modify.js';
import { MoveTarget } from './move-target.js';
import { MoveSource } from './moves.js';
import { Publisher } from './publisher.js';
import { QuickReads } from './quick.js';
import { RecordApplier } from './records.js';
import { Barriers, checksumsOf, logBarrier, sizesOf } from './reports.js';
import { Roles } from './roles.js';
import { Stamps } from './stamps.js';
import { Transactions } from './transactions.js';
import type { InstanceEngine } from './types.js';

export type { InstanceOptions } from './core.js';

type In<M extends keyof SegmentMethods> = SegmentMethods[M]['in'];
type Out<M extends keyof SegmentMethods> = SegmentMethods[M]['out'];
type MethodHandlers = {
  [M in keyof SegmentMethods]?: (body: In<M>, context: CallContext) => Out<M> | Promise<Out<M>>;
};

const ALL_COLUMNAR = { heapSets: [], columnar: true };
/** Disk that is kept back for what is decided already, bytes. */
const RESERVE_BYTES = 4 * 1024 * 1024;
/** The same for the stores, which take what is decided; less where files of the log are small. */
const MIN_FREE_BYTES = 64 * 1024 * 1024;
const KEPT_FREE_FILES = 16;

/** Opens log and stores, reads what is safe, and waits for the coordinator's `role` order. */
export async function openInstance(options: InstanceOptions): Promise<InstanceEngine> {
  const { directory, logger } = options;
  const onFatal = once(options.onFatal);
  const { logFileBytes } = options;
  const log = await openChangeLog({
    directory: join(directory, 'changelog'),
    logger,
    minFreeBytes: Math.min(MIN_FREE_BYTES, KEPT_FREE_FILES * (logFileBytes ?? LOG_FILE_BYTES)),
    ...(logFileBytes === undefined ? {} : { segmentBytes: logFileBytes, reserveBytes: Math.min(logFileBytes, RESERVE_BYTES) }),
  });
  const batches = new LoggedBatches(log);
  const stores = await openStores({
    directory,
    files: batches.files(),
    logger,
    memoryMb: options.memoryMb,
    threads: options.threads,
    onFatal,
  });
  const engine = new Instance({ ...options, onFatal }, log, stores, batches);
  engine.begin();
  return engine;
}

function once(onFatal: (error: Error) => void): (error: unknown) => void {
  let called = false;
  return (error) => {
    if (called) return;
    called = true;
    onFatal(error instanceof Error ? error : new Error(String(error)));
  };
}

class Instance implements InstanceEngine {
  readonly methods: Handlers;
  readonly local: InstanceEngine['local'];
  readonly decide: Commits['decide'];
  readonly state: Commits['state'];
  private readonly core: Core;
  private readonly publisher: Publisher;
  private readonly transactions: Transactions;
  private readonly applier: RecordApplier;
  private readonly barriers: Barriers;
  private readonly checkpoints: Checkpoints;
  private readonly roles: Roles;
  private readonly stamps: Stamps;
  private readonly commits: Commits;
  private readonly runner: FragmentRunner;
  private readonly quickReads: QuickReads;
  private readonly link: ReturnType<typeof localLink>;
  private closing: Promise<void> | null = null;

  constructor(
    options: InstanceOptions,
    private readonly log: Core['log'],
    private readonly stores: Core['stores'],
    batches: LoggedBatches,
  ) {
    this.publisher = new Publisher(log, options.onFatal, (lsn) => stores.passed(lsn));
    this.transactions = new Transactions(stores, options.logger);
    this.core = {
      options,
      log,
      stores,
      publisher: this.publisher,
      transactions: this.transactions,
      batches,
      shipBatches: (refs) => this.roles.shipBatches(refs),
    };
    this.barriers = new Barriers(stores);
    this.applier = new RecordApplier(log, stores, this.transactions, {
      onCatalog: (ops, lsn) => options.onCatalog?.(ops, lsn),
      onBarrier: (id) => this.barriers.reach(id),
      onCheckpoint: (lsn) => this.checkpoints.passed(lsn),
      onFatal: options.onFatal,
    });
    this.roles = new Roles(this.core, this.applier);
    this.checkpoints = new Checkpoints(this.core, () => this.roles.serving);
    this.stamps = new Stamps(options.directory, () => {
      void this.transactions.abortWhere(() => true);
    });
    this.commits = new Commits(this.core);
    this.runner = new FragmentRunner(stores, this.publisher, this.transactions);
    this.quickReads = new QuickReads(stores, this.publisher);
    this.decide = this.commits.decide.bind(this.commits);
    this.state = this.commits.state.bind(this.commits);
    this.methods = { ...this.guarded(), ...this.roles.handlers() };
    this.link = localLink(this.methods);
    this.local = this.link;
  }

  begin(): void {
    this.roles.begin();
  }

  nextRid(shardId: number): number {
    return this.stores.nextRid(shardId);
  }

  forget(gid: string): void {
    this.transactions.forget([gid]);
    this.log.append({ k: 'FORGET', gid });
  }

  close(mode: 'fast' | 'immediate'): Promise<void> {
    this.closing ??= this.closeOnce(mode);
    return this.closing;
  }

  private async closeOnce(mode: 'fast' | 'immediate'): Promise<void> {
    this.link.close();
    this.checkpoints.close();
    await this.roles.close();
    if (mode === 'fast') await this.publisher.settled();
    await this.publisher.drop(internalError('the instance is stopping'));
    await this.transactions.abandon();
    await this.stores.close();
    await this.log.close();
  }

  /** Every call is fenced by its stamp; those that touch rows need a primary that serves. */
  private guarded(): Handlers {
    const handlers: Handlers = {};
    const serve = (methods: MethodHandlers, serving: boolean): void => {
      for (const [name, handler] of Object.entries(methods)) {
        handlers[name] = (body: { stamp: CoordinatorStamp }, context: CallContext) => {
          this.stamps.check(body.stamp);
          if (serving) this.roles.checkServing(body.stamp);
          return (handler as (body: unknown, context: CallContext) => unknown)(body, context);
        };
      }
    };
    serve(this.rowMethods(), true);
    serve(this.moveMethods(), true);
    serve(this.reportMethods(), false);
    handlers['quick'] = (body: QuickRead, context: CallContext) => this.quick(body, context);
    return handlers;
  }

  /** A known read, fenced as every call. */
  private quick(body: QuickRead, context: CallContext): Out<'quick'> {
    const [timeline, incarnation, contentTimeline, id, shards, params] = body;
    const stamp: CoordinatorStamp = { timeline, incarnation, contentTimeline };
    this.stamps.check(stamp);
    this.roles.checkServing(stamp);
    return this.quickReads.run(context.connection, id, shards, params);
  }

  private rowMethods(): MethodHandlers {
    const { commits } = this;
    return {
      run: (body, context) => this.runner.run(body, context),
      know: ({ id, fragment, formats, session }, context) => {
        this.quickReads.know(context.connection, id, { fragment, formats, session });
        return {};
      },
      write: (body, context) => this.write(body, context),
      copy: (body, context) => this.copy(body, context),
      prepare: ({ gid, participants, locks }) => commits.prepare(gid, participants, locks),
      commit1: ({ gid, locks }) => commits.commit1(gid, locks),
      commit2: ({ gid }) => commits.commit2(gid),
      abort: ({ gid }) => commits.abort(gid).then(() => ({})),
      outcome: ({ gid }) => commits.outcome(gid),
      forget: ({ gids }) => {
        this.transactions.forget(gids);
        return {};
      },
      barrier: ({ id }) => logBarrier(this.core, this.barriers, id),
      sizes: () => sizesOf(this.core),
    };
  }

  private moveMethods(): MethodHandlers {
    const source = new MoveSource(this.core);
    const target = new MoveTarget(this.core);
    return {
      moveCopy: (body, context) => source.copy(body, context),
      moveTail: (body, context) => source.tail(body, context),
      moveEnd: (body) => source.end(body),
      dropSet: (body) => source.dropSet(body),
      moveLoad: (body, context) => target.load(body, context),
      moveApply: (body, context) => target.apply(body, context),
      moveState: ({ setKey }) => ({ src: this.stores.moveSource(setKey)?.lsn ?? null }),
    };
  }

  private reportMethods(): MethodHandlers {
    return {
      hello: ({ dbid }) => this.roles.hello(dbid),
      role: (order) => this.roles.order(order),
      probe: () => this.roles.probe(),
      checksums: ({ barrier }) => checksumsOf(this.core, this.barriers, barrier),
    };
  }

  private async write(task: In<'write'>, context: CallContext): Promise<WriteResult> {
    this.transactions.checkRestoredLocks(this.locksOf(task));
    const txn = this.transactions.begin(task.gid, context.connection);
    return txn.write(async () => {
      switch (task.op) {
        case 'insert':
          this.log.refuseFull();
          return {
            rows: await txn.store.insert(task.shardId, asStored(txn.shard(this.stores, task.shardId), task.rows), task.firstRid),
          };
        case 'modify':
          if (task.fragment.op === 'update') this.log.refuseFull();
          // Lock W is given beside an insert whose COMMIT has been sent, so its rows must be waited for as a reading does.
          if (task.fragment.engine === 'duckdb') await this.publisher.reading(ALL_COLUMNAR, async () => undefined);
          return runModify((shardId) => txn.shard(this.stores, shardId), txn.store, task);
        case 'ddl':
          await txn.store.ddl(task.ddl);
          txn.noteDdl(task.ddl);
          return { rows: 0 };
      }
    });
  }

  /** Locks that the coordinator must hold for this write. */
  private locksOf(task: In<'write'>): LockName[] {
    if (task.op === 'insert') return [this.lockOf(task.shardId, 'A')];
    if (task.op === 'modify') return task.shards.map((shardId) => this.lockOf(shardId, 'W'));
    return task.ddl.flatMap((one): LockName[] => {
      if (one.op === 'createShard') return [{ name: `table:${one.shard.tableId}`, mode: 'X' }];
      if (one.op === 'dropSet' || !this.stores.hasShard(one.shardId)) return [];
      return [{ name: `table:${this.stores.shard(one.shardId).tableId}`, mode: 'X' }];
    });
  }

  private lockOf(shardId: number, mode: 'A' | 'W'): LockName {
    // A shard that this transaction makes is in no lock of anybody else.
    if (!this.stores.hasShard(shardId)) return { name: `shard:${shardId}`, mode };
    const shard = this.stores.shard(shardId);
    if (shard.accessMethod === 'heap') return { name: `set:${shard.setKey}`, mode: 'X' };
    return { name: `shard:${shardId}`, mode };
  }

  private async copy(body: In<'copy'>, context: CallContext): Promise<CopyResult> {
    const txn = this.transactions.begin(body.gid, context.connection);
    return txn.write(async () => {
      let rows = 0;
      let next = body.firstRid;
      for await (const part of context.parts as AsyncIterable<CopyPart>) {
        this.log.refuseFull();
        this.transactions.checkRestoredLocks([this.lockOf(part.shardId, 'A')]);
        await txn.store.insertCsv(part.shardId, part.csv, part.rows, next);
        rows += part.rows;
        if (next !== undefined) next += part.rows;
      }
      return { rows };
    });
  }
}

/** Values of an insert as the stores take them. */
function asStored(shard: ShardDef, rows: HeapValue[][]): HeapValue[][] {
  const floats = shard.columns.flatMap(({ typeOid, typmod }, i) => (storageOf(typeOid, typmod).class === 'float' ? [i] : []));
  for (const row of rows) for (const i of floats) row[i] = fromLogValue(row[i]!);
  return rows;
}
