/**
 * The executor of last resort: a second PGlite, a copy of the front with the same OIDs. Rows are loaded into its empty tables, the
 * statement runs as the client wrote it, and all is rolled back.
 */
import { SqlError } from '../../core/errors.js';
import { type Computed, type ComputeTarget, computeLoaded } from './compute.js';
import type { FrontConnection, Scope } from './connection.js';
import { failOnError, fill, queryRows } from './connection.js';
import { Mutex } from './lock.js';
import { copyInput, query } from './messages.js';
import { passThrough } from './pass-through.js';
import { cancelled, PgliteWorker, timedOut, WorkerLost } from './pglite-worker.js';
import { OWN_SETTINGS, PgliteSession, roleStatements, SUPERUSER } from './session.js';
import { ident, literal, qualified } from './sql.js';
import { readColumns } from './tables.js';
import type { FallbackRequest } from './types.js';

export interface FallbackLimits {
  /** Bytes of CSV that one statement may load. */
  maxLoad: number;
  /** Bytes of its result. */
  maxOutput: number;
  /** WebAssembly memory never shrinks: an instance above this many bytes is given up after its statement. */
  maxMemory: number;
}

type TableName = Pick<ComputeTarget, 'schema' | 'name'>;

const OPEN_MS = 60_000;

export class FallbackExecutor {
  private readonly lock = new Mutex();
  private session: PgliteSession | undefined;
  private generation = -1;
  /** Version of the last refresh of catalog relations that the copy has. */
  private refreshes = 0;

  constructor(
    private readonly connection: FrontConnection,
    private readonly limits: FallbackLimits,
  ) {}

  get memory(): number {
    return this.session?.worker.memory ?? 0;
  }

  /** @param request.deadlineMs milliseconds from now, waiting for other statements included. */
  run(request: FallbackRequest): Promise<Buffer> {
    return this.perform(request, (scope) => passThrough(scope, request.messages, { maxOutput: this.limits.maxOutput }));
  }

  /** The same for an INSERT: its rows come back, in the target's columns. */
  runInsert(request: FallbackRequest, target: ComputeTarget): Promise<Computed> {
    return this.perform(request, (scope) => computeLoaded(scope, request.messages, target), [target]);
  }

  /** @param written tables that the statement inserts into, beside those that are loaded. */
  private async perform<T>(
    request: FallbackRequest,
    answer: (scope: Scope) => Promise<T>,
    written: readonly TableName[] = [],
  ): Promise<T> {
    this.checkLoad(request);
    const deadline = performance.now() + request.deadlineMs;
    return await this.lock.run(async () => {
      if (request.signal?.aborted) throw cancelled();
      try {
        const session = await this.current();
        await this.catchUp(session);
        const left = deadline - performance.now();
        if (left <= 0) throw timedOut();
        try {
          return await this.execute(session, request, left, answer);
        } finally {
          await this.cleanUp(session, [...request.load, ...written]);
        }
      } catch (error) {
        throw error instanceof WorkerLost ? error.reason : error;
      }
    });
  }

  async close(): Promise<void> {
    await this.session?.worker.terminate(new SqlError('57P01', 'the front is closed'));
    this.session = undefined;
  }

  private checkLoad(request: FallbackRequest): void {
    const bytes = request.load.reduce((sum, table) => table.csv.reduce((n, part) => n + part.length, sum), 0);
    if (bytes <= this.limits.maxLoad) return;
    throw new SqlError(
      '54000',
      `the statement needs ${bytes} bytes of rows on the coordinator, more than ${this.limits.maxLoad}`,
      {
        hint: 'Filter more rows, select fewer columns, or write the statement so that the segments can run it (EXPLAIN shows why they cannot).',
      },
    );
  }

