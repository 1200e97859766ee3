import { join } from 'node:path';
import { Dispatcher } from '../dispatch/dispatcher.js';
import type { Startup, WireConnection, WireSession } from '../wire/connection.js';
import { loadParser } from './parser.js';
import { PlanCache } from './plans.js';
import { Session } from './session.js';
import type { SharedSession } from './shared.js';
import { admit } from './startup.js';
import type { SessionDeps } from './types.js';

/** What the wire server calls, and what the daemon asks of the sessions. */
export interface SessionHandler {
  /** After authentication. Throws fatal errors: 3D000, 28000, 57P03. */
  onSession(startup: Startup, connection: WireConnection): Promise<WireSession>;
  onCancel(connection: WireConnection): void;
  /** Sessions that are open. */
  readonly count: number;
  /** Removes what dispatch keeps; when no session is open any more. */
  close(): Promise<void>;
}

/** Makes the sessions of a coordinator. Its front must be open. */
export async function createSessionHandler(deps: SessionDeps): Promise<SessionHandler> {
  await loadParser();
  const dispatcher = new Dispatcher(deps, join(deps.tempDir, 'finish'));
  const shared: SharedSession = { deps, dispatcher, plans: new PlanCache(deps.front), sessions: new Set() };
  return {
    get count() {
      return shared.sessions.size;
    },
    async onSession(startup, connection) {
      const settings = await admit(deps, startup);
      const session = new Session(shared, connection, settings);
      shared.sessions.add(session);
      return session;
    },
    onCancel(connection) {
      for (const session of shared.sessions) if (session.connection === connection) session.cancel();
    },
    close: () => dispatcher.close(),
  };
}
