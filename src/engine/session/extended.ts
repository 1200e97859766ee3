import { SqlError } from '../../core/errors.js';
import {
  BIND_COMPLETE,
  CLOSE_COMPLETE,
  EMPTY_QUERY_RESPONSE,
  NO_DATA,
  PARSE_COMPLETE,
  PORTAL_SUSPENDED,
  parameterDescription,
  rowDescription,
} from '../wire/messages.js';
import type { BindMessage, ParseMessage, SessionMessage } from '../wire/parser.js';
import { fieldsOf } from './describe.js';
import { bindValues } from './params.js';
import { type PortalRun, PortalSink } from './portal.js';
import { runQuick } from './quick-read.js';
import { StatementScope } from './scope.js';
import type { Answer, Session } from './session.js';
import { type Bound, expandFormats, parseOne, type Statement } from './statement.js';

/** Statements and portals that one session may keep. */
const MAX_STATEMENTS = 10_000;
const MAX_PORTALS = 1000;

interface Portal {
  statement: Statement;
  bound: Bound;
  run: PortalRun | null;
  finished: boolean;
}

/** Parse, Bind, Describe, Execute, Close: named statements and portals of one session. */
export class ExtendedProtocol {
  private readonly statements = new Map<string, Statement>();
  private readonly portals = new Map<string, Portal>();

  constructor(private readonly session: Session) {}

  /** undefined: done, without waiting for anything. */
  onMessage(message: Exclude<SessionMessage, { type: 'query' }>): Promise<void> | undefined {
    switch (message.type) {
      case 'parse':
        return this.parse(message);
      case 'bind':
        return this.bind(message);
      case 'describe':
        this.describe(message.kind, message.name);
        return undefined;
      case 'execute':
        return this.execute(message.portal, message.maxRows);
      case 'close':
        this.close(message.kind, message.name);
        return undefined;
      case 'sync': {
        const ending = this.session.endImplicit();
        if (ending !== undefined) return ending.then(() => this.session.report());
        this.session.report();
        return undefined;
      }
      case 'flush':
        return undefined;
    }
  }

  // Statements ---------------------------------------------------------------------------------------------------------

  private async parse({ name, sql, paramTypes }: ParseMessage): Promise<void> {
    if (name !== '' && this.statements.has(name)) throw new SqlError('42P05', `prepared statement "${name}" already exists`);
    if (name === '') this.statements.delete('');
    if (this.statements.size >= MAX_STATEMENTS)
      throw new SqlError('54000', `a session may have ${MAX_STATEMENTS} prepared statements`);
    this.statements.set(name, await this.prepare(sql, paramTypes));
    this.session.connection.write(PARSE_COMPLETE);
  }

  /** Parses and, where it is a query, analyses; its types and columns are fixed from here on. */
  async prepare(sql: string, paramTypes: number[]): Promise<Statement> {
    const parsed = parseOne(sql);
    if (parsed === null) return { raw: null, kind: null, paramTypes: [], fields: null };
    const { raw, kind } = parsed;
    if (kind.kind !== 'commit' && kind.kind !== 'rollback') this.session.tx.refuseInFailed();
    if (kind.kind !== 'query') return { raw, kind, paramTypes: [], fields: await fieldsOf(this.session, kind) };
    const { analyzed } = await this.session.plan(raw.sql, paramTypes);
    return { raw, kind, paramTypes: analyzed.paramTypes, fields: analyzed.fields };
  }

  /** PREPARE: the same statements, by SQL. */
  define(name: string, statement: Statement): void {
    if (this.statements.has(name)) throw new SqlError('42P05', `prepared statement "${name}" already exists`);
    if (this.statements.size >= MAX_STATEMENTS)
      throw new SqlError('54000', `a session may have ${MAX_STATEMENTS} prepared statements`);
    this.statements.set(name, statement);
  }

  statement(name: string): Statement {
    const statement = this.statements.get(name);
    if (statement !== undefined) return statement;
    throw new SqlError(
      '26000',
      name === '' ? 'unnamed prepared statement does not exist' : `prepared statement "${name}" does not exist`,
    );
  }

  deallocate(name: string | null): void {
    if (name === null) this.statements.clear();
    else {
      this.statement(name);
      this.statements.delete(name);
    }
  }

  dropUnnamed(): void {
    this.statements.delete('');
    this.closePortal('');
  }

  // Portals ------------------------------------------------------------------------------------------------------------

  private bind(message: BindMessage): Promise<void> | undefined {
    const statement = this.statement(message.statement);
    if (message.portal !== '' && this.portals.has(message.portal)) {
      throw new SqlError('42P03', `cursor "${message.portal}" already exists`);
    }
    if (this.portals.size >= MAX_PORTALS) throw new SqlError('54000', `a session may have ${MAX_PORTALS} open portals`);
    this.closePortal(message.portal);
    const kind = statement.kind?.kind;
    if (kind !== undefined && kind !== 'commit' && kind !== 'rollback') this.session.tx.refuseInFailed();
    const values = bindValues(this.session, statement, message);
    if (!Array.isArray(values)) return values.then((params) => this.addPortal(message, statement, params));
    this.addPortal(message, statement, values);
    return undefined;
  }

