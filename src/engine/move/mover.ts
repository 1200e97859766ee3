import { SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { CatalogOp, Move, MovePhase } from '../../model/catalog.js';
import type { Lsn, TxnBody } from '../../model/log.js';
import type { SetPlacement } from '../../model/table.js';
import type { MovePart } from '../../model/task.js';
import type { CatalogView } from '../catalog/types.js';
import { PIN_LOST } from '../executor/errors.js';
import type { InstanceEngine } from '../executor/types.js';
import type { LockManager } from '../txn/lock-manager.js';
import { locksOfSet, placeLock } from '../txn/names.js';
import type { Connection, Links, MethodOutput } from '../txn/types.js';
import { mergeTxns } from './merge.js';
import type { RateLimiter } from './rate.js';

/** Longest stay in the queue for the set's locks: writers must not wait behind an idle transaction. */
const SWITCH_TRY_MS = 20;
/** A round of catching up that brought no more log than this: the rest fits under the lock. */
const SMALL_ROUND_BYTES = 1024 * 1024;
/** Transactions of the source that are merged at once. */
const APPLY_BATCH = 2000;
const MAX_ATTEMPTS = 5;
/** Between tries, on average: writers wait for a try at most a sixth of the time. */
const MAX_BACKOFF_MS = 100;
const MAX_SWITCH_TRIES = 10_000;

export interface MoverDeps {
  catalog: CatalogView;
  engine: Pick<InstanceEngine, 'state'>;
  links: Links;
  locks: LockManager;
  rate: RateLimiter;
  logger: Logger;
  /** Bytes of a move that have arrived, for progress. */
  onProgress(moveId: string, bytesDone: number): void;
}

/** Ways of a move (protocols, section 9). SWITCHING holds locks of this process only, and is not written down. */
export const MOVE_ROWS: readonly { from: MovePhase; to: MovePhase; why: string }[] = [
  { from: 'PLANNED', to: 'COPYING', why: 'a worker took it' },
  { from: 'COPYING', to: 'CATCHING_UP', why: 'the snapshot is installed on the target and its mirror' },
  { from: 'COPYING', to: 'PLANNED', why: 'source or target was lost: from the beginning' },
  { from: 'CATCHING_UP', to: 'PLANNED', why: 'the log of the source no longer reaches back' },
  { from: 'CATCHING_UP', to: 'SWITCHED', why: 'the target has all, and nobody writes: it owns the set' },
  { from: 'SWITCHED', to: 'CLEANED', why: 'no reader is left on the source' },
  { from: 'PLANNED', to: 'FAILED', why: 'it failed too often' },
  { from: 'COPYING', to: 'FAILED', why: 'it failed too often' },
  { from: 'CATCHING_UP', to: 'FAILED', why: 'it failed too often' },
  { from: 'FAILED', to: 'PLANNED', why: 'tried again' },
  { from: 'PLANNED', to: 'CLEANED', why: 'the tables of the set were dropped' },
  { from: 'COPYING', to: 'CLEANED', why: 'the tables of the set were dropped' },
  { from: 'CATCHING_UP', to: 'CLEANED', why: 'the tables of the set were dropped' },
];

/**
 * Brings one move to its end, from whatever phase its row is in. Rejects when the signal aborts (the row stays, and is gone on with
 * later) or when it failed too often (the row is FAILED then). `extra` goes into the record that switches ownership.
 */
export async function runMove(
  deps: MoverDeps,
  moveId: string,
  signal: AbortSignal,
  extra: () => CatalogOp[] = () => [],
): Promise<void> {
  for (;;) {
    const move = moveOf(deps, moveId);
    try {
      signal.throwIfAborted();
      if (move.phase === 'CLEANED') return;
      await step(deps, move, signal, extra);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      await failed(deps, moveId, error);
      await pause(Math.min(2000, 100 * 2 ** moveOf(deps, moveId).attempts), signal);
    }
  }
}

async function step(deps: MoverDeps, move: Move, signal: AbortSignal, extra: () => CatalogOp[]): Promise<void> {
  if (isVoid(deps, move)) return giveUp(deps, move);
  switch (move.phase) {
    case 'FAILED':
      return write(deps, move, 'PLANNED', { attempts: 0, error: null });
    case 'PLANNED':
      return write(deps, move, 'COPYING', { startedAt: move.startedAt ?? new Date().toISOString() });
    case 'COPYING':
      await copy(deps, move, signal);
      return write(deps, move, 'CATCHING_UP', { bytesDone: move.bytes });
    case 'CATCHING_UP':
      return catchUpAndSwitch(deps, move, signal, extra);
    case 'SWITCHED':
      return cleanUp(deps, move, signal);
    case 'CLEANED':
      return;
  }
}

/** Not switched, and there is nothing any more that could be: the last table of its group is gone. */
function isVoid(deps: MoverDeps, move: Move): boolean {
  return ['PLANNED', 'COPYING', 'CATCHING_UP'].includes(move.phase) && deps.catalog.row('placement', move.setKey) === undefined;
}

async function giveUp(deps: MoverDeps, move: Move): Promise<void> {
  const ends = await deps.links.all([move.source, move.target]);
  await at(ends, move.source).call('moveEnd', { move: move.moveId });
  await at(ends, move.target).call('dropSet', { setKey: move.setKey });
  await write(deps, move, 'CLEANED', { bytes: 0, bytesDone: 0, finishedAt: new Date().toISOString() });
}

/** The snapshot's files go through this process in parts; what is not read stops the source. */
async function copy(deps: MoverDeps, move: Move, signal: AbortSignal): Promise<void> {
  const ends = await deps.links.all([move.source, move.target]);
  const [source, target] = [at(ends, move.source), at(ends, move.target)];
  const { moveId, setKey } = move;
  const from = source.open('moveCopy', { move: moveId, setKey });
  const into = target.open('moveLoad', { move: moveId, setKey, source: move.source });
  from.result.catch(() => undefined);
  into.result.catch(() => undefined);
  from.end();
  let done = 0;
  try {
    for await (const part of from.parts) {
      const { length } = (part as MovePart).bytes;
      await deps.rate.take(length, signal);
      signal.throwIfAborted();
      await into.push(part);
      done += length;
      deps.onProgress(moveId, done);
    }
    const shapes: MethodOutput<'moveCopy'> = await from.result;
    await into.push(shapes);
    into.end();
    await into.result;
  } catch (error) {
    from.cancel();
    into.cancel();
    throw error;
  }
}

async function catchUpAndSwitch(deps: MoverDeps, move: Move, signal: AbortSignal, extra: () => CatalogOp[]): Promise<void> {
  for (let tries = 0; tries < MAX_SWITCH_TRIES; tries++) {
    for (;;) {
      signal.throwIfAborted();
      const round = await catchUp(deps, move, signal);
      if (round < SMALL_ROUND_BYTES) break;
    }
    if (await trySwitch(deps, move, signal, extra)) return;
    deps.logger.debug({ move: move.moveId, setKey: move.setKey, tries }, 'set is in use');
    await pause((0.5 + Math.random()) * Math.min(MAX_BACKOFF_MS, 10 * 2 ** Math.min(tries, 10)), signal);
  }
  throw new SqlError('55P03', `set ${move.setKey} was in use whenever it was tried to switch it`, {
    hint: 'A transaction keeps it locked. The move goes on when it has ended.',
  });
}

/** One round; returns how much of the source's log it covered. */
async function catchUp(deps: MoverDeps, move: Move, signal: AbortSignal): Promise<number> {
  const ends = await deps.links.all([move.source, move.target]);
  const [source, target] = [at(ends, move.source), at(ends, move.target)];
  const { moveId, setKey } = move;
  const state = await target.call('moveState', { move: moveId, setKey });
  if (state.src === null) throw new SqlError(PIN_LOST, `set ${setKey} is not installed on segment ${move.target}`);
  const tail = source.open('moveTail', { move: moveId, setKey, from: state.src });
  tail.result.catch(() => undefined);
  tail.end();
  const sink = new ApplySink(target, move);
  try {
    for await (const part of tail.parts) {
      signal.throwIfAborted();
      await sink.take(part as TailPart);
    }
    const { upTo } = await tail.result;
    deps.logger.debug({ move: moveId, from: state.src, upTo }, 'tail is read');
    await sink.finish(upTo);
    deps.logger.debug({ move: moveId, from: state.src, upTo }, 'tail is applied');
    return upTo - state.src;
  } catch (error) {
    tail.cancel();
    throw error;
  }
}

type TailPart = { lsn: Lsn; txn: TxnBody } | MovePart;

/** Hands the source's transactions to the target, in order; large batch files go before the transaction that names them. */
class ApplySink {
  private txns: { lsn: Lsn; txn: TxnBody }[] = [];
  private upload: ReturnType<Connection['open']> | null = null;

  constructor(
    private readonly target: Connection,
    private readonly move: Move,
  ) {}

  async take(part: TailPart): Promise<void> {
    if ('bytes' in part) {
      this.upload ??= this.target.open('moveApply', { ...this.head(), txns: [], upTo: -1, files: true });
      await this.upload.push(part);
      return;
    }
    await this.endUpload();
    this.txns.push(part);
    if (this.txns.length >= APPLY_BATCH) await this.apply(part.lsn);
  }

  async finish(upTo: Lsn): Promise<void> {
    await this.endUpload();
    await this.apply(upTo);
  }

  private async apply(upTo: Lsn): Promise<void> {
    const txns = this.txns;
    this.txns = [];
    // One record of a set at a time: the next is sent when this one is safe and in the stores.
    for (const one of mergeTxns(txns)) await this.target.call('moveApply', { ...this.head(), txns: [one], upTo: one.lsn });
    await this.target.call('moveApply', { ...this.head(), txns: [], upTo });
  }

  private async endUpload(): Promise<void> {
    if (this.upload === null) return;
    const { upload } = this;
    this.upload = null;
    upload.end();
    await upload.result;
  }

  private head() {
    return { move: this.move.moveId, setKey: this.move.setKey, source: this.move.source };
  }
}

/** Under the locks of the set: the rest of the log, then the one record that switches ownership. false: somebody is writing. */
async function trySwitch(deps: MoverDeps, move: Move, signal: AbortSignal, extra: () => CatalogOp[]): Promise<boolean> {
  const owner = `move:${move.moveId}`;
  const shards = deps.catalog.shardsOfSet(move.setKey);
  const tables = [...new Set(shards.map((shard) => shard.tableId))];
  const names = [
    ...locksOfSet(move.setKey, shards),
    ...tables.map((tableId) => ({ name: `table:${tableId}`, mode: 'S' as const })),
    { name: placeLock(move.setKey), mode: 'X' as const },
  ];
  try {
    await deps.locks.acquire(owner, names, { timeoutMs: SWITCH_TRY_MS, signal, yields: true });
  } catch (error) {
    if (error instanceof SqlError && ['55P03', '40P01'].includes(error.sqlstate)) return false;
    throw error;
  }
  const began = performance.now();
  try {
    // Shards that were made since the names were put together are not locked.
    if (deps.catalog.shardsOfSet(move.setKey).length !== shards.length) return false;
    while ((await catchUp(deps, move, signal)) >= SMALL_ROUND_BYTES) signal.throwIfAborted();
    const before = deps.catalog.row('placement', move.setKey);
    const ops = before === undefined ? [] : [placementOp(before, move)];
    await write(deps, move, 'SWITCHED', { bytesDone: move.bytes }, [...ops, ...extra()]);
    return true;
  } finally {
    deps.locks.releaseAll(owner);
    deps.logger.info({ move: move.moveId, setKey: move.setKey, lockedMs: performance.now() - began }, 'switch of a set');
  }
}

function placementOp(before: SetPlacement, move: Move): CatalogOp {
  const contents = move.dropSource
    ? before.contents.map((content) => (content === move.source ? move.target : content))
    : [...new Set([...before.contents, move.target])];
  return { kind: 'placement', key: move.setKey, row: { ...before, contents, version: before.version + 1 } };
}

async function cleanUp(deps: MoverDeps, move: Move, signal: AbortSignal): Promise<void> {
  const source = await deps.links.of(move.source);
  await source.call('moveEnd', { move: move.moveId });
  if (move.dropSource) {
    await deps.links.reads.drained(signal);
    const owner = deps.catalog.row('placement', move.setKey)?.contents ?? [];
    if (!owner.includes(move.source)) await (await deps.links.of(move.source)).call('dropSet', { setKey: move.setKey });
  }
  await write(deps, move, 'CLEANED', { finishedAt: new Date().toISOString() });
}

async function failed(deps: MoverDeps, moveId: string, error: unknown): Promise<void> {
  const move = moveOf(deps, moveId);
  const text = error instanceof Error ? error.message : String(error);
  deps.logger.warn({ move: moveId, setKey: move.setKey, phase: move.phase, err: error }, 'a move was interrupted');
  // After the switch there is only forward.
  if (move.phase === 'SWITCHED' || move.phase === 'CLEANED') return;
  const attempts = move.attempts + 1;
  if (attempts >= MAX_ATTEMPTS) {
    await write(deps, move, 'FAILED', { attempts, error: text });
    await releasePin(deps, move);
    throw new SqlError('58000', `set ${move.setKey} could not be moved: ${text}`, {
      hint: '`damson expand run` tries it again.',
    });
  }
  const again = move.phase === 'COPYING' || (error instanceof SqlError && error.sqlstate === PIN_LOST);
  if (again) await write(deps, move, 'PLANNED', { attempts, error: text });
  else await put(deps, { ...move, attempts, error: text });
}

/** The source keeps its log for a move until it is told; one that is not there has forgotten it. */
export async function releasePin(deps: Pick<MoverDeps, 'links' | 'logger'>, move: Move): Promise<void> {
  try {
    await deps.links.now(move.source)?.call('moveEnd', { move: move.moveId });
  } catch (error) {
    deps.logger.warn({ move: move.moveId, err: error }, 'the log of the source was not released');
  }
}

async function write(
  deps: MoverDeps,
  move: Move,
  phase: MovePhase,
  change: Partial<Move>,
  more: CatalogOp[] = [],
): Promise<void> {
  if (!MOVE_ROWS.some((row) => row.from === move.phase && row.to === phase)) {
    throw new SqlError('XX000', `move ${move.moveId}: no way from ${move.phase} to ${phase}`);
  }
  await put(deps, { ...move, ...change, phase }, more);
  deps.logger.debug({ move: move.moveId, setKey: move.setKey, from: move.phase, to: phase }, 'move');
}

async function put(deps: MoverDeps, move: Move, more: CatalogOp[] = []): Promise<void> {
  await deps.engine.state([{ kind: 'move', key: move.moveId, row: move }, ...more]);
}

function moveOf(deps: MoverDeps, moveId: string): Move {
  const move = deps.catalog.row('move', moveId);
  if (move === undefined) throw new SqlError('XX000', `move ${moveId} does not exist`);
  return move;
}

function at(ends: Map<number, Connection>, content: number): Connection {
  return ends.get(content) as Connection;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}