  private async execute<T>(
    session: PgliteSession,
    request: FallbackRequest,
    left: number,
    answer: (scope: Scope) => Promise<T>,
  ): Promise<T> {
    const until = performance.now() + left;
    const options = () => ({ deadlineMs: Math.max(1, until - performance.now()), signal: request.signal });
    await session.settle(request.settings, false, options());
    const rows: Scope['rows'] = (sql, params) => queryRows(session, sql, params ?? [], options());
    const scope: Scope = {
      settings: request.settings,
      begin: backToUser(request),
      end: 'ROLLBACK',
      exec: (bytes, more) => session.exec(bytes, { ...options(), ...more }),
      rows,
      columns: (schema, name) => readColumns(rows, schema, name),
    };
    return await this.runLoaded(scope, request, 'BEGIN READ WRITE', answer);
  }

  /** The same in the front itself, inside an open transaction of DDL. */
  async runInside(scope: Scope, request: FallbackRequest): Promise<Buffer> {
    this.checkLoad(request);
    return await this.runLoaded({ ...scope, begin: backToUser(request) }, request, scope.begin, (inner) =>
      passThrough(inner, request.messages, { maxOutput: this.limits.maxOutput }),
    );
  }

  async insertInside(scope: Scope, request: FallbackRequest, target: ComputeTarget): Promise<Computed> {
    this.checkLoad(request);
    return await this.runLoaded({ ...scope, begin: backToUser(request) }, request, scope.begin, (inner) =>
      computeLoaded(inner, request.messages, target),
    );
  }

  private async runLoaded<T>(
    scope: Scope,
    request: FallbackRequest,
    open: string,
    answer: (scope: Scope) => Promise<T>,
  ): Promise<T> {
    try {
      await load(scope, request, open);
    } catch (error) {
      if (!(error instanceof WorkerLost)) await scope.exec(query(scope.end));
      throw error;
    }
    return await answer(scope);
  }

  /** Rolled back rows stay in the files until VACUUM: the next statement would read past them. */
  private async cleanUp(session: PgliteSession, used: readonly TableName[]): Promise<void> {
    if (!session.worker.alive) return;
    if (session.worker.memory > this.limits.maxMemory) return await this.close();
    if (used.length === 0) return;
    const options = { deadlineMs: OPEN_MS };
    try {
      await session.settle(OWN_SETTINGS, false, options);
      const tables = used.map((table) => qualified(table.schema, table.name));
      failOnError(await session.exec(query(`VACUUM ${tables.join(', ')}`), options));
    } catch {
      // Only a copy: the next statement gets a new one.
      await this.close();
    }
  }

  /** The copy, made anew where the front's DDL has moved on. */
  private async current(): Promise<PgliteSession> {
    if (this.session?.worker.alive && this.generation === this.connection.generation) return this.session;
    await this.close();
    const { tar, generation, refreshes } = await this.connection.dump();
    this.session = new PgliteSession(await PgliteWorker.open(tar));
    this.generation = generation;
    this.refreshes = refreshes;
    return this.session;
  }

  /** Rows of catalog relations change without a generation. */
  private async catchUp(session: PgliteSession): Promise<void> {
    const options = { deadlineMs: OPEN_MS };
    for (const { relation, rows, version } of this.connection.refreshedAfter(this.refreshes)) {
      await session.settle(OWN_SETTINGS, false, options);
      await fill(session, relation, rows, options);
      this.refreshes = version;
    }
  }
}

/** In the open transaction, after the load: the role and the settings of the client again. */
function backToUser(request: FallbackRequest): string {
  const { gucs } = request.settings;
  const statements = [`SET LOCAL session_replication_role = ${literal(gucs.session_replication_role ?? 'origin')}`];
  if (gucs.default_transaction_read_only !== undefined) {
    statements.push(`SET LOCAL transaction_read_only = ${literal(gucs.default_transaction_read_only)}`);
  }
  return [...statements, ...roleStatements(request.settings, true)].join('; ');
}

