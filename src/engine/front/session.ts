/** One PGlite with the session settings that stand in it. Not for use by two callers at once. */
import { internalError, type SqlError } from '../../core/errors.js';
import { type BackendMessage, firstError, query, rowValues } from './messages.js';
import { type ExecOptions, type PgliteWorker, WorkerLost } from './pglite-worker.js';
import { ident, literal } from './sql.js';
import type { FrontSettings } from './types.js';

export const SUPERUSER = 'postgres';
/** The front's own: superuser, every setting at its default. */
export const OWN_SETTINGS: FrontSettings = { role: SUPERUSER, gucs: {} };

/** While statements are analysed: their rewritten trees come as notices of level LOG. The pretty form breaks lines inside of numbers. */
export const ANALYSIS: Readonly<Record<string, string>> = {
  debug_print_rewritten: 'on',
  debug_pretty_print: 'off',
  client_min_messages: 'log',
};

interface Applied {
  role: string;
  gucs: Record<string, string>;
}

export class PgliteSession {
  /** null: unknown; everything is set anew. */
  private applied: Applied | null = null;

  constructor(readonly worker: PgliteWorker) {}

  /** Sends messages as they are. Throws WorkerLost where the instance cannot be trusted any more; errors of SQL are among the answers. */
  async exec(bytes: Buffer, options: ExecOptions): Promise<BackendMessage[]> {
    const messages = await this.worker.messages(bytes, options);
    const broken = this.damage(messages);
    if (broken !== undefined) {
      await this.worker.terminate(broken);
      throw new WorkerLost(broken);
    }
    return messages;
  }

  /** Makes role and settings stand as given. Call outside of a transaction only. */
  async settle(settings: FrontSettings, analysing: boolean, options: ExecOptions): Promise<void> {
    const wanted: Applied = { role: settings.role, gucs: analysing ? { ...settings.gucs, ...ANALYSIS } : settings.gucs };
    const statements = settingStatements(this.applied, wanted);
    if (statements.length > 0) {
      this.applied = null;
      const error = firstError(await this.exec(query(statements.join('; ')), options));
      if (error !== undefined) throw error;
    }
    this.applied = wanted;
  }

  /** What stands is not known any more: after statements of users that could change it. */
  forget(): void {
    this.applied = null;
  }

  /** Signs that JavaScript's stack overflowed inside PostgreSQL, or that it did not come to its end. */
  private damage(messages: BackendMessage[]): SqlError | undefined {
    const error = firstError(messages);
    if (error?.sqlstate === '26000' && error.message.startsWith('unnamed prepared statement')) {
      return internalError('the front lost a statement: it is too deep to be analysed');
    }
    if (error?.sqlstate === 'XX000' && error.message.includes('ERRORDATA_STACK_SIZE')) {
      return internalError(`the front is damaged: ${error.message}`);
    }
    if (messages.at(-1)?.type !== 'Z') return internalError('the front did not finish its answer');
    return undefined;
  }
}

/** Values of the rows in an answer, in text format. */
export function rowsOf(messages: readonly BackendMessage[]): (string | null)[][] {
  return messages.filter((m) => m.type === 'D').map((m) => rowValues(m.body));
}

/** Statements that lead from one state to the other. As superuser, because some settings are his; the role comes last. */
function settingStatements(from: Applied | null, to: Applied): string[] {
  const changes: string[] = [];
  if (from === null) changes.push('RESET ALL');
  const before = from?.gucs ?? {};
  for (const name of Object.keys(before)) {
    if (name !== 'role' && !(name in to.gucs)) changes.push(`RESET ${settingName(name)}`);
  }
  for (const [name, value] of Object.entries(to.gucs)) {
    if (name !== 'role' && before[name] !== value)
      changes.push(`SELECT pg_catalog.set_config(${literal(name)}, ${literal(value)}, false)`);
  }
  const sameRole = from !== null && from.role === to.role && from.gucs.role === to.gucs.role;
  if (changes.length === 0 && sameRole) return [];
  const role = roleStatements(to, false);
  return sameRole && to.role === SUPERUSER && to.gucs.role === undefined
    ? changes
    : [`SET SESSION AUTHORIZATION ${ident(SUPERUSER)}`, ...changes, ...role];
}

/** A dotted name is one of an extension's settings: each part is an identifier. */
function settingName(name: string): string {
  return name.split('.').map(ident).join('.');
}

/** Statements that make the session's user, and the role that it set, current. */
export function roleStatements(settings: FrontSettings, local: boolean): string[] {
  const set = local ? 'SET LOCAL' : 'SET';
  const statements = [`${set} SESSION AUTHORIZATION ${ident(settings.role)}`];
  const role = settings.gucs.role;
  if (role !== undefined && role !== 'none') statements.push(`${set} ROLE ${ident(role)}`);
  return statements;
}
