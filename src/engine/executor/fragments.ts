/** Runs a task: where it reads, in which engine, and in which form its rows go back. */
import { join } from 'node:path';
import type { DuckDBConnection, DuckDBPreparedStatement } from '@duckdb/node-api';
import type Database from 'better-sqlite3';
import type { SetKey } from '../../model/table.js';
import type { RunResult, Task } from '../../model/task.js';
import type { CallContext } from '../../rpc/types.js';
import { fitsBlock } from '../codec/duck-block.js';
import type { ColumnarRead, Stores, StoreTxn } from '../store/types.js';
import { carryHeap, dropCarried, heapResultToParquet } from './carry.js';
import { bindParams, runDuck, runDuckToParquet, sendBlocks, sendRows, withLiterals } from './duck-run.js';
import { cancelled, readError } from './errors.js';
import { runHeap, runQuick } from './heap-run.js';
import { Output } from './output.js';
import type { Publisher, Touched } from './publisher.js';
import { bySet, columnarRelation, emptyRelation, isColumnar, neededStores, type Placed, placeRelations } from './relations.js';
import { SmallResults } from './small-results.js';
import { putRelations, quoteIdent } from './sql-text.js';
import type { InstanceTxn, Transactions } from './transactions.js';

/** What a reading stands on: each store at its place in the order of commits, or as its own transaction sees it. */
interface Source {
  heap(setKey: SetKey): Database.Database;
  duckdb(): Promise<DuckDBConnection>;
  txn: StoreTxn | null;
  close(): Promise<void>;
}

let nextFile = 1;

export class FragmentRunner {
  private readonly small = new SmallResults();

  constructor(
    private readonly stores: Stores,
    private readonly publisher: Publisher,
    private readonly transactions: Transactions,
  ) {}

  /** Synchronous where one heap set answers with few rows: the router's way. */
  run(task: Task, context: CallContext): RunResult | Promise<RunResult> {
    const own = task.gid === null ? undefined : this.transactions.find(task.gid);
    if (own?.store.hasWrites === true) return own.queue(() => this.runOwn(task, own, context));
    const placed = placeRelations((shardId) => this.stores.shard(shardId), task);
    const quick = this.quick(task, placed, context);
    if (quick !== undefined) return quick;
    const begun = this.begin(task, placed, context);
    if (begun !== undefined) return begun;
    const need = neededStores(placed, this.engineOf(task));
    return this.publisher
      .reading(need, () => this.stores.openSnapshot(need))
      .then((snapshot) => {
        const source: Source = {
          heap: (setKey) => snapshot.heap(setKey),
          duckdb: async () => snapshot.duckdb(),
          txn: null,
          close: () => snapshot.close(),
        };
        return this.runOn(task, placed, source, context);
      });
  }

  /** SQLite rows become Parquet by way of DuckDB. */
  private engineOf(task: Task): 'sqlite' | 'duckdb' {
    return task.form.kind === 'parquet' ? 'duckdb' : task.fragment.engine;
  }

  private quick(task: Task, placed: Placed[], context: CallContext): RunResult | undefined {
    if (task.fragment.engine !== 'sqlite' || task.form.kind !== 'datarow') return undefined;
    const runs = bySet(placed);
    const run = runs[0];
    if (run === undefined || runs.length > 1) return undefined;
    if (!this.publisher.free({ heapSets: [run.setKey], columnar: false })) return undefined;
    const output = new Output(context);
    return runQuick(task, run, this.stores.heapReader(run.setKey), output) ? output.finish() : undefined;
  }

  /** A columnar fragment whose plan is known begins in this turn, without a snapshot to open; undefined: it takes the long way. */
  private begin(task: Task, placed: Placed[], context: CallContext): Promise<RunResult> | undefined {
    if (!isColumnar(task, placed) || !this.publisher.free({ heapSets: [], columnar: true })) return undefined;
    const relations = new Map(placed.map((one) => [one.ref.alias, this.columnar(one, null)]));
    const sql = putRelations(task.fragment.sql, (alias) => relations.get(alias));
    const asRows = task.form.kind === 'datarow';
    const text = asRows ? sql : withLiterals(task, sql);
    // Without a transaction only an answer in memory shows its errors (runDuck), so it must be a short one.
    if (!this.small.expected(text)) return undefined;
    const read = this.stores.beginColumnar(text, (statement) => bindParams(statement, task), false);
    return read === undefined ? undefined : this.runBegun(task, text, read, context);
  }

  private async runBegun(task: Task, sql: string, read: ColumnarRead, context: CallContext): Promise<RunResult> {
    const output = new Output(context);
    const interrupt = (): void => read.connection.interrupt();
    context.signal.addEventListener('abort', interrupt, { once: true });
    let clean = false;
    try {
      const result = await read.pending.getResult();
      const rows = task.form.kind === 'datarow' ? sendRows(task, result, output) : sendBlocks(result, output);
      this.small.note(sql, await rows);
      clean = true;
      return output.finish();
    } catch (error) {
      if (context.signal.aborted) throw cancelled();
      throw readError(error);
    } finally {
      context.signal.removeEventListener('abort', interrupt);
      read.end(clean);
    }
  }

