/** The SQL front: PostgreSQL's parser, analyser, catalogs and functions, in PGlite. See types.ts for what each call promises. */
import { existsSync, readFileSync } from 'node:fs';
import { DamsonError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import { Analyser } from './analyse.js';
import { type Computed, type ComputeTarget, computeCopy, computeInsert } from './compute.js';
import { FrontConnection, failOnError, type Scope, SEQUENCES, sequenceStates } from './connection.js';
import { DdlTransaction } from './ddl.js';
import { FallbackExecutor, type FallbackLimits } from './fallback.js';
import { query } from './messages.js';
import { passThrough } from './pass-through.js';
import { Privileges } from './privileges.js';
import { OWN_SETTINGS, rowsOf } from './session.js';
import { literal, qualified } from './sql.js';
import { readTables } from './tables.js';
import type { Analyzed, FallbackRequest, Front, FrontDdl, FrontSettings, FrontTable, PassLimits } from './types.js';

export interface FrontLimits extends FallbackLimits {
  /** Milliseconds for one call, and for one statement of DDL. */
  callMs: number;
  ddlMs: number;
  /** Milliseconds that a call waits for transactions of DDL. */
  lockMs: number;
}

const MB = 1024 * 1024;
export const DEFAULT_FRONT_LIMITS: FrontLimits = {
  callMs: 60_000,
  ddlMs: 300_000,
  lockMs: 120_000,
  maxLoad: 512 * MB,
  maxOutput: 256 * MB,
  maxMemory: 1536 * MB,
};

export interface OpenFrontOptions {
  /** template.tar.gz, as scripts/front-template.mjs makes it. */
  templatePath: string;
  logger: Logger;
  limits?: Partial<FrontLimits>;
  /** PGlite was lost and made again from the journal: OIDs, rows of catalog relations and sequences should be looked at again. */
  onRebuilt?: () => void;
}

/** Opens the template in memory: no state of an earlier run. `replay` brings it up to the journal. */
export async function openFront(options: OpenFrontOptions): Promise<Front> {
  if (!existsSync(options.templatePath)) {
    throw new DamsonError(`the SQL front's template ${options.templatePath} does not exist`, {
      hint: 'Run `npm run build`, or install the package again.',
    });
  }
  const limits = { ...DEFAULT_FRONT_LIMITS, ...options.limits };
  const connection = new FrontConnection({
    template: readFileSync(options.templatePath),
    logger: options.logger,
    callMs: limits.callMs,
    ddlMs: limits.ddlMs,
    lockMs: limits.lockMs,
    onRebuilt: options.onRebuilt,
  });
  const front = new PgliteFront(connection, limits);
  await connection.lock.run(() => connection.ready());
  return front;
}

/** Rolled back rows of one table that are worth a VACUUM. */
const DEAD_ROWS = 50_000;

/** Their state is this PGlite's alone. */
const SEQUENCE_FUNCTIONS = /nextval|setval|currval|lastval/i;
/** Marks of statements that make rows, or time, out of nothing. */
const LONG_RUNNING = /\brecursive\b|\bgenerate_series\b|\bpg_sleep/i;

/** The front is made again after its thread was ended: a cancelled statement is given this time to end by itself. */
const GRACE_MS = 500;

function afterGrace(signal: AbortSignal): { signal: AbortSignal; end(): void } {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    timer = setTimeout(() => late.abort(), GRACE_MS);
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return {
    signal: late.signal,
    end: () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    },
  };
}

class PgliteFront implements Front {
  private readonly analyser: Analyser;
  private readonly privileges: Privileges;
  private readonly executor: FallbackExecutor;
  private readonly deadRows = new Map<string, number>();
  private readonly callMs: number;

  constructor(
    private readonly connection: FrontConnection,
    limits: FrontLimits,
  ) {
    this.analyser = new Analyser(connection);
    this.privileges = new Privileges(connection);
    this.executor = new FallbackExecutor(connection, limits);
    this.callMs = limits.callMs;
  }

  get generation(): number {
    return this.connection.generation;
  }

  analyze(sql: string, paramTypes: number[], settings: FrontSettings): Promise<Analyzed> {
    return this.analyser.analyze(sql, paramTypes, settings);
  }

  checkPrivileges(sql: string, analyzed: Analyzed, settings: FrontSettings): Promise<void> {
    return this.privileges.check(sql, analyzed, settings);
  }

  /** What could take long runs in the fallback's PGlite: nothing stops a statement but the end of its thread, and all sessions need this one. */
  async passThrough(messages: Buffer, settings: FrontSettings, limits?: PassLimits): Promise<Buffer> {
    const text = messages.toString('latin1');
    const usesSequences = SEQUENCE_FUNCTIONS.test(text);
    if (!usesSequences && LONG_RUNNING.test(text)) {
      const deadlineMs = Math.min(this.callMs, limits?.deadlineMs ?? this.callMs);
      return await this.executor.run({ messages, settings, load: [], deadlineMs, signal: limits?.signal });
    }
    const late = limits === undefined ? undefined : afterGrace(limits.signal);
    try {
      const bytes = await this.connection.scope(settings, (scope) => {
        const exec: Scope['exec'] = (sent, options) => scope.exec(sent, { ...options, signal: late?.signal });
        return passThrough({ ...scope, exec }, messages);
      });
      if (usesSequences) await this.sequences();
      return bytes;
    } finally {
      late?.end();
    }
  }

