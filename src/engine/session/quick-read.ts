/** A prepared select of one heap set, outside of a transaction: planned, sent and answered without the general way's steps. */

import type { OutputSettings } from '../../model/task.js';
import { type QuickPlan, type QuickRows, quickPlan, sendQuick } from '../dispatch/quick.js';
import type { FrontSettings } from '../front/types.js';
import type { Planned } from './plans.js';
import type { Session } from './session.js';
import { type Bound, checkSameColumns, expandFormats, type Statement } from './statement.js';

/** What was found for a statement, with everything that it was made from. */
export interface QuickStatement {
  planned: Planned;
  front: FrontSettings;
  output: OutputSettings;
  generation: number;
  version: number;
  formats: string;
  /** null: the statement takes the general way. */
  plan: QuickPlan | null;
}

/** Plans of one text are shared by all sessions that prepare it, and so are the segments' copies of them. */
const shared = new WeakMap<Planned, Map<string, QuickPlan | null>>();

/**
 * @returns undefined where the general way has to be taken, nothing was done then. Else the rows; null: nothing was answered, the general way
 * has to be taken after all. Rejects when the statement was cancelled.
 */
export function runQuick(session: Session, statement: Statement, bound: Bound): Promise<QuickRows | null> | undefined {
  if (statement.raw === null || statement.kind?.kind !== 'query' || !session.tx.idle) return undefined;
  const plan = planFor(session, statement, bound);
  if (plan === null) return undefined;
  const { deps } = session.shared;
  let settle: ((rows: QuickRows | null) => void) | undefined;
  let early: { rows: QuickRows | null } | undefined;
  const sent = sendQuick(deps, plan, bound.params, (rows) => {
    if (settle === undefined) early = { rows };
    else settle(rows);
  });
  if (!sent) return undefined;
  return new Promise((resolve, reject) => {
    const scope = session.newScope();
    session.enter(scope);
    scope.onAbort((reason) => {
      session.leave(scope);
      reject(reason);
    });
    settle = (rows) => {
      scope.end();
      session.leave(scope);
      resolve(rows);
    };
    if (early !== undefined) settle(early.rows);
  });
}

function planFor(session: Session, statement: Statement, bound: Bound): QuickPlan | null {
  const { deps } = session.shared;
  const known = statement.quick;
  const front = session.settings.front();
  const output = session.settings.output();
  const formats = bound.formats.length === 0 ? '' : bound.formats.join();
  if (
    known !== undefined &&
    known.version === deps.catalog.version &&
    known.generation === deps.front.generation &&
    known.front === front &&
    known.output === output &&
    known.formats === formats
  ) {
    return known.plan;
  }
  const planned = session.shared.plans.peek(statement.raw!.sql, bound.paramTypes, front, deps.catalog);
  if (planned === undefined) return null;
  const plan = sharedPlan(planned, bound, output, formats);
  const { generation } = deps.front;
  statement.quick = { planned, front, output, generation, version: deps.catalog.version, formats, plan };
  return plan;
}

function sharedPlan(planned: Planned, bound: Bound, output: OutputSettings, formats: string): QuickPlan | null {
  const fields = planned.analyzed.fields;
  if (fields === null) return null;
  let plans = shared.get(planned);
  if (plans === undefined) {
    plans = new Map();
    shared.set(planned, plans);
  }
  // The client decodes by what it was told: the general way says what is wrong.
  checkSameColumns(bound.fields, fields);
  const key = `${formats} ${JSON.stringify(output)}`;
  let plan = plans.get(key);
  if (plan === undefined) {
    plan = quickPlan(planned.plan, planned.tableIds, expandFormats(bound.formats, fields.length), output);
    plans.set(key, plan);
  }
  return plan;
}