  /** A transaction that has written here reads through its own writers, and everything else as others see it. */
  private async runOwn(task: Task, txn: InstanceTxn, context: CallContext): Promise<RunResult> {
    const { store } = txn;
    const placed = placeRelations((shardId) => txn.shard(this.stores, shardId), task);
    // What was staged is settled by it, so that the overlay is whole.
    if (placed.some(({ shards }) => shards.some((shard) => shard.accessMethod === 'columnar'))) await store.duckdb();
    const ownColumnar = placed.some(({ shards }) => shards.some((shard) => store.overlay(shard.shardId) !== null));
    const all = neededStores(placed, this.engineOf(task));
    const need: Touched & { heapSets: SetKey[] } = {
      heapSets: [...all.heapSets].filter((setKey) => !store.isWritten(setKey)),
      columnar: all.columnar && !ownColumnar,
    };
    const snapshot = await this.publisher.reading({ ...need, columnar: all.columnar }, async () => {
      const opened = await this.stores.openSnapshot(need);
      if (ownColumnar)
        await this.fixOwn(placed, store).catch((error: unknown) => opened.close().then(() => Promise.reject(error)));
      return opened;
    });
    const source: Source = {
      heap: (setKey) => (store.isWritten(setKey) ? store.heapWriter(setKey) : snapshot.heap(setKey)),
      duckdb: async () => (ownColumnar ? store.duckdb() : snapshot.duckdb()),
      txn: ownColumnar ? store : null,
      close: async () => {
        await snapshot.close();
        if (ownColumnar) await (await store.duckdb()).run('ROLLBACK');
      },
    };
    return this.runOn(task, placed, source, context);
  }

  /** A DuckDB transaction for this statement alone, whose snapshot is fixed now: BEGIN takes none, a reading of any table does. */
  private async fixOwn(placed: readonly Placed[], store: StoreTxn): Promise<void> {
    const connection = await store.duckdb();
    await connection.run('BEGIN TRANSACTION');
    const base = placed
      .flatMap(({ shards }) => shards)
      .find((shard) => shard.accessMethod === 'columnar' && this.stores.hasShard(shard.shardId));
    if (base === undefined) return;
    try {
      await connection.run(`SELECT 1 FROM ${quoteIdent(base.relation)} LIMIT 0`);
    } catch (error) {
      await connection.run('ROLLBACK');
      throw readError(error);
    }
  }

  private async runOn(task: Task, placed: Placed[], source: Source, context: CallContext): Promise<RunResult> {
    const output = new Output(context);
    try {
      if (task.fragment.engine === 'duckdb') await this.runInDuck(task, placed, source, context, output);
      else await this.runInSqlite(task, placed, source, output);
      await output.flush();
      return output.finish();
    } catch (error) {
      if (context.signal.aborted) throw cancelled();
      throw error;
    } finally {
      await source.close();
    }
  }

  private async runInSqlite(task: Task, placed: Placed[], source: Source, output: Output): Promise<void> {
    const runs = bySet(placed);
    if (task.form.kind === 'datarow') return runHeap(task, runs, (setKey) => source.heap(setKey), output);
    const connection = await source.duckdb();
    await heapResultToParquet(task, runs, (setKey) => source.heap(setKey), connection, this.scratchFile(), output);
  }

  private async runInDuck(task: Task, placed: Placed[], source: Source, context: CallContext, output: Output): Promise<void> {
    const connection = await source.duckdb();
    const interrupt = (): void => connection.interrupt();
    context.signal.addEventListener('abort', interrupt, { once: true });
    const carried: string[] = [];
    try {
      const relations = new Map<string, string>();
      for (const one of placed) relations.set(one.ref.alias, await this.relation(task, one, source, connection, carried));
      const sql = putRelations(task.fragment.sql, (alias) => relations.get(alias));
      const kept = source.txn === null && isColumnar(task, placed);
      if (task.form.kind === 'datarow') await this.rowsOfDuck(task, sql, connection, output, kept);
      else await this.filesOfDuck(task, withLiterals(task, sql), connection, output, kept);
    } catch (error) {
      throw readError(error);
    } finally {
      context.signal.removeEventListener('abort', interrupt);
      await dropCarried(connection, carried);
    }
  }

  private async rowsOfDuck(task: Task, sql: string, connection: DuckDBConnection, output: Output, kept: boolean): Promise<void> {
    if (kept) {
      const rows = await runDuck(task, connection, await this.stores.prepareColumnar(connection, sql), output);
      this.small.note(sql, rows);
      return;
    }
    let statement: DuckDBPreparedStatement | undefined;
    try {
      statement = await connection.prepare(sql);
      await runDuck(task, connection, statement, output);
    } finally {
      statement?.destroySync();
    }
  }

  /** Rows for another DuckDB: blocks where few are expected, else a Parquet file. */
  private async filesOfDuck(task: Task, sql: string, connection: DuckDBConnection, output: Output, kept: boolean): Promise<void> {
    if (kept && this.small.expected(sql)) {
      const statement = await this.stores.prepareColumnar(connection, sql);
      const types = Array.from({ length: statement.columnCount }, (_, i) => statement.columnType(i));
      if (fitsBlock(types)) return this.small.note(sql, await sendBlocks(await statement.run(), output));
      this.small.refuse(sql);
    }
    const rows = await runDuckToParquet(task, sql, connection, this.scratchFile(), output);
    if (kept) this.small.note(sql, rows);
  }

  private async relation(
    task: Task,
    placed: Placed,
    source: Source,
    connection: DuckDBConnection,
    carried: string[],
  ): Promise<string> {
    if (placed.shards[0]?.accessMethod !== 'heap') return this.columnar(placed, source.txn);
    return carryHeap(placed, task, (setKey) => source.heap(setKey), connection, this.stores.temporaryDirectory, carried);
  }

  private columnar(placed: Placed, txn: StoreTxn | null): string {
    return placed.shards.length === 0 ? emptyRelation(this.stores, placed.ref) : columnarRelation(placed, txn);
  }

  private scratchFile(): string {
    return join(this.stores.temporaryDirectory, `run-${nextFile++}.parquet`);
  }
}