  private addPortal(message: BindMessage, statement: Statement, params: (string | null)[]): void {
    if (statement.fields !== null) expandFormats(message.resultFormats, statement.fields.length);
    const bound = { params, paramTypes: statement.paramTypes, formats: message.resultFormats, fields: statement.fields };
    this.portals.set(message.portal, { statement, bound, run: null, finished: false });
    this.session.connection.write(BIND_COMPLETE);
  }

  private portal(name: string): Portal {
    const portal = this.portals.get(name);
    if (portal === undefined) throw new SqlError('34000', `portal "${name}" does not exist`);
    return portal;
  }

  private describe(kind: 'S' | 'P', name: string): void {
    const { connection } = this.session;
    const statement = kind === 'S' ? this.statement(name) : this.portal(name).statement;
    if (kind === 'S') connection.write(parameterDescription(statement.paramTypes));
    if (statement.fields === null) {
      connection.write(NO_DATA);
      return;
    }
    const asked = kind === 'P' ? this.portal(name).bound.formats : [];
    if (asked.length === 0) {
      statement.described ??= rowDescription(statement.fields);
      connection.write(statement.described);
    } else connection.write(rowDescription(statement.fields, expandFormats(asked, statement.fields.length)));
  }

  private execute(name: string, maxRows: number): Promise<void> | undefined {
    const portal = this.portal(name);
    const fresh = maxRows === 0 && portal.run === null && !portal.finished;
    const quick = fresh ? runQuick(this.session, portal.statement, portal.bound) : undefined;
    if (quick === undefined) return this.executeWhole(name, portal, maxRows);
    return quick.then((answer) => {
      if (answer === null) return this.executeWhole(name, portal, maxRows);
      portal.finished = true;
      if (answer.rows > 0) this.session.connection.write(answer.messages);
      this.session.complete(`SELECT ${answer.rows}`);
      return undefined;
    });
  }

  private async executeWhole(name: string, portal: Portal, maxRows: number): Promise<void> {
    const { raw, kind } = portal.statement;
    if (raw === null || kind === null) {
      this.session.connection.write(EMPTY_QUERY_RESPONSE);
      return;
    }
    if (portal.finished) {
      this.executeAgain(name, portal);
      return;
    }
    const limit = maxRows === 0 ? Number.POSITIVE_INFINITY : maxRows;
    const sink = portal.run?.sink ?? new PortalSink(this.session.connection);
    const partial = portal.run !== null;
    const suspended = sink.allow(limit).then(() => null);
    portal.run ??= this.start(portal, sink, maxRows);
    const { run } = portal;
    const tag = await this.session.scoped(run.scope, () => (maxRows === 0 ? run.done : Promise.race([run.done, suspended])));
    if (tag === null) {
      this.session.connection.write(PORTAL_SUSPENDED);
      return;
    }
    portal.finished = true;
    run.scope.end();
    this.session.complete(partial ? tag.replace(/^SELECT \d+$/, `SELECT ${sink.count}`) : tag);
  }

  /** A portal that has given all its rows gives none; a command does not run twice. */
  private executeAgain(name: string, portal: Portal): void {
    if (portal.statement.kind?.kind !== 'query' || portal.statement.fields === null) {
      throw new SqlError('55000', `portal "${name}" cannot be run`);
    }
    this.session.complete('SELECT 0');
  }

  private start(portal: Portal, sink: PortalSink, maxRows: number): PortalRun {
    // What waits for the client between two Executes has no time limit of its own.
    const scope = maxRows === 0 ? this.session.newScope() : new StatementScope(0);
    const { statement, bound } = portal;
    const answer: Answer = { describe: () => undefined, rows: (messages, count) => sink.rows(messages, count) };
    const done = this.session.scoped(scope, () => this.session.run(statement.raw!, statement.kind!, bound, answer));
    // An error that comes while nobody executes is told by the next Execute.
    done.catch(() => undefined);
    return { done, sink, scope };
  }

  private close(kind: 'S' | 'P', name: string): void {
    if (kind === 'S') this.statements.delete(name);
    else this.closePortal(name);
    this.session.connection.write(CLOSE_COMPLETE);
  }

  private closePortal(name: string): void {
    const portal = this.portals.get(name);
    if (portal === undefined) return;
    this.portals.delete(name);
    end(portal);
  }

  /** The end of a transaction is the end of its portals. */
  closePortals(): void {
    if (this.portals.size === 0) return;
    for (const portal of this.portals.values()) end(portal);
    this.portals.clear();
  }
}

function end(portal: Portal): void {
  const { run } = portal;
  if (run === null) return;
  if (!portal.finished) run.scope.abort(new SqlError('57014', 'the portal was closed'));
  run.scope.end();
  run.sink.abandon();
}
