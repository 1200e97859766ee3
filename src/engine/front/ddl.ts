/** A transaction of DDL in the front. It has the front for itself until it ends. */
import { internalError } from '../../core/errors.js';
import type { Analyser } from './analyse.js';
import { type Computed, type ComputeTarget, computeCopy, computeInsert } from './compute.js';
import { type FrontConnection, failOnError, queryRows, type Scope } from './connection.js';
import type { FallbackExecutor } from './fallback.js';
import { commandTag, noticeFields, query, SYNC } from './messages.js';
import { clientMessages } from './pass-through.js';
import { WorkerLost } from './pglite-worker.js';
import type { PgliteSession } from './session.js';
import { ident } from './sql.js';
import { readColumns, readTables } from './tables.js';
import type { Analyzed, FallbackRequest, FrontDdl, FrontSettings, FrontTable } from './types.js';

type Step = { sql: string } | { savepoint: string };

export class DdlTransaction implements FrontDdl {
  private steps: Step[] = [];
  private ended = false;

  private constructor(
    private readonly connection: FrontConnection,
    private readonly analyser: Analyser,
    private readonly executor: FallbackExecutor,
    private readonly session: PgliteSession,
    private readonly settings: FrontSettings,
    private readonly release: () => void,
  ) {}

  static async begin(
    connection: FrontConnection,
    analyser: Analyser,
    executor: FallbackExecutor,
    settings: FrontSettings,
  ): Promise<DdlTransaction> {
    const release = await connection.lock.acquire(connection.patience);
    try {
      return await connection.translate(async () => {
        const session = await connection.ready();
        await session.settle(settings, false, connection.callOptions);
        failOnError(await session.exec(query('BEGIN'), connection.callOptions));
        return new DdlTransaction(connection, analyser, executor, session, settings, release);
      });
    } catch (error) {
      release();
      throw error;
    }
  }

  async exec(sql: string): Promise<{ tag: string; notices: string[] }> {
    const messages = await this.run(async () => failOnError(await this.session.exec(query(sql), this.connection.ddlOptions)));
    this.steps.push({ sql });
    const tags = messages.filter((m) => m.type === 'C');
    const notices = messages.filter((m) => m.type === 'N').map((m) => noticeFields(m.body).M ?? '');
    return { tag: tags.length === 0 ? '' : commandTag((tags.at(-1) as { body: Buffer }).body), notices };
  }

  analyze(sql: string, paramTypes: number[]): Promise<Analyzed> {
    return this.run(() => this.analyser.analyzeInside(this.scope, sql, paramTypes));
  }

  /** In the transaction itself: what the statement does stays, and an error aborts it, until `rollbackTo` or the end. */
  passThrough(messages: Buffer): Promise<Buffer> {
    return this.run(async () =>
      clientMessages(await this.session.exec(Buffer.concat([messages, SYNC]), this.connection.callOptions)),
    );
  }

  /** In the front's own PGlite, because the fallback's does not know what this transaction has done. A deadline ends this transaction too. */
  fallback(request: FallbackRequest): Promise<Buffer> {
    return this.run(() => this.executor.runInside(this.timed(request), request));
  }

  fallbackInsert(request: FallbackRequest, table: ComputeTarget): Promise<{ csv: Buffer; rows: number }> {
    return this.run(() => this.executor.insertInside(this.timed(request), request, table));
  }

  private timed(request: FallbackRequest): Scope {
    const until = performance.now() + request.deadlineMs;
    const options = () => ({ deadlineMs: Math.max(1, until - performance.now()), signal: request.signal });
    const exec: Scope['exec'] = (bytes, more) => this.session.exec(bytes, { ...options(), ...more });
    return { ...this.scope, exec, settings: request.settings };
  }

  computeInsert(
    sql: string,
    params: (string | null)[],
    paramTypes: number[],
    table: ComputeTarget,
  ): Promise<{ csv: Buffer; rows: number }> {
    return this.noting(() => computeInsert(this.scope, sql, params, paramTypes, table));
  }

