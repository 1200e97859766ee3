import { SqlError } from '../../core/errors.js';
import type { Computing, Executed, StatementContext } from '../dispatch/types.js';
import type { Field } from '../front/types.js';
import { useOfTable } from '../txn/names.js';
import type { WireConnection, WireSession } from '../wire/connection.js';
import { commandComplete, type NoticeSeverity, noticeResponse, parameterStatus } from '../wire/messages.js';
import type { SessionMessage } from '../wire/parser.js';
import { runAdminCall } from './admin-call.js';
import { firstRowOfBulkInsert } from './bulk-insert.js';
import { runCatalogQuery } from './catalog-query.js';
import type { Kind } from './classify.js';
import { runCopy } from './copy.js';
import { runDdl } from './ddl.js';
import { runExplain } from './explain.js';
import { ExtendedProtocol } from './extended.js';
import type { Planned } from './plans.js';
import { runPrepared } from './prepared.js';
import { StatementScope } from './scope.js';
import { runSet, runShow } from './set.js';
import type { SessionSettings } from './settings.js';
import type { SharedSession } from './shared.js';
import { runSimple } from './simple.js';
import type { RawStatement } from './split.js';
import { type Bound, checkSameColumns, expandFormats } from './statement.js';
import { TransactionState } from './transaction-state.js';

/** Where a statement's answer goes. */
export interface Answer {
  /** Before the rows: the simple protocol describes them, the extended one has. */
  describe(fields: readonly Field[], formats: readonly number[]): void;
  rows(messages: Buffer, count: number): Promise<void> | undefined;
  /** Figures of what ran, for EXPLAIN ANALYZE. */
  executed?(figures: Executed): void;
}

/** Longest wait for a lock while this session holds the front. */
const MAX_WAIT_WITH_FRONT_MS = 10_000;
/** A definition that changes while a statement waits for its locks is followed this often. */
const MAX_REPLANS = 8;

/** One client's session: bytes → statement → front → planner → dispatch → rows. */
export class Session implements WireSession {
  readonly tx: TransactionState;
  readonly extended: ExtendedProtocol;
  private scope: StatementScope | null = null;

  constructor(
    readonly shared: SharedSession,
    readonly connection: WireConnection,
    readonly settings: SessionSettings,
  ) {
    this.tx = new TransactionState(shared.deps.transactions, shared.deps.catalog);
    this.extended = new ExtendedProtocol(this);
    connection.signal.addEventListener('abort', () => this.scope?.abort(new SqlError('08006', 'connection to client lost')), {
      once: true,
    });
    this.report();
  }

  /** undefined: done, without waiting for anything. */
  onMessage(message: SessionMessage): Promise<void> | undefined {
    try {
      const going = message.type === 'query' ? runSimple(this, message.sql) : this.extended.onMessage(message);
      return going?.catch((error: unknown) => this.failedBy(error));
    } catch (error) {
      return this.failedBy(error);
    }
  }

  private async failedBy(error: unknown): Promise<never> {
    await this.failed();
    throw error;
  }

  transactionStatus(): 'I' | 'T' | 'E' {
    return this.tx.status;
  }

  async onClose(): Promise<void> {
    this.scope?.abort(new SqlError('57P01', 'terminating connection due to administrator command'));
    this.extended.closePortals();
    this.shared.sessions.delete(this);
    await this.tx.rollback();
  }

  /** A cancel request for what runs now. */
  cancel(): void {
    this.scope?.cancel();
  }

  /** Runs one statement; its rows and their description go to `answer`, the command tag comes back. */
  async run(statement: RawStatement, kind: Kind, bound: Bound, answer: Answer): Promise<string> {
    if (kind.kind !== 'commit' && kind.kind !== 'rollback') this.tx.refuseInFailed();
    this.settings.transactionBegins();
    switch (kind.kind) {
      case 'query':
        return await this.runQuery(statement, kind.command, bound, answer);
      case 'begin':
      case 'commit':
      case 'rollback':
        return await this.runTransaction(kind);
      case 'set':
      case 'discard':
        return await runSet(this, statement, kind);
      case 'show':
        return await runShow(this, statement, kind, bound, answer);
      case 'copy':
        return await runCopy(this, statement, kind);
      case 'explain':
        return await runExplain(this, kind, bound, answer);
      case 'prepare':
      case 'execute':
      case 'deallocate':
        return await runPrepared(this, kind, answer);
      default:
        this.tx.refuseWriteInReadOnly(statement.tag.replace(/Stmt$/, '').toUpperCase());
        return await runDdl(this, statement, kind);
    }
  }

