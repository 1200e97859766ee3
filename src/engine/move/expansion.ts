import { DamsonError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { AdminProgress, ExpandRunOptions, ExpansionReport } from '../../model/admin.js';
import type { CatalogOp, Move } from '../../model/catalog.js';
import { REFERENCE_COLOCATION_ID, setKeyOf, type TableDef } from '../../model/table.js';
import { COORDINATOR_CONTENT, type Instance, type Pair } from '../../model/topology.js';
import type { Catalog } from '../catalog/types.js';
import type { InstanceEngine } from '../executor/types.js';
import { historyOp } from '../ha/changes.js';
import type { LockManager } from '../txn/lock-manager.js';
import { placeLock } from '../txn/names.js';
import type { Links } from '../txn/types.js';
import type { PlannedMove } from './balance.js';
import { type MoverDeps, releasePin, runMove } from './mover.js';
import { sweepOrphans } from './orphans.js';
import {
  EXPANSION_KEY,
  expansionOf,
  expansionOp,
  FIRST_RANK,
  finishedTables,
  orderOfMoves,
  pendingMoves,
  queueOp,
  reportOf,
  tablesOfSet,
} from './queue.js';
import { RateLimiter } from './rate.js';

export interface ExpansionDeps {
  catalog: Catalog;
  engine: Pick<InstanceEngine, 'state'>;
  links: Links;
  locks: LockManager;
  logger: Logger;
}

const MIRROR_WAIT_MS = 120_000;
const MIRROR_POLL_MS = 50;

export type Tell = (progress: AdminProgress) => void;
export type RunEnd = 'done' | 'stopped' | 'time' | 'failed';

/** Expansion of the cluster onto new segments: registration, queue, redistribution, and the way back. */
export class ClusterExpansion {
  private sizes = new Map<string, number>();
  private readonly arrived = new Map<string, number>();
  private running: { stop: AbortController; end: Promise<unknown> } | null = null;

  constructor(private readonly deps: ExpansionDeps) {}

  report(): ExpansionReport {
    const facts = {
      running: this.running !== null,
      bytesOf: (setKey: string) => this.sizes.get(setKey) ?? 0,
      arrived: this.arrived,
    };
    return reportOf(this.deps.catalog, facts);
  }

  /** Registers segments whose daemons run. With the same instances again it goes on where it stopped. */
  async add(instances: Instance[], tell: Tell): Promise<ExpansionReport> {
    const { catalog, engine } = this.deps;
    const before = expansionOf(catalog);
    const contents = [...new Set(instances.map((instance) => instance.content))].sort((a, b) => a - b);
    if (before === undefined || before.status === 'EXPANSION COMPLETE') {
      checkNew(catalog, instances);
      const ops = instances.flatMap((instance) => registration(instance));
      await engine.state([...ops, ...pairsOf(instances), expansionOp(undefined, 'SETUP', { contents })]);
      tell({ message: `registered ${instances.length} instances of ${contents.length} segments` });
    } else if (before.status !== 'SETUP' || before.contents.join() !== contents.join()) {
      throw new DamsonError('an expansion is in progress', {
        hint: '`damson expand status` shows it; `damson expand finish` or `rollback` ends it.',
      });
    }
    for (const content of contents) await this.makeNode(content, tell);
    await this.untilMirrored(contents, tell);
    await this.measure();
    const tables = catalog.tables().filter(isSpread);
    const entries = tables.map((table) => queueOp(this.entryOf(table)));
    await engine.state([...entries, expansionOp(expansionOf(catalog), 'SETUP DONE')]);
    tell({ message: `${tables.length} tables wait for redistribution` });
    return this.report();
  }

  /** Moves sets until all stand as the balance wants, or it is stopped, or time is up. */
  async run(options: ExpandRunOptions, tell: Tell, signal: AbortSignal): Promise<{ report: ExpansionReport; reason: RunEnd }> {
    const expansion = expansionOf(this.deps.catalog);
    if (expansion === undefined || expansion.status === 'SETUP') {
      throw new DamsonError('there is no expansion to run', { hint: 'Add segments first: damson expand add -i FILE.' });
    }
    if (this.running !== null)
      throw new DamsonError('redistribution is running already', { hint: 'damson expand stop ends it.' });
    const stop = new AbortController();
    const onAbort = () => stop.abort(new Stopped('stopped'));
    signal.addEventListener('abort', onAbort, { once: true });
    const timer = timerFor(options, stop);
    const work = this.redistribute(options, tell, stop.signal);
    this.running = { stop, end: work.catch(() => undefined) };
    try {
      const reason = await work;
      await this.close(reason);
      this.running = null;
      return { report: this.report(), reason };
    } finally {
      this.running = null;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  async stop(): Promise<{ wasRunning: boolean }> {
    if (this.running === null) return { wasRunning: false };
    this.running.stop.abort(new Stopped('stopped'));
    await this.running.end;
    return { wasRunning: true };
  }

  /** Ranks by tables' ids, at once for the next move that is picked. */
  async setRanks(ranks: { tableId: number; rank: number }[]): Promise<void> {
    const { catalog, engine } = this.deps;
    const ops = ranks.flatMap(({ tableId, rank }) => {
      const entry = catalog.row('queue', String(tableId));
      return entry === undefined || entry.rank === rank ? [] : [queueOp({ ...entry, rank })];
    });
    if (ops.length > 0) await engine.state(ops);
  }

  async rank(
    request: { table: string; rank: number } | { by: 'size' | 'use' },
  ): Promise<{ changed: { table: string; rank: number }[] }> {
    const { catalog } = this.deps;
    const entries = catalog.rowsOf('queue');
    if (entries.length === 0)
      throw new DamsonError('no table waits for redistribution', { hint: 'Add segments first: damson expand add -i FILE.' });
    let ranks: { tableId: number; rank: number }[];
    if ('by' in request) {
      if (request.by !== 'size') {
        throw new DamsonError('tables cannot be ranked by use: their use is not counted', {
          hint: 'Rank by size, or table by table.',
        });
      }
      const order = [...entries].sort((a, b) => a.sourceBytes - b.sourceBytes || a.tableId - b.tableId);
      ranks = order.map((entry, i) => ({ tableId: entry.tableId, rank: i + 1 }));
    } else {
      ranks = [{ tableId: this.queuedTable(request.table), rank: checkRank(request.rank) }];
    }
    await this.setRanks(ranks);
    const nameOf = (tableId: number) => nameOfTable(catalog.table(tableId)) ?? String(tableId);
    return { changed: ranks.map(({ tableId, rank }) => ({ table: nameOf(tableId), rank })) };
  }

  /** Closes a finished expansion: its rows go. */
  async finish(): Promise<void> {
    const { catalog, engine } = this.deps;
    if (expansionOf(catalog) === undefined)
      throw new DamsonError('there is no expansion to finish', { exitCode: 1, hint: 'Begin one: damson expand plan.' });
    const left = this.report();
    if (this.running !== null || left.tablesLeft + left.tablesInProgress > 0) {
      throw new DamsonError(`${left.tablesLeft + left.tablesInProgress} tables are not redistributed yet`, {
        hint: 'Run damson expand run until it is done.',
      });
    }
    await engine.state([
      ...catalog.rowsOf('queue').map((entry): CatalogOp => ({ kind: 'queue', key: String(entry.tableId), row: null })),
      ...catalog.rowsOf('move').map((move): CatalogOp => ({ kind: 'move', key: move.moveId, row: null })),
      { kind: 'expansion', key: EXPANSION_KEY, row: null },
    ]);
  }

  /** As long as nothing has moved: the new segments are no part of the cluster any more. */
  async rollback(): Promise<{ removed: Instance[] }> {
    const { catalog, engine } = this.deps;
    const expansion = expansionOf(catalog);
    if (expansion === undefined)
      throw new DamsonError('there is no expansion to undo', { exitCode: 1, hint: '`damson state -x` shows expansions.' });
    const owned = expansion.contents.filter((content) =>
      catalog.setsOfContent(content).some((setKey) => setKey !== referenceSet()),
    );
    if (owned.length > 0 || this.running !== null) {
      throw new DamsonError(`segments ${owned.join(', ')} hold rows already`, {
        hint: 'Let it finish: damson expand run, then damson expand finish.',
      });
    }
    const begun = catalog.rowsOf('move').filter((move) => move.phase !== 'CLEANED');
    const gone = new Set(expansion.contents);
    const removed = catalog.instances().filter((instance) => gone.has(instance.content));
    const reference = catalog.row('placement', referenceSet());
    const placement = reference && {
      ...reference,
      contents: reference.contents.filter((content) => !gone.has(content)),
      version: reference.version + 1,
    };
    await engine.state([
      ...(placement === undefined ? [] : [{ kind: 'placement' as const, key: placement.setKey, row: placement }]),
      ...removed.map((instance): CatalogOp => ({ kind: 'instance', key: String(instance.dbid), row: null })),
      ...expansion.contents.flatMap((content): CatalogOp[] => [
        { kind: 'pair', key: String(content), row: null },
        { kind: 'node', key: String(content), row: null },
      ]),
      ...catalog.rowsOf('queue').map((entry): CatalogOp => ({ kind: 'queue', key: String(entry.tableId), row: null })),
      ...catalog.rowsOf('move').map((move): CatalogOp => ({ kind: 'move', key: move.moveId, row: null })),
      { kind: 'expansion', key: EXPANSION_KEY, row: null },
    ]);
    // Moves that had begun: their sources need not keep their logs.
    await Promise.all(begun.map((move) => releasePin(this.deps, move)));
    return { removed };
  }

  /** Bytes of each set on its segment, for order and progress. */
  async measure(): Promise<void> {
    const { catalog, links } = this.deps;
    const sizes = new Map<string, number>();
    for (const content of catalog.contents()) {
      const { shards } = await (await links.of(content)).call('sizes', {});
      for (const shard of shards) sizes.set(shard.setKey, (sizes.get(shard.setKey) ?? 0) + shard.bytes);
    }
    this.sizes = sizes;
  }

  /** Rows go only where they are safe: on pairs in sync. */
  private async untilMirrored(contents: number[], tell: Tell): Promise<void> {
    const { catalog } = this.deps;
    const deadline = performance.now() + MIRROR_WAIT_MS;
    const waiting = () =>
      contents.filter((content) => catalog.mirrorOf(content) !== undefined && catalog.pair(content)?.state !== 'IN_SYNC');
    for (let left = waiting(); left.length > 0; left = waiting()) {
      if (performance.now() > deadline) {
        throw new DamsonError(
          `the mirrors of segments ${left.join(', ')} did not come in sync within ${MIRROR_WAIT_MS / 1000} s`,
          {
            hint: '`damson state -e` shows why. Run damson expand add again to go on, or damson expand rollback.',
          },
        );
      }
      await new Promise((resolve) => setTimeout(resolve, MIRROR_POLL_MS));
    }
    tell({ message: 'the new segments are healthy' });
  }

  /** Reference tables go there first; then, in the record of their placement, it counts as node. */
  private async makeNode(content: number, tell: Tell): Promise<void> {
    const { catalog, engine, links, locks } = this.deps;
    const nodeOp: CatalogOp = { kind: 'node', key: String(content), row: { content } };
    if (catalog.row('node', String(content)) !== undefined) return;
    await links.of(content);
    const setKey = referenceSet();
    const owner = `node:${content}`;
    // No reference table is made between the look and the record.
    await locks.acquire(owner, [{ name: placeLock(setKey), mode: 'X' }], { timeoutMs: 60_000 });
    try {
      if (catalog.row('placement', setKey) === undefined) {
        await engine.state([nodeOp]);
        return;
      }
    } finally {
      locks.releaseAll(owner);
    }
    tell({ message: `copying reference tables to segment ${content}`, task: `reference ${content}`, state: 'started' });
    const move = await this.record(
      { setKey, colocationId: REFERENCE_COLOCATION_ID, source: COORDINATOR_CONTENT, target: content, bytes: 0 },
      false,
    );
    await runMove(this.moverDeps(new RateLimiter(null)), move.moveId, new AbortController().signal, () => [nodeOp]);
    await engine.state([{ kind: 'move', key: move.moveId, row: null }]);
    tell({ message: `segment ${content} has the reference tables`, task: `reference ${content}`, state: 'done' });
  }

  private async redistribute(options: ExpandRunOptions, tell: Tell, signal: AbortSignal): Promise<RunEnd> {
    const { catalog, engine } = this.deps;
    await this.measure();
    await engine.state([expansionOp(expansionOf(catalog), 'EXPANSION STARTED')]);
    await this.completeTables(tell);
    await this.sweep();
    const rate = new RateLimiter(options.rate ?? null);
    const taken = new Set<string>();
    let failures = 0;
    const worker = async () => {
      for (let move = await this.pick(taken); move !== null; move = await this.pick(taken)) {
        if (signal.aborted) return;
        try {
          await this.moveOne(move, rate, tell, signal);
        } catch (error) {
          if (signal.aborted) return;
          failures += 1;
          await this.tableFailed(move, error, tell);
        }
      }
    };
    const parallel = Math.max(1, Math.min(options.parallel ?? 1, 64));
    await Promise.all(Array.from({ length: parallel }, worker));
    if (signal.aborted) return signal.reason instanceof Stopped ? signal.reason.why : 'stopped';
    return failures > 0 ? 'failed' : 'done';
  }

  /** What failed moves have left behind; what cannot be swept now is found by the next hello. */
  private async sweep(): Promise<void> {
    const { catalog, links, logger } = this.deps;
    for (const content of catalog.contents()) {
      try {
        const link = await links.of(content);
        const { sets } = await link.call('hello', { dbid: link.dbid });
        await sweepOrphans(this.deps, content, sets);
      } catch (error) {
        logger.warn({ content, err: error }, 'sets that belong to nobody could not be looked for');
      }
    }
  }

  /** The next move that nobody works on: begun ones first, then by rank and size as they are now. */
  private async pick(taken: Set<string>): Promise<Move | null> {
    const { catalog } = this.deps;
    const pending = pendingMoves(catalog, (setKey) => this.sizes.get(setKey) ?? 0);
    const begun = orderOfMoves(
      catalog,
      pending.begun.filter((move) => !taken.has(move.setKey)),
    )[0];
    if (begun !== undefined) {
      taken.add(begun.setKey);
      return begun;
    }
    const planned = orderOfMoves(
      catalog,
      pending.planned.filter((move) => !taken.has(move.setKey)),
    )[0];
    if (planned === undefined) return null;
    taken.add(planned.setKey);
    return this.record(planned, true);
  }

  private async record(planned: PlannedMove, dropSource: boolean): Promise<Move> {
    const { catalog, engine } = this.deps;
    const id = catalog.allocate('nextMoveId');
    const { setKey, source, target, bytes } = planned;
    const move: Move = {
      moveId: String(id.first),
      setKey,
      source,
      target,
      dropSource,
      phase: 'PLANNED',
      bytes,
      bytesDone: 0,
      startedAt: null,
      finishedAt: null,
      attempts: 0,
      error: null,
    };
    await engine.state([id.op, { kind: 'move', key: move.moveId, row: move }]);
    return move;
  }

  private async moveOne(move: Move, rate: RateLimiter, tell: Tell, signal: AbortSignal): Promise<void> {
    const { catalog, engine } = this.deps;
    const now = new Date().toISOString();
    const begun = tablesOfSet(catalog, move.setKey).flatMap((tableId) => {
      const entry = catalog.row('queue', String(tableId));
      if (entry === undefined || !['NOT STARTED', 'FAILED'].includes(entry.status)) return [];
      return [
        queueOp({ ...entry, status: 'IN PROGRESS', started: entry.started ?? now, attempts: entry.attempts + 1, error: null }),
      ];
    });
    if (begun.length > 0) await engine.state(begun);
    const message = `set ${move.setKey} from segment ${move.source} to ${move.target}`;
    tell({ message, task: move.setKey, state: 'started', bytes: move.bytes, bytesDone: 0 });
    const deps = this.moverDeps(rate, (bytesDone) =>
      tell({ message, task: move.setKey, state: 'running', bytes: move.bytes, bytesDone }),
    );
    await runMove(deps, move.moveId, signal);
    this.arrived.delete(move.moveId);
    tell({ message, task: move.setKey, state: 'done', bytes: move.bytes, bytesDone: move.bytes });
    await this.completeTables(tell);
  }

  private async completeTables(tell: Tell): Promise<void> {
    const { catalog, engine } = this.deps;
    const pending = pendingMoves(catalog, (setKey) => this.sizes.get(setKey) ?? 0);
    const finished = finishedTables(catalog, pending);
    if (finished.length === 0) return;
    const now = new Date().toISOString();
    await engine.state(
      finished.map((entry) =>
        queueOp({ ...entry, status: 'COMPLETED', started: entry.started ?? now, finished: now, error: null }),
      ),
    );
    for (const entry of finished)
      tell({ message: `${nameOfTable(catalog.table(entry.tableId)) ?? entry.tableId} is redistributed` });
  }

  private async tableFailed(move: Move, error: unknown, tell: Tell): Promise<void> {
    const { catalog, engine, logger } = this.deps;
    const text = error instanceof Error ? error.message : String(error);
    logger.error({ move: move.moveId, err: error }, 'a set could not be moved');
    const entries = tablesOfSet(catalog, move.setKey).flatMap((tableId) => catalog.row('queue', String(tableId)) ?? []);
    await engine.state(entries.map((entry) => queueOp({ ...entry, status: 'FAILED', error: text })));
    tell({ message: text, task: move.setKey, state: 'failed' });
  }

  private async close(reason: RunEnd): Promise<void> {
    const { catalog, engine } = this.deps;
    await engine.state([expansionOp(expansionOf(catalog), reason === 'done' ? 'EXPANSION COMPLETE' : 'EXPANSION STOPPED')]);
  }

  private moverDeps(rate: RateLimiter, onBytes: (bytes: number) => void = () => undefined): MoverDeps {
    const { catalog, engine, links, locks, logger } = this.deps;
    const onProgress = (moveId: string, bytes: number) => {
      this.arrived.set(moveId, bytes);
      onBytes(bytes);
    };
    return { catalog, engine, links, locks, rate, logger, onProgress };
  }

  private entryOf(table: TableDef) {
    const sourceBytes = this.deps.catalog
      .shards(table.tableId)
      .reduce((total, shard) => total + (this.sizes.get(shard.setKey) ?? 0), 0);
    const { tableId } = table;
    return {
      tableId,
      rank: FIRST_RANK,
      status: 'NOT STARTED' as const,
      sourceBytes,
      started: null,
      finished: null,
      attempts: 0,
      error: null,
    };
  }

  private queuedTable(name: string): number {
    const { catalog } = this.deps;
    const parts = name.split('.');
    const table = catalog.tableByName(parts.length > 1 ? (parts[0] ?? '') : 'public', parts[parts.length - 1] ?? '');
    if (table === undefined || catalog.row('queue', String(table.tableId)) === undefined) {
      throw new DamsonError(`table ${name} is not in the expansion's queue`, {
        hint: '`damson expand status` lists its tables.',
      });
    }
    return table.tableId;
  }
}

/** Why a run ends before its work does. */
class Stopped extends Error {
  constructor(readonly why: 'stopped' | 'time') {
    super(why === 'time' ? 'time is up' : 'stopped');
  }
}

function timerFor(options: ExpandRunOptions, stop: AbortController): NodeJS.Timeout | undefined {
  const limits = [options.durationMs, options.end === undefined ? undefined : Date.parse(options.end) - Date.now()].filter(
    (ms) => ms !== undefined,
  );
  if (limits.length === 0) return undefined;
  const timer = setTimeout(() => stop.abort(new Stopped('time')), Math.min(2 ** 31 - 1, Math.max(0, Math.min(...limits))));
  timer.unref();
  return timer;
}

function referenceSet(): string {
  return setKeyOf(REFERENCE_COLOCATION_ID, 0);
}

function isSpread(table: TableDef): boolean {
  return table.distribution.kind === 'distributed' || table.distribution.kind === 'random';
}

function nameOfTable(table: TableDef | undefined): string | undefined {
  return table === undefined ? undefined : `${table.schema}.${table.name}`;
}

function checkRank(rank: number): number {
  if (Number.isInteger(rank) && rank >= 1) return rank;
  throw new DamsonError(`${rank} is no rank`, { hint: 'A rank is a whole number from 1; lower ones go first.' });
}

function checkNew(catalog: Catalog, instances: Instance[]): void {
  if (instances.length === 0) throw new DamsonError('no instances are given');
  for (const instance of instances) {
    const clash = catalog.instances().find((other) => other.dbid === instance.dbid || other.datadir === instance.datadir);
    if (clash !== undefined)
      throw new DamsonError(`instance ${instance.dbid} (${instance.datadir}) is part of the cluster already`);
    if (catalog.pair(instance.content) !== undefined || instance.content < 0)
      throw new DamsonError(`content ${instance.content} exists already`);
  }
  const contents = new Set(instances.map((instance) => instance.content));
  for (const content of contents) {
    if (instances.filter((instance) => instance.content === content && instance.role === 'p').length !== 1) {
      throw new DamsonError(`content ${content} must have exactly one primary`);
    }
  }
}

function registration(instance: Instance): CatalogOp[] {
  const row: Instance = { ...instance, mode: 'n', status: 'u' };
  return [
    { kind: 'instance', key: String(row.dbid), row },
    { kind: 'counter', key: 'nextDbid', row: { name: 'nextDbid', value: row.dbid + 1 } },
    historyOp(new Date(), row.dbid, `expand: added segment with dbid ${row.dbid}, contentid ${row.content}, role ${row.role}`),
  ];
}

/** A new mirror catches up with its empty primary; the fault tolerance service takes it from there. */
function pairsOf(instances: Instance[]): CatalogOp[] {
  return instances
    .filter((instance) => instance.role === 'p')
    .map((primary) => {
      const mirror = instances.find((other) => other.content === primary.content && other.role === 'm');
      const row: Pair = {
        content: primary.content,
        timeline: 1,
        state: mirror === undefined ? 'ALONE' : 'CATCHUP',
        primaryDbid: primary.dbid,
        mirrorDbid: mirror?.dbid ?? null,
        down: false,
      };
      return { kind: 'pair', key: String(row.content), row };
    });
}