/** @param open SQL that opens the transaction or savepoint. */
async function load(scope: Scope, request: FallbackRequest, open: string): Promise<void> {
  // As a replica no trigger fires and no foreign key is checked. The loads were given without indexes or statistics: hash joins suit them best.
  const begin = [open, `SET LOCAL SESSION AUTHORIZATION ${ident(SUPERUSER)}`, 'SET LOCAL session_replication_role = replica'];
  if (request.settings.gucs.work_mem === undefined) begin.push("SET LOCAL work_mem = '64MB'");
  if (request.settings.gucs.enable_nestloop === undefined) begin.push('SET LOCAL enable_nestloop = off');
  failOnError(await scope.exec(query(begin.join('; '))));
  const loosened: { oid: string; notNull: string; generated: string; checks: string }[] = [];
  for (const table of request.load) {
    loosened.push(await loosen(scope, table));
    const columns = table.columns.map(ident).join(', ');
    const copy = query(`COPY ${qualified(table.schema, table.name)} (${columns}) FROM STDIN (FORMAT csv)`);
    if (table.columns.length === 0) await loadEmptyRows(scope, table);
    else failOnError(await scope.exec(Buffer.concat([copy, copyInput(table.csv)])));
  }
  for (const table of loosened) failOnError(await scope.exec(query(restored(table))));
}

/**
 * Rows come with the columns that the statement reads, the others are NULL: so NOT NULL and CHECK (which were kept when the rows were
 * stored) do not hold during the load, a stored generated column that is given takes its value, and indexes are left out, for good.
 */
async function loosen(scope: Scope, table: FallbackRequest['load'][number]) {
  const [found] = await scope.rows(
    `SELECT c.oid, coalesce(string_agg(a.attnum::text, ',') FILTER (WHERE a.attnotnull), ''),
       coalesce(string_agg(a.attnum::text, ',') FILTER (WHERE a.attgenerated = 's' AND a.attname = ANY ($3::text[])), ''), c.relchecks
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE n.nspname = $1 AND c.relname = $2 GROUP BY c.oid`,
    [table.schema, table.name, textArray(table.columns)],
  );
  if (found === undefined) throw new SqlError('42P01', `relation "${table.schema}.${table.name}" does not exist in the front`);
  const [oid, notNull, generated, checks] = found.map((value) => value ?? '') as [string, string, string, string];
  const statements = [`UPDATE pg_catalog.pg_class SET relchecks = 0, relhasindex = false WHERE oid = ${oid}`];
  if (notNull !== '') statements.push(setAttributes(oid, notNull, 'attnotnull = false'));
  if (generated !== '') statements.push(setAttributes(oid, generated, "attgenerated = ''"));
  failOnError(await scope.exec(query(statements.join('; '))));
  return { oid, notNull, generated, checks };
}

function restored(table: { oid: string; notNull: string; generated: string; checks: string }): string {
  const statements = [`UPDATE pg_catalog.pg_class SET relchecks = ${table.checks} WHERE oid = ${table.oid}`];
  if (table.notNull !== '') statements.push(setAttributes(table.oid, table.notNull, 'attnotnull = true'));
  if (table.generated !== '') statements.push(setAttributes(table.oid, table.generated, "attgenerated = 's'"));
  return statements.join('; ');
}

function setAttributes(oid: string, attnums: string, change: string): string {
  return `UPDATE pg_catalog.pg_attribute SET ${change} WHERE attrelid = ${oid} AND attnum IN (${attnums})`;
}

function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replace(/[\\"]/g, '\\$&')}"`).join(',')}}`;
}

/** A statement that reads no column, as `SELECT count(*)`: each line of the CSV is a row of NULLs. */
async function loadEmptyRows(scope: Scope, table: FallbackRequest['load'][number]): Promise<void> {
  const rows = table.csv.reduce((sum, part) => sum + part.reduce((n, byte) => n + (byte === 0x0a ? 1 : 0), 0), 0);
  const name = qualified(table.schema, table.name);
  const [first] = await scope.rows(
    `SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = ${literal(name)}::pg_catalog.regclass
     AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum LIMIT 1`,
  );
  const column = first?.[0];
  const target = column === undefined || column === null ? name : `${name} (${ident(column)}) OVERRIDING SYSTEM VALUE`;
  const values = column === undefined || column === null ? 'SELECT' : 'SELECT NULL';
  failOnError(await scope.exec(query(`INSERT INTO ${target} ${values} FROM pg_catalog.generate_series(1, ${rows})`)));
}