  computeCopy(copySql: string, input: Buffer, firstLine: number, table: ComputeTarget): Promise<{ csv: Buffer; rows: number }> {
    return this.noting(() => computeCopy(this.scope, copySql, input, firstLine, table));
  }

  tables(oids?: number[]): Promise<FrontTable[]> {
    return this.run(() => readTables(this.scope.rows, oids));
  }

  rows(sql: string, params?: (string | null)[]): Promise<(string | null)[][]> {
    return this.run(() => this.scope.rows(sql, params));
  }

  async savepoint(name: string): Promise<void> {
    await this.control(`SAVEPOINT ${ident(name)}`);
    this.steps.push({ savepoint: name });
  }

  async rollbackTo(name: string): Promise<void> {
    await this.control(`ROLLBACK TO SAVEPOINT ${ident(name)}`);
    const at = this.steps.findLastIndex((step) => 'savepoint' in step && step.savepoint === name);
    this.steps = this.steps.slice(0, at + 1);
  }

  /**
   * Where the front is lost on the way, it is made again with this transaction: whoever calls commit has decided already. An error that
   * PostgreSQL finds at commit is thrown, and nothing of the transaction stays.
   */
  async commit(): Promise<void> {
    this.assertOpen();
    try {
      await this.commitOrRebuild();
    } finally {
      this.end();
    }
  }

  async rollback(): Promise<void> {
    if (this.ended) return;
    try {
      if (this.session.worker.alive) await this.session.exec(query('ROLLBACK'), this.connection.callOptions);
    } catch (error) {
      // A lost front has rolled back.
      if (!(error instanceof WorkerLost)) throw error;
    } finally {
      this.end();
    }
  }

  private async commitOrRebuild(): Promise<void> {
    const entry = { statements: this.steps.flatMap((step) => ('sql' in step ? [step.sql] : [])), settings: this.settings };
    try {
      const messages = failOnError(await this.session.exec(query('COMMIT'), this.connection.ddlOptions));
      const tag = messages.find((m) => m.type === 'C');
      if (tag === undefined || commandTag(tag.body) !== 'COMMIT') {
        throw internalError('the front rolled back a transaction that was to be committed: one of its statements had failed');
      }
      this.connection.committed(entry);
    } catch (error) {
      if (!(error instanceof WorkerLost)) throw error;
      this.connection.committed(entry);
      await this.connection.translate(() => this.connection.ready());
    }
  }

  private get scope(): Scope {
    return {
      settings: this.settings,
      begin: 'SAVEPOINT damson_scope',
      end: 'ROLLBACK TO SAVEPOINT damson_scope; RELEASE SAVEPOINT damson_scope',
      exec: (bytes, options) => this.session.exec(bytes, { ...this.connection.callOptions, ...options }),
      rows: (sql, params) => this.query(sql, params ?? []),
      columns: (schema, name) => readColumns((sql, params) => this.query(sql, params ?? []), schema, name),
    };
  }

  private query(sql: string, params: readonly (string | null)[]): Promise<(string | null)[][]> {
    return queryRows(this.session, sql, params, this.connection.callOptions);
  }

  private async noting(work: () => Promise<Computed>): Promise<{ csv: Buffer; rows: number }> {
    const { csv, rows, sequences } = await this.run(work);
    this.connection.noteSequences(sequences);
    return { csv, rows };
  }

  private async control(sql: string): Promise<void> {
    await this.run(async () => failOnError(await this.session.exec(query(sql), this.connection.callOptions)));
  }

  private run<T>(work: () => Promise<T>): Promise<T> {
    this.assertOpen();
    return this.connection.translate(work);
  }

  private assertOpen(): void {
    if (this.ended) throw internalError('the transaction in the front has ended');
  }

  /** Statements of users may have set things for the session: it starts anew. */
  private end(): void {
    if (this.ended) return;
    this.ended = true;
    this.session.forget();
    this.release();
  }
}
