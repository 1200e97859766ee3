/** Authentication of clients by host rules that the caller reads. */
import { SqlError } from '../../core/errors.js';
import type { Startup, WireConnection } from './connection.js';
import { authenticateScram } from './scram.js';

/** What the first matching host rule says of a client. */
export type AuthDecision =
  | { method: 'trust' }
  | { method: 'reject' }
  /** The role's stored verifier (`SCRAM-SHA-256$…`); null: no such role, no password, or it has expired. */
  | { method: 'scram-sha-256'; verifier: string | null };

/** undefined: no rule matches. */
export type HostRules = (startup: Startup) => AuthDecision | undefined | Promise<AuthDecision | undefined>;

/**
 * Makes the `authenticate` of a server.
 * @param serverSecret keeps the answers to unknown roles the same over time, so that roles cannot be told apart; random bytes.
 */
export function authenticateBy(
  rules: HostRules,
  serverSecret: Buffer,
): (startup: Startup, connection: WireConnection) => Promise<void> {
  return async (startup, connection) => {
    const decision = await rules(startup);
    if (decision === undefined) throw refused(`no pg_hba.conf entry for ${whoIs(startup)}`);
    switch (decision.method) {
      case 'trust':
        return;
      case 'reject':
        throw refused(`pg_hba.conf rejects connection for ${whoIs(startup)}`);
      case 'scram-sha-256':
        await authenticateScram(startup.user, decision.verifier, serverSecret, connection);
    }
  };
}

function whoIs({ address, user, database }: Startup): string {
  return `host "${address.replace(/^::ffff:/, '')}", user "${user}", database "${database}", no encryption`;
}

function refused(message: string): SqlError {
  return new SqlError('28000', message, { fatal: true });
}