  rows(sql: string, params?: (string | null)[], settings?: FrontSettings): Promise<(string | null)[][]> {
    return this.connection.rows(sql, params, settings);
  }

  async setting(sql: string, settings: FrontSettings, names: string[]): Promise<Record<string, string>> {
    return await this.connection.scope(settings, async (scope) => {
      const wanted = names.map((name) => `SELECT ${literal(name)}, pg_catalog.current_setting(${literal(name)}, true)`);
      const read = wanted.length === 0 ? [] : [query(wanted.join(' UNION ALL '))];
      const messages = failOnError(await scope.exec(Buffer.concat([query(scope.begin), query(sql), ...read, query(scope.end)])));
      const rows = names.length === 0 ? [] : rowsOf(messages).slice(-names.length);
      return Object.fromEntries(
        rows.flatMap(([name, value]) => (typeof name === 'string' && typeof value === 'string' ? [[name, value]] : [])),
      );
    });
  }

  beginDdl(settings: FrontSettings): Promise<FrontDdl> {
    return DdlTransaction.begin(this.connection, this.analyser, this.executor, settings);
  }

  computeInsert(
    sql: string,
    params: (string | null)[],
    paramTypes: number[],
    table: ComputeTarget,
    settings: FrontSettings,
    limits?: PassLimits,
  ): Promise<{ csv: Buffer; rows: number }> {
    return this.compute(
      settings,
      table,
      (scope) => computeInsert(scope, sql, params, paramTypes, table),
      limits && afterGrace(limits.signal),
    );
  }

  computeCopy(
    copySql: string,
    input: Buffer,
    firstLine: number,
    table: ComputeTarget,
    settings: FrontSettings,
  ): Promise<{ csv: Buffer; rows: number }> {
    return this.compute(settings, table, (scope) => computeCopy(scope, copySql, input, firstLine, table));
  }

  refresh(relation: { schema: string; name: string }, rows: (string | null)[][]): Promise<void> {
    return this.connection.refresh(relation, rows);
  }

  replay(sql: string, role: string, searchPath: string): Promise<void> {
    return this.connection.replay({
      statements: [sql],
      settings: { role, gucs: searchPath === '' ? {} : { search_path: searchPath } },
    });
  }

  tables(oids?: number[]): Promise<FrontTable[]> {
    return this.connection.scope(OWN_SETTINGS, (scope) => readTables(scope.rows, oids));
  }

  async sequences(): Promise<{ schema: string; name: string; lastValue: string; isCalled: boolean }[]> {
    const states = sequenceStates(await this.connection.rows(SEQUENCES));
    this.connection.noteSequences(states);
    return states;
  }

  async setSequence(schema: string, name: string, value: string): Promise<void> {
    await this.connection.rows('SELECT pg_catalog.setval($1::pg_catalog.regclass, $2::bigint, true)', [
      qualified(schema, name),
      value,
    ]);
    this.connection.noteSequences([{ schema, name, lastValue: value, isCalled: true }]);
  }

  fallbackInsert(request: FallbackRequest, table: ComputeTarget): Promise<{ csv: Buffer; rows: number }> {
    return this.executor.runInsert(request, table);
  }

  fallback(request: FallbackRequest): Promise<Buffer> {
    return this.executor.run(request);
  }

  rssNote(): string {
    const mb = (bytes: number) => `${Math.round(bytes / MB)} MB`;
    return `front ${mb(this.connection.memory)}, fallback ${mb(this.executor.memory)}`;
  }

  async close(): Promise<void> {
    await this.executor.close();
    await this.connection.close();
  }

  private async compute(
    settings: FrontSettings,
    table: ComputeTarget,
    work: (scope: Scope) => Promise<Computed>,
    late?: ReturnType<typeof afterGrace>,
  ): Promise<{ csv: Buffer; rows: number }> {
    const { csv, rows, sequences } = await this.connection
      .scope(settings, (scope) =>
        work({ ...scope, exec: (bytes, options) => scope.exec(bytes, { ...options, signal: late?.signal }) }),
      )
      .finally(() => late?.end());
    this.connection.noteSequences(sequences);
    await this.sweep(qualified(table.schema, table.name), rows);
    return { csv, rows };
  }

  /** What was rolled back still lies in the table's file, and each scan passes over it. */
  private async sweep(table: string, rows: number): Promise<void> {
    const dead = (this.deadRows.get(table) ?? 0) + rows;
    this.deadRows.set(table, dead < DEAD_ROWS ? dead : 0);
    if (dead < DEAD_ROWS) return;
    await this.connection.use(OWN_SETTINGS, false, async (session) => {
      failOnError(await session.exec(query(`VACUUM ${table}`), this.connection.callOptions));
    });
  }
}
