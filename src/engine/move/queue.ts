/** The expansion's queue: which set moves next, and how far each table is. Pure. */
import type { ExpansionReport, TableProgress } from '../../model/admin.js';
import type { CatalogOp, Expansion, Move, QueueEntry } from '../../model/catalog.js';
import { REFERENCE_COLOCATION_ID } from '../../model/table.js';
import type { CatalogView } from '../catalog/types.js';
import { balanceMoves, type PlacedSet, type PlannedMove } from './balance.js';

export const EXPANSION_KEY = 'expansion';
export const FIRST_RANK = 2;

export function expansionOf(view: CatalogView): Expansion | undefined {
  return view.row('expansion', EXPANSION_KEY);
}

export function expansionOp(
  before: Expansion | undefined,
  status: Expansion['status'],
  change: Partial<Expansion> = {},
): CatalogOp {
  const updated = new Date().toISOString();
  const log = [...(before?.log ?? []), { status, updated }];
  const row: Expansion = { contents: before?.contents ?? [], ...change, status, updated, log };
  return { kind: 'expansion', key: EXPANSION_KEY, row };
}

export function queueOp(row: QueueEntry): CatalogOp {
  return { kind: 'queue', key: String(row.tableId), row };
}

/** Sets with one owner each: those of distributed tables. */
export function placedSets(view: CatalogView, bytesOf: (setKey: string) => number): PlacedSet[] {
  const sets: PlacedSet[] = [];
  for (const group of view.rowsOf('colocation')) {
    if (group.colocationId === REFERENCE_COLOCATION_ID) continue;
    for (let index = 0; index < group.shardCount; index++) {
      const setKey = `c${group.colocationId}_${index}`;
      const content = view.row('placement', setKey)?.contents[0];
      if (content !== undefined) sets.push({ setKey, colocationId: group.colocationId, content, bytes: bytesOf(setKey) });
    }
  }
  return sets;
}

/** Moves that are not done: those that were begun, and those that the balance asks for. A set that is moving counts as arrived. */
export function pendingMoves(view: CatalogView, bytesOf: (setKey: string) => number): { begun: Move[]; planned: PlannedMove[] } {
  const begun = view.rowsOf('move').filter((move) => move.dropSource && move.phase !== 'CLEANED' && !isIdleFailure(move));
  const target = new Map(begun.map((move) => [move.setKey, move.target]));
  const sets = placedSets(view, bytesOf).map((set) => ({ ...set, content: target.get(set.setKey) ?? set.content }));
  return { begun, planned: balanceMoves(sets, view.contents()) };
}

/** A failed move is planned anew by the balance. */
function isIdleFailure(move: Move): boolean {
  return move.phase === 'FAILED';
}

/** A colocation group moves together: the lowest rank of its tables counts. Then the smaller set. */
export function orderOfMoves<M extends { setKey: string; bytes: number }>(view: CatalogView, moves: readonly M[]): M[] {
  const rank = (move: M) =>
    Math.min(...tablesOfSet(view, move.setKey).map((tableId) => view.row('queue', String(tableId))?.rank ?? FIRST_RANK));
  const ranked = moves.map((move) => ({ move, rank: rank(move) }));
  return ranked
    .sort((a, b) => a.rank - b.rank || a.move.bytes - b.move.bytes || (a.move.setKey < b.move.setKey ? -1 : 1))
    .map(({ move }) => move);
}

export function tablesOfSet(view: CatalogView, setKey: string): number[] {
  return [...new Set(view.shardsOfSet(setKey).map((shard) => shard.tableId))];
}

/** Tables of the queue that have nothing left to move. */
export function finishedTables(view: CatalogView, pending: { begun: Move[]; planned: PlannedMove[] }): QueueEntry[] {
  const waiting = new Set([...pending.begun, ...pending.planned].flatMap((move) => tablesOfSet(view, move.setKey)));
  return view
    .rowsOf('queue')
    .filter((entry) => entry.status !== 'COMPLETED' && entry.status !== 'NO LONGER EXISTS' && !waiting.has(entry.tableId));
}

export interface ReportFacts {
  running: boolean;
  bytesOf(setKey: string): number;
  /** Bytes of moves that are under way and have arrived. */
  arrived: ReadonlyMap<string, number>;
}

export function reportOf(view: CatalogView, facts: ReportFacts): ExpansionReport {
  const expansion = expansionOf(view) ?? null;
  const pending = pendingMoves(view, facts.bytesOf);
  const done = view.rowsOf('move').filter((move) => move.dropSource && (move.phase === 'CLEANED' || move.phase === 'SWITCHED'));
  const open = [...pending.begun.filter((move) => move.phase !== 'SWITCHED'), ...pending.planned];
  const progress = (move: Move | PlannedMove) => ('moveId' in move ? (facts.arrived.get(move.moveId) ?? 0) : 0);
  const tables = view.rowsOf('queue').map((entry): TableProgress => {
    const table = view.table(entry.tableId);
    const mine = (move: { setKey: string }) => tablesOfSet(view, move.setKey).includes(entry.tableId);
    const [mineDone, mineOpen] = [done.filter(mine), open.filter(mine)];
    const bytesDone = sum(mineDone.map((move) => move.bytes)) + sum(mineOpen.map(progress));
    const bytesToMove = sum(mineDone.map((move) => move.bytes)) + sum(mineOpen.map((move) => move.bytes));
    const moves = mineDone.length + mineOpen.length;
    return {
      ...entry,
      schema: table?.schema ?? '',
      name: table?.name ?? '',
      bytesDone,
      bytesToMove,
      movesDone: mineDone.length,
      moves,
    };
  });
  tables.sort((a, b) => a.rank - b.rank || a.tableId - b.tableId);
  const bytesDone = sum(done.map((move) => move.bytes)) + sum(open.map(progress));
  const bytesLeft = Math.max(0, sum(open.map((move) => move.bytes)) - sum(open.map(progress)));
  const rate = rateOf(done);
  const left = (status: QueueEntry['status'][]) => tables.filter((table) => status.includes(table.status)).length;
  return {
    expansion,
    tables,
    running: facts.running,
    tablesDone: left(['COMPLETED']),
    tablesLeft: left(['NOT STARTED', 'FAILED']),
    tablesInProgress: left(['IN PROGRESS']),
    bytesDone,
    bytesLeft,
    rate,
    estimatedEnd: rate === null || bytesLeft === 0 ? null : new Date(Date.now() + (bytesLeft / rate) * 1000).toISOString(),
  };
}

/** Bytes over the time in which at least one move ran: pauses between runs do not count. */
function rateOf(done: Move[]): number | null {
  const spans = done
    .flatMap((move) =>
      move.startedAt === null || move.finishedAt === null
        ? []
        : [[Date.parse(move.startedAt), Date.parse(move.finishedAt)] as const],
    )
    .sort((a, b) => a[0] - b[0]);
  let busyMs = 0;
  let until = Number.NEGATIVE_INFINITY;
  for (const [from, to] of spans) {
    busyMs += Math.max(0, to - Math.max(from, until));
    until = Math.max(until, to);
  }
  return spans.length === 0 ? null : (sum(done.map((move) => move.bytes)) / Math.max(1, busyMs)) * 1000;
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
