/**
 * The front's PGlite over time: who may use it now, what it has been fed, and how it is made again after its thread was ended.
 * PGlite is a cache: it opens from the template, then everything in `journal` is run again.
 */

import { internalError, SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import { Mutex } from './lock.js';
import { type BackendMessage, bindAndExecute, copyInput, firstError, parse, query, SYNC } from './messages.js';
import { type ExecOptions, PgliteWorker, WorkerLost } from './pglite-worker.js';
import { OWN_SETTINGS, PgliteSession, rowsOf } from './session.js';
import { csvRows, literal, qualified } from './sql.js';
import { readColumns, type TableColumn } from './tables.js';
import type { FrontSettings } from './types.js';

/** A transaction of DDL: statements as they were run. */
export interface JournalEntry {
  statements: string[];
  settings: FrontSettings;
}

export interface SequenceState {
  schema: string;
  name: string;
  lastValue: string;
  isCalled: boolean;
}

/** A piece of work that leaves nothing behind: its own transaction, or a savepoint where a transaction of DDL is open. */
export interface Scope {
  readonly settings: FrontSettings;
  /** SQL that opens and closes it. */
  readonly begin: string;
  readonly end: string;
  exec(bytes: Buffer, options?: { maxOutput?: number; signal?: AbortSignal }): Promise<BackendMessage[]>;
  /** Rows of a query, outside of begin and end. */
  rows(sql: string, params?: readonly (string | null)[]): Promise<(string | null)[][]>;
  /** Columns of a table by attnum. */
  columns(schema: string, name: string): Promise<TableColumn[]>;
}

/** Rows of one of our catalog relations, as last given. */
export interface Refreshed {
  relation: { schema: string; name: string };
  rows: (string | null)[][];
  /** Rises with each refresh of any relation. */
  version: number;
}

export interface ConnectionOptions {
  /** Tar of the template's data directory, gzip or plain. */
  template: Uint8Array;
  logger: Logger;
  callMs: number;
  ddlMs: number;
  lockMs: number;
  /** The front was made again: OIDs may differ, and rows of catalog relations and sequences are those of the last calls. */
  onRebuilt?: (() => void) | undefined;
}

const REFRESHES_PER_CHECKPOINT = 100;

export class FrontConnection {
  readonly lock = new Mutex();
  generation = 1;
  private session: PgliteSession | undefined;
  private opened = false;
  private closed = false;
  private readonly journal: JournalEntry[] = [];
  private readonly refreshed = new Map<string, Refreshed>();
  private refreshes = 0;
  private readonly columnCache = new Map<string, TableColumn[]>();
  private columnGeneration = 0;
  private readonly sequences = new Map<string, SequenceState>();

  constructor(private readonly options: ConnectionOptions) {}

  get memory(): number {
    return this.session?.worker.memory ?? 0;
  }

  get callOptions(): ExecOptions {
    return { deadlineMs: this.options.callMs };
  }

  get ddlOptions(): ExecOptions {
    return { deadlineMs: this.options.ddlMs };
  }

  /** The open session, made again if it was lost. With the lock held. */
  async ready(): Promise<PgliteSession> {
    if (this.closed) throw new SqlError('57P01', 'the front is closed');
    if (this.session?.worker.alive) return this.session;
    const again = this.opened;
    const started = performance.now();
    this.session = new PgliteSession(await PgliteWorker.open(this.options.template));
    this.opened = true;
    if (again) {
      await this.restore(this.session);
      this.generation += 1;
      this.options.logger.warn(
        { ms: Math.round(performance.now() - started), entries: this.journal.length },
        'front was made again',
      );
      this.options.onRebuilt?.();
    }
    return this.session;
  }

  /** Runs work with the lock, the session open and settings in place. */
  async use<T>(settings: FrontSettings, analysing: boolean, work: (session: PgliteSession) => Promise<T>): Promise<T> {
    return await this.lock.run(
      () =>
        this.translate(async () => {
          const session = await this.ready();
          await session.settle(settings, analysing, this.callOptions);
          return await work(session);
        }),
      this.patience,
    );
  }

  /** A transaction of DDL holds the front until it ends; nobody waits for an idle one for ever. */
  get patience(): { ms: number; error: () => Error } {
    const hint = 'Another transaction has changed definitions and is still open: try again when it has ended.';
    return {
      ms: this.options.lockMs,
      error: () => new SqlError('55P03', 'the SQL front is held by a transaction with DDL', { hint }),
    };
  }

  /** A scope in a transaction of its own. */
  async scope<T>(settings: FrontSettings, work: (scope: Scope) => Promise<T>): Promise<T> {
    return await this.use(settings, false, (session) => {
      const rows: Scope['rows'] = (sql, params) => queryRows(session, sql, params ?? [], this.callOptions);
      return work({
        settings,
        begin: 'BEGIN',
        end: 'ROLLBACK',
        exec: (bytes, options) => session.exec(bytes, { ...this.callOptions, ...options }),
        rows,
        columns: (schema, name) => this.columns(rows, schema, name),
      });
    });
  }

  async rows(
    sql: string,
    params: readonly (string | null)[] = [],
    settings: FrontSettings = OWN_SETTINGS,
  ): Promise<(string | null)[][]> {
    return await this.use(settings, false, (session) => queryRows(session, sql, params, this.callOptions));
  }

  /** A lost worker reaches callers as the error that ended it. */
  async translate<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof WorkerLost ? error.reason : error;
    }
  }

  /** Adds a committed transaction to what a rebuilt front gets. */
  committed(entry: JournalEntry): void {
    if (entry.statements.length > 0) this.journal.push(entry);
    this.generation += 1;
  }

  async replay(entry: JournalEntry): Promise<void> {
    await this.lock.run(() => this.translate(async () => runEntry(await this.ready(), entry, this.ddlOptions)));
    this.committed(entry);
  }

  async refresh(relation: { schema: string; name: string }, rows: (string | null)[][]): Promise<void> {
    await this.use(OWN_SETTINGS, false, async (session) => {
      await fill(session, relation, rows, this.callOptions);
      // PGlite has no checkpointer: its WAL and the files that TRUNCATE left stay in memory until somebody asks.
      if (this.refreshes % REFRESHES_PER_CHECKPOINT === 0) failOnError(await session.exec(query('CHECKPOINT'), this.callOptions));
    });
    this.refreshes += 1;
    this.refreshed.set(qualified(relation.schema, relation.name), { relation, rows, version: this.refreshes });
  }

  /** What was refreshed after `version`, oldest first. */
  refreshedAfter(version: number): Refreshed[] {
    return [...this.refreshed.values()].filter((r) => r.version > version).sort((a, b) => a.version - b.version);
  }

  /** Positions that were seen or set: a rebuilt front does not fall behind them. */
  noteSequences(states: readonly SequenceState[]): void {
    for (const state of states) this.sequences.set(qualified(state.schema, state.name), state);
  }

  /** Tar of the data directory as committed. */
  async dump(): Promise<{ tar: Uint8Array; generation: number; refreshes: number }> {
    return await this.use(OWN_SETTINGS, false, async (session) => {
      failOnError(await session.exec(query('CHECKPOINT'), this.callOptions));
      const { generation, refreshes } = this;
      return { tar: await session.worker.dump(this.options.ddlMs), generation, refreshes };
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.session?.worker.terminate(new SqlError('57P01', 'the front is closed'));
  }

  private async columns(rows: Scope['rows'], schema: string, name: string): Promise<TableColumn[]> {
    if (this.columnGeneration !== this.generation) this.columnCache.clear();
    this.columnGeneration = this.generation;
    const key = qualified(schema, name);
    const columns = this.columnCache.get(key) ?? (await readColumns(rows, schema, name));
    this.columnCache.set(key, columns);
    return columns;
  }

  private async restore(session: PgliteSession): Promise<void> {
    for (const entry of this.journal) {
      try {
        await runEntry(session, entry, this.ddlOptions);
      } catch (error) {
        await session.worker.terminate(internalError('the front could not be made again'));
        throw internalError(`the front could not be made again: ${(error as Error).message}`, error);
      }
    }
    await session.settle(OWN_SETTINGS, false, this.callOptions);
    for (const { relation, rows } of this.refreshed.values()) {
      await fill(session, relation, rows, this.callOptions).catch((error: Error) => {
        // Rows can name tables by OIDs that are gone; the owner refreshes them when he is told of the rebuild.
        if (error instanceof WorkerLost) throw error;
        this.options.logger.warn(
          { relation, error: error.message },
          'rows of a catalog relation do not fit the front made again',
        );
      });
    }
    const existing = new Set(
      (await queryRows(session, SEQUENCES, [], this.callOptions)).map((row) => qualified(row[0] ?? '', row[1] ?? '')),
    );
    for (const [name, state] of this.sequences) {
      if (!existing.has(name)) continue;
      const sql = `SELECT pg_catalog.setval(${literal(name)}, ${literal(state.lastValue)}::bigint, ${state.isCalled})`;
      failOnError(await session.exec(query(sql), this.callOptions));
    }
  }
}

/**
 * Schema, name, last value (or start), whether it was called; as superuser. Names by subqueries, because a join would read pg_class from end to end
 * (3 ms); the view pg_sequences does so too.
 */
export const SEQUENCES = `SELECT
    (SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = (SELECT relnamespace FROM pg_catalog.pg_class c WHERE c.oid = s.seqrelid)),
    (SELECT relname FROM pg_catalog.pg_class c WHERE c.oid = s.seqrelid), coalesce(s.last, s.seqstart)::text, s.last IS NOT NULL
  FROM (SELECT seqrelid, seqstart, pg_catalog.pg_sequence_last_value(seqrelid) AS last FROM pg_catalog.pg_sequence OFFSET 0) s
  ORDER BY 1, 2`;

export function sequenceStates(rows: readonly (string | null)[][]): SequenceState[] {
  return rows.map((row) => ({ schema: row[0] ?? '', name: row[1] ?? '', lastValue: row[2] ?? '1', isCalled: row[3] === 't' }));
}

export function failOnError(messages: BackendMessage[]): BackendMessage[] {
  const error = firstError(messages);
  if (error !== undefined) throw error;
  return messages;
}

export async function queryRows(
  session: PgliteSession,
  sql: string,
  params: readonly (string | null)[],
  options: ExecOptions,
): Promise<(string | null)[][]> {
  const bytes = Buffer.concat([parse(sql, []), bindAndExecute(params), SYNC]);
  return rowsOf(failOnError(await session.exec(bytes, options)));
}

async function runEntry(session: PgliteSession, entry: JournalEntry, options: ExecOptions): Promise<void> {
  await session.settle(entry.settings, false, options);
  try {
    failOnError(await session.exec(query('BEGIN'), options));
    for (const sql of entry.statements) failOnError(await session.exec(query(sql), options));
    failOnError(await session.exec(query('COMMIT'), options));
  } catch (error) {
    if (!(error instanceof WorkerLost)) await session.exec(query('ROLLBACK'), options);
    throw error;
  } finally {
    session.forget();
  }
}

/** Replaces the rows of a relation, at once. */
export async function fill(
  session: PgliteSession,
  relation: { schema: string; name: string },
  rows: (string | null)[][],
  options: ExecOptions,
): Promise<void> {
  const name = qualified(relation.schema, relation.name);
  const load = rows.length === 0 ? [] : [query(`COPY ${name} FROM STDIN (FORMAT csv)`), copyInput([csvRows(rows)])];
  const bytes = Buffer.concat([query(`BEGIN; TRUNCATE ${name}`), ...load]);
  const error = firstError(await session.exec(bytes, options));
  failOnError(await session.exec(query(error === undefined ? 'COMMIT' : 'ROLLBACK'), options));
  if (error !== undefined) throw error;
}
