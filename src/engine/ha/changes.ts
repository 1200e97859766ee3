/** Catalog changes of each decision about a content: pair, instances and history, as one STATE record. */
import { internalError } from '../../core/errors.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { Instance, Pair, PairState, Role, Status } from '../../model/topology.js';
import type { CatalogView } from '../catalog/types.js';
import type { Act } from './decide.js';

/** Ops of an act of the fault tolerance service. Empty for `nothing`. */
export function changesOf(view: CatalogView, content: number, act: Act, now: Date): CatalogOp[] {
  const pair = pairOf(view, content);
  switch (act) {
    case 'nothing':
      return [];
    case 'alone':
      return write(view, { ...pair, state: 'ALONE' }, { mirror: 'd' }, now);
    case 'promote':
      return write(view, swapped(pair, 'ALONE'), { primary: 'u', mirror: 'd' }, now);
    case 'down':
      return write(view, { ...pair, down: true }, { primary: 'd' }, now);
    case 'up':
      return write(view, { ...pair, down: false }, { primary: 'u' }, now);
    case 'joining':
      return write(view, { ...pair, state: 'JOINING' }, {}, now);
    case 'inSync':
      return write(view, { ...pair, state: 'IN_SYNC' }, { mirror: 'u' }, now);
  }
}

/** A down mirror comes back: the primary brings it up to date. */
export function startCatchup(view: CatalogView, content: number, now: Date): CatalogOp[] {
  return write(view, { ...pairOf(view, content), state: 'CATCHUP' }, { mirror: 'u' }, now);
}

/** A planned switch: the old primary is the mirror from now on and has nothing to lose. */
export function switchRoles(view: CatalogView, content: number, now: Date): CatalogOp[] {
  return write(view, swapped(pairOf(view, content), 'CATCHUP'), { primary: 'u', mirror: 'u' }, now);
}

function swapped(pair: Pair, state: PairState): Pair {
  if (pair.mirrorDbid === null) throw internalError(`content ${pair.content} has no mirror to promote`);
  return { ...pair, timeline: pair.timeline + 1, state, primaryDbid: pair.mirrorDbid, mirrorDbid: pair.primaryDbid, down: false };
}

function pairOf(view: CatalogView, content: number): Pair {
  const pair = view.pair(content);
  if (pair === undefined) throw internalError(`content ${content} has no pair`);
  return pair;
}

/** The pair's row, and those of its instances that change with it, each with its line of history. */
function write(view: CatalogView, pair: Pair, status: { primary?: Status; mirror?: Status }, now: Date): CatalogOp[] {
  const ops: CatalogOp[] = [{ kind: 'pair', key: String(pair.content), row: pair }];
  const mode = pair.state === 'IN_SYNC' && pair.mirrorDbid !== null ? 's' : 'n';
  const set = (dbid: number | null, role: Role, newStatus: Status | undefined) => {
    const instance = dbid === null ? undefined : view.instance(dbid);
    if (instance === undefined) return;
    const next: Instance = { ...instance, role, mode, status: newStatus ?? instance.status };
    if (JSON.stringify(next) === JSON.stringify(instance)) return;
    ops.push({ kind: 'instance', key: String(next.dbid), row: next }, historyOp(now, next.dbid, updated(next)));
  };
  set(pair.primaryDbid, 'p', status.primary);
  set(pair.mirrorDbid, 'm', status.mirror);
  return ops;
}

/** Greenplum's wording (fts.c). */
function updated({ dbid, content, role, status, mode }: Instance): string {
  return `FTS: update role, status, and mode for dbid ${dbid} with contentid ${content} to ${role}, ${status}, and ${mode}`;
}

export function historyOp(now: Date, dbid: number, desc: string): CatalogOp {
  const time = now.toISOString();
  return { kind: 'history', key: `${time}/${dbid}/${desc.length}`, row: { time, dbid, desc } };
}
