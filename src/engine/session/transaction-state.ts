import { notSupported, SqlError } from '../../core/errors.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { Catalog, CatalogView } from '../catalog/types.js';
import type { FrontDdl } from '../front/types.js';
import type { Transaction, TransactionManager } from '../txn/types.js';
import type { TransactionOptions } from './classify.js';

/** What ending a transaction block answers, and the warning that goes with it. */
export interface Ended {
  tag: 'COMMIT' | 'ROLLBACK';
  warning: SqlError | null;
}

/**
 * Where a session stands: outside of a transaction, in one that spans a protocol cycle (implicit), in a block that BEGIN opened, or in a
 * block that has failed.
 */
export class TransactionState {
  private state: 'idle' | 'implicit' | 'block' | 'failed' = 'idle';
  private current: Transaction | null = null;
  private frontDdl: FrontDdl | null = null;
  private viewCache: { ops: readonly CatalogOp[]; length: number; version: number; view: CatalogView } | null = null;
  readOnly = false;

  constructor(
    private readonly manager: TransactionManager,
    private readonly catalog: Catalog,
  ) {}

  get status(): 'I' | 'T' | 'E' {
    return this.state === 'block' ? 'T' : this.state === 'failed' ? 'E' : 'I';
  }

  get inBlock(): boolean {
    return this.state === 'block' || this.state === 'failed';
  }

  /** No transaction at all, not even one of this protocol cycle. */
  get idle(): boolean {
    return this.state === 'idle' && this.current === null;
  }

  get active(): Transaction | null {
    return this.current;
  }

  /** The front, held by this transaction because it has changed definitions; null otherwise. */
  get ddl(): FrontDdl | null {
    return this.frontDdl;
  }

  /** The catalog as this transaction sees it. */
  view(): CatalogView {
    const ops = this.current?.catalogOps;
    if (ops === undefined || ops.length === 0) return this.catalog;
    const cached = this.viewCache;
    if (cached !== null && cached.ops === ops && cached.length === ops.length && cached.version === this.catalog.version)
      return cached.view;
    const view = this.catalog.overlay(ops);
    this.viewCache = { ops, length: ops.length, version: this.catalog.version, view };
    return view;
  }

  /** The transaction for a statement; begun where there is none. */
  transaction(): Transaction {
    this.refuseInFailed();
    if (this.state === 'idle') this.state = 'implicit';
    this.current ??= this.manager.begin();
    return this.current;
  }

  /** Keeps the front for this transaction, until it ends: it commits after the decision, and goes back on abort. */
  holdFront(ddl: FrontDdl): void {
    const txn = this.transaction();
    this.frontDdl = ddl;
    txn.onDecided(() => ddl.commit());
    txn.onAborted(() => ddl.rollback());
  }

  refuseInFailed(): void {
    if (this.state !== 'failed') return;
    throw new SqlError('25P02', 'current transaction is aborted, commands ignored until end of transaction block');
  }

  refuseWriteInReadOnly(command: string): void {
    if (this.readOnly) throw new SqlError('25006', `cannot execute ${command} in a read-only transaction`);
  }

  /** BEGIN. A warning inside of a block, as in PostgreSQL. */
  begin(options: TransactionOptions): SqlError | null {
    if (this.state === 'failed') this.refuseInFailed();
    this.applyOptions(options);
    if (this.state === 'block') return new SqlError('25001', 'there is already a transaction in progress');
    this.state = 'block';
    return null;
  }

  applyOptions(options: TransactionOptions): void {
    checkIsolation(options.isolation);
    if (options.readOnly !== null) this.readOnly = options.readOnly;
  }

  /** COMMIT, in whatever state. */
  async commit(): Promise<Ended> {
    if (this.state === 'failed') {
      this.reset();
      return { tag: 'ROLLBACK', warning: null };
    }
    const warning = this.state === 'block' ? null : new SqlError('25P01', 'there is no transaction in progress');
    await this.finish();
    return { tag: 'COMMIT', warning };
  }

  async rollback(): Promise<Ended> {
    const warning = this.inBlock ? null : new SqlError('25P01', 'there is no transaction in progress');
    const txn = this.current;
    this.reset();
    await txn?.abort();
    return { tag: 'ROLLBACK', warning };
  }

  /** Ends an implicit transaction at the end of its protocol cycle: commits what it did. */
  async endImplicit(): Promise<void> {
    if (this.state === 'implicit') await this.finish();
  }

  /** A statement failed: an implicit transaction is over, a block is failed until the client ends it. Work is undone at once. */
  async fail(): Promise<void> {
    const txn = this.current;
    const block = this.inBlock;
    this.reset();
    if (block) this.state = 'failed';
    await txn?.abort();
  }

  private async finish(): Promise<void> {
    const heldFront = this.frontDdl !== null;
    const txn = this.current;
    this.reset();
    if (txn === null) return;
    if (!txn.hasWrites && !heldFront) {
      await txn.abort();
      return;
    }
    try {
      await txn.commit();
    } catch (error) {
      await txn.abort();
      throw error;
    }
  }

  private reset(): void {
    this.state = 'idle';
    this.current = null;
    this.frontDdl = null;
    this.viewCache = null;
    this.readOnly = false;
  }
}

/** READ COMMITTED is what there is; READ UNCOMMITTED is the same in PostgreSQL too. */
export function checkIsolation(level: string | null): void {
  if (level === null || level === 'read committed' || level === 'read uncommitted') return;
  throw notSupported(
    `isolation level ${level.toUpperCase()} is not supported`,
    'Use READ COMMITTED; read what must agree in one statement.',
  );
}
