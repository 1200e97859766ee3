import type { Logger } from '../../core/log.js';
import type { OutputColumn, OutputSettings } from '../../model/task.js';
import type { Catalog, CatalogView } from '../catalog/types.js';
import type { Front, FrontSettings } from '../front/types.js';
import type { Links, Transaction, TransactionManager } from '../txn/types.js';

/** What dispatch works with; given once. */
export interface DispatchDeps {
  readonly front: Front;
  readonly catalog: Catalog;
  readonly transactions: TransactionManager;
  readonly links: Links;
  readonly logger: Logger;
  /** First rid that was not given yet in the coordinator's own copy of a shard (content -1). */
  nextRid(shardId: number): number;
  /** Directory for files of rows that wait for the coordinator's DuckDB; emptied at start. */
  readonly tempDir: string;
  /** For the coordinator's DuckDB. */
  readonly duckdb: { threads: number; memoryMb: number };
}

/** Where rows of an answer go. */
export interface RowSink {
  /**
   * Takes concatenated DataRow messages. Wait for what it returns before the next: it resolves when more may come.
   * @param count number of rows in them.
   */
  rows(messages: Buffer, count: number): Promise<void> | undefined;
}

/** Rows as the front computes them, in whatever state of definitions the transaction sees. */
export interface Computing {
  insert: Front['computeInsert'];
  copy: Front['computeCopy'];
  fallback: Front['fallback'];
  fallbackInsert: Front['fallbackInsert'];
}

/** One execution of a statement. */
export interface StatementContext {
  /** The transaction that it is part of; null for a read outside of one. Writes always have one. */
  readonly txn: Transaction | null;
  /** The catalog as the transaction sees it, at this moment. */
  view(): CatalogView;
  /** Values of `$1`, `$2`, … as PostgreSQL text. */
  readonly params: (string | null)[];
  readonly paramTypes: number[];
  /** One format code for each column of the answer: 0 text, 1 binary. */
  readonly formats: number[];
  readonly output: OutputSettings;
  readonly front: FrontSettings;
  readonly computing: Computing;
  /** The transaction has changed definitions, which the fallback executor does not see before the commit. */
  readonly ownDefinitions: boolean;
  readonly sql: string;
  /** Aborted by a cancel request, statement_timeout, or when the client is gone; the reason is a SqlError. */
  readonly signal: AbortSignal;
  readonly sink: RowSink;
  readonly lockTimeoutMs: number;
  /** Milliseconds that the statement may still take in the fallback executor. */
  readonly deadlineMs: number;
}

/** Figures of one task, for EXPLAIN ANALYZE. */
export interface TaskFigures {
  input: string;
  content: number;
  shards: number;
  rows: number;
  bytes: number;
  ms: number;
}

export interface Executed {
  /** Rows given to the sink, or changed. */
  rows: number;
  /** Tag for CommandComplete; null: the session makes it from the statement's kind. */
  tag: string | null;
  tasks: TaskFigures[];
  /** Who put the pieces together: null, duckdb or front. */
  finish: 'duckdb' | 'front' | null;
}

export type { CatalogView, OutputColumn, OutputSettings };
