/**
 * The router's hot way on the coordinator: a read of one heap set, outside of a transaction, whose plan is known. It goes to the segment in
 * the turn of the call, named by a number, and comes back in one piece. Whatever stands in the way, the statement takes the general way.
 */
import { type KnownRead, type OutputSettings, type QuickAnswer, QuickRefusal } from '../../model/task.js';
import { COORDINATOR_CONTENT } from '../../model/topology.js';
import type { CatalogView } from '../catalog/types.js';
import type { Input, Plan } from '../planner/types.js';
import { useOfTable } from '../txn/names.js';
import { indexesOf, readTargets, type Target } from './targets.js';
import type { DispatchDeps } from './types.js';

/** Executions that go the general way after one that was too large for this one. */
const PAUSE = 64;

/** A plan with all that its executions have in common. */
export interface QuickPlan {
  readonly read: KnownRead;
  readonly input: Input;
  /** Locks that a reader must be able to share. */
  readonly locks: readonly string[];
  /** Where each range's shards lie, as the catalog of `version` says. */
  readonly places: Map<number, Place>;
  version: number;
  pause: number;
}

interface Place {
  content: number;
  /** One for each relation of the fragment. */
  shards: number[];
}

export interface QuickRows {
  rows: number;
  messages: Buffer;
}

/** null: a plan for the general way alone. */
export function quickPlan(plan: Plan, tableIds: readonly number[], formats: number[], session: OutputSettings): QuickPlan | null {
  if (plan.kind !== 'read' || plan.finish !== null || plan.inputs.length !== 1) return null;
  const input = plan.inputs[0]!;
  const { fragment, where } = input;
  if (fragment.engine !== 'sqlite' || fragment.relations.length === 0) return null;
  if (where.kind === 'colocated' && where.keys?.length !== 1) return null;
  const locks = tableIds.map((id) => useOfTable(id).name);
  return { read: { fragment, formats, session }, input, locks, places: new Map(), version: -1, pause: 0 };
}

/**
 * Sends the read, or says that it cannot go this way now.
 * @param done with the rows, once, in a later turn; null: nothing was answered, take the general way.
 */
export function sendQuick(
  deps: Pick<DispatchDeps, 'catalog' | 'links' | 'transactions'>,
  plan: QuickPlan,
  params: (string | null)[],
  done: (rows: QuickRows | null) => void,
): boolean {
  if (plan.pause > 0) {
    plan.pause--;
    return false;
  }
  if (!deps.transactions.shared(plan.locks)) return false;
  const place = placeOf(deps.catalog, plan, params);
  if (place === null) return false;
  const connection = deps.links.now(place.content);
  if (connection === null) return false;
  const token = deps.links.reads.begin();
  connection.quick(plan.read, place.shards, plan.read.fragment.params.length === 0 ? [] : params, (error, answer) => {
    token.end();
    done(error === undefined ? rowsOf(plan, answer) : null);
  });
  return true;
}

function rowsOf(plan: QuickPlan, answer: QuickAnswer | undefined): QuickRows | null {
  if (Array.isArray(answer)) return { rows: answer[0], messages: answer[1] };
  if (answer === QuickRefusal.large) plan.pause = PAUSE;
  return null;
}

/** Placements as they are in this turn: they are kept as long as nothing in the catalog changes. */
function placeOf(view: CatalogView, plan: QuickPlan, params: readonly (string | null)[]): Place | null {
  if (plan.version !== view.version) {
    plan.places.clear();
    plan.version = view.version;
  }
  const { where, fragment } = plan.input;
  const index = where.kind === 'coordinator' ? COORDINATOR_CONTENT : indexesOf(view, where, params)[0]!;
  const known = plan.places.get(index);
  if (known !== undefined) return known;
  const targets = readTargets(view, fragment.relations, where, params);
  const place = targets.length === 1 ? singleSet(targets[0]!, plan) : null;
  if (place !== null) plan.places.set(index, place);
  return place;
}

function singleSet({ content, shards }: Target, { input }: QuickPlan): Place | null {
  const ids: number[] = [];
  for (const { alias } of input.fragment.relations) {
    const here = shards[alias];
    if (here === undefined || here.length !== 1) return null;
    ids.push(here[0]!);
  }
  return { content, shards: ids };
}