  /** SELECT, INSERT, UPDATE, DELETE, MERGE. */
  async runQuery(statement: RawStatement, command: string, bound: Bound, answer: Answer): Promise<string> {
    const { sql } = statement;
    const firstRow = bound.paramTypes.length === 0 ? firstRowOfBulkInsert(statement) : null;
    let planned = await this.plan(firstRow ?? sql, bound.paramTypes);
    checkSameColumns(bound.fields, planned.analyzed.fields);
    const fields = planned.analyzed.fields ?? [];
    const formats = expandFormats(bound.formats, fields.length);
    if (planned.plan.kind === 'catalog') return await runCatalogQuery(this, statement, command, planned, bound, formats, answer);
    if (planned.plan.kind === 'call') return await runAdminCall(this, planned.plan, bound, formats, answer);
    if (planned.plan.kind !== 'read') this.tx.refuseWriteInReadOnly(command);

    const held = await this.holdDefinitions(planned, firstRow ?? sql, bound.paramTypes);
    if (held !== planned) checkSameColumns(fields, held.analyzed.fields ?? []);
    planned = held;
    if (planned.analyzed.fields !== null) answer.describe(fields, formats);
    return await this.execute(planned, sql, bound, formats, answer, firstRow !== null);
  }

  /** The plan under this session's settings, role and transaction. */
  async plan(sql: string, paramTypes: number[]): Promise<Planned> {
    const { tx } = this;
    const known =
      tx.active === null ? this.shared.plans.peek(sql, paramTypes, this.settings.front(), this.shared.deps.catalog) : undefined;
    if (known !== undefined) return known;
    const own = { ddl: tx.ddl, changed: (tx.active?.catalogOps.length ?? 0) > 0 };
    return await this.shared.plans.make(sql, paramTypes, this.settings.front(), tx.view(), own);
  }

  /** Locks the tables' definitions for this transaction, and plans again where they changed meanwhile. */
  private async holdDefinitions(first: Planned, sql: string, paramTypes: number[]): Promise<Planned> {
    let planned = first;
    const txn = this.tx.transaction();
    for (let attempt = 0; attempt < MAX_REPLANS; attempt++) {
      await txn.lock(planned.tableIds.map(useOfTable), this.lockOptions());
      if (planned.catalogVersion === this.tx.view().version) return planned;
      planned = await this.plan(sql, paramTypes);
      if (planned.catalogVersion === this.tx.view().version && planned.tableIds.every((id) => first.tableIds.includes(id)))
        return planned;
    }
    throw new SqlError('40001', 'the definitions of the tables kept changing while the statement waited', {
      hint: 'Run it again.',
    });
  }

  private async execute(
    planned: Planned,
    sql: string,
    bound: Bound,
    formats: number[],
    answer: Answer,
    bulk: boolean,
  ): Promise<string> {
    const { plan } = planned;
    const ctx = this.context(sql, bound, formats, answer);
    const bulkPlan = bulk && plan.kind === 'insert' ? { ...plan, source: { kind: 'front' as const } } : plan;
    const executed = await this.shared.dispatcher.execute(bulkPlan, ctx, planned.fallback);
    answer.executed?.(executed);
    return executed.tag ?? `SELECT ${executed.rows}`;
  }

  /** What dispatch needs for one statement. */
  context(sql: string, bound: Bound, formats: number[], answer: Pick<Answer, 'rows'>): StatementContext {
    const scope = this.currentScope();
    return {
      txn: this.tx.active,
      view: () => this.tx.view(),
      params: bound.params,
      paramTypes: bound.paramTypes,
      formats,
      output: this.settings.output(),
      front: this.settings.front(),
      computing: this.computing(),
      ownDefinitions: this.tx.ddl !== null,
      sql,
      signal: scope.signal,
      sink: answer,
      lockTimeoutMs: this.settings.milliseconds('lock_timeout'),
      deadlineMs: scope.deadlineMs,
    };
  }

