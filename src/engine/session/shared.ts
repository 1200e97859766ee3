import type { Dispatcher } from '../dispatch/dispatcher.js';
import type { PlanCache } from './plans.js';
import type { Session } from './session.js';
import type { SessionDeps } from './types.js';

/** What the sessions of a coordinator share. */
export interface SharedSession {
  readonly deps: SessionDeps;
  readonly dispatcher: Dispatcher;
  readonly plans: PlanCache;
  readonly sessions: Set<Session>;
}