  /** The front, or the front as this session's own transaction holds it. */
  private computing(): Computing {
    const { ddl } = this.tx;
    const { front } = this.shared.deps;
    return {
      insert: (sql, params, types, table, settings) =>
        ddl?.computeInsert(sql, params, types, table) ??
        front.computeInsert(sql, params, types, table, settings, this.currentScope()),
      copy: (sql, input, line, table, settings) =>
        ddl?.computeCopy(sql, input, line, table) ?? front.computeCopy(sql, input, line, table, settings),
      fallback: (request) => (ddl ?? front).fallback(request),
      fallbackInsert: (request, table) => (ddl ?? front).fallbackInsert(request, table),
    };
  }

  lockOptions(): { timeoutMs?: number; signal: AbortSignal } {
    const wanted = this.settings.milliseconds('lock_timeout');
    // Others may wait for the front that this transaction holds, with locks that this one waits for: no graph shows that circle.
    const timeoutMs = this.tx.ddl === null ? wanted : Math.min(wanted || MAX_WAIT_WITH_FRONT_MS, MAX_WAIT_WITH_FRONT_MS);
    return timeoutMs > 0 ? { timeoutMs, signal: this.currentScope().signal } : { signal: this.currentScope().signal };
  }

  /** Runs `work` as a statement that can be cancelled and has a time limit. */
  async scoped<T>(scope: StatementScope, work: () => Promise<T>): Promise<T> {
    const outer = this.scope;
    this.scope = scope;
    try {
      return await work();
    } finally {
      this.scope = outer;
    }
  }

  /** The same for what is no promise: `enter` when it begins, `leave` when it has ended. */
  enter(scope: StatementScope): void {
    this.scope = scope;
  }

  leave(scope: StatementScope): void {
    if (this.scope === scope) this.scope = null;
  }

  newScope(): StatementScope {
    return new StatementScope(this.settings.milliseconds('statement_timeout'));
  }

  currentScope(): StatementScope {
    this.scope ??= new StatementScope(0);
    return this.scope;
  }

  private async runTransaction(kind: Kind & { kind: 'begin' | 'commit' | 'rollback' }): Promise<string> {
    if (kind.kind === 'begin') {
      const warning = this.tx.begin(kind.options);
      if (kind.options.readOnly === null && this.settings.get('default_transaction_read_only') === 'on') this.tx.readOnly = true;
      if (warning !== null) this.notice('WARNING', warning);
      return kind.start ? 'START TRANSACTION' : 'BEGIN';
    }
    this.extended.closePortals();
    const ended = kind.kind === 'commit' ? await this.tx.commit() : await this.tx.rollback();
    this.settings.transactionEnds(ended.tag === 'COMMIT');
    if (ended.warning !== null) this.notice('WARNING', ended.warning);
    if (kind.chain) this.tx.begin({ isolation: null, readOnly: null });
    return ended.tag;
  }

  /** The end of a protocol cycle: what ran outside of a block commits. */
  endImplicit(): Promise<void> | undefined {
    if (this.tx.inBlock) return undefined;
    this.extended.closePortals();
    if (!this.tx.idle) return this.tx.endImplicit().then(() => this.settings.transactionEnds(true));
    this.settings.transactionEnds(true);
    return undefined;
  }

  private async failed(): Promise<void> {
    this.extended.closePortals();
    await this.tx.fail();
    this.settings.transactionEnds(false);
    this.report();
  }

  notice(severity: NoticeSeverity, notice: SqlError): void {
    this.connection.write(noticeResponse(severity, notice));
  }

  /** Tells the client settings that have changed. */
  report(): void {
    for (const [name, value] of this.settings.takeReports()) this.connection.write(parameterStatus(name, value));
  }

  complete(tag: string): void {
    this.connection.write(commandComplete(tag));
  }
}
