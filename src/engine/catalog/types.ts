/** What the other parts use of the catalog. It changes only by records of the coordinator's log. */
import type { CatalogKind, CatalogKinds, CatalogOp } from '../../model/catalog.js';
import type { StoreDdl } from '../../model/log.js';
import type { AccessMethod, ColocationGroup, SetKey, SetPlacement, Shard, TableDef } from '../../model/table.js';
import type { Instance, Pair } from '../../model/topology.js';
import type { PlannerCatalog } from '../planner/types.js';

/** A consistent reading: the committed catalog, or it with a transaction's own changes on top. Synchronous, from memory. */
export interface CatalogView extends PlannerCatalog {
  /** Raised with every change that was applied. */
  readonly version: number;
  row<K extends CatalogKind>(kind: K, key: string): CatalogKinds[K] | undefined;
  rowsOf<K extends CatalogKind>(kind: K): CatalogKinds[K][];

  table(tableId: number): TableDef | undefined;
  tableByName(schema: string, name: string): TableDef | undefined;
  tables(): TableDef[];
  /** By range index. */
  shards(tableId: number): Shard[];
  shard(shardId: number): Shard | undefined;
  shardsOfSet(setKey: SetKey): Shard[];
  colocation(colocationId: number): ColocationGroup | undefined;
  tablesOfColocation(colocationId: number): TableDef[];
  placement(setKey: SetKey): SetPlacement;
  /** Sets that are placed on the content. */
  setsOfContent(content: number): SetKey[];

  instances(): Instance[];
  instance(dbid: number): Instance | undefined;
  pair(content: number): Pair | undefined;
  /** Segments that hold or may get shards (content ≥ 0), ascending. */
  contents(): number[];
  /** Instance that is the content's primary now. */
  primaryOf(content: number): Instance | undefined;
  mirrorOf(content: number): Instance | undefined;

  setting(name: string): string | undefined;
  /** 0 where it was never set. */
  counter(name: string): number;

  /** OID in the running front ↔ our id. */
  oidOf(tableId: number): number | undefined;
  tableIdOf(oid: number): number | undefined;
}

export type CounterName =
  | 'nextTableId'
  | 'nextShardId'
  | 'nextLocalShardId'
  | 'nextColocationId'
  | 'nextDbid'
  | 'nextDdlSeq'
  | 'incarnation'
  | 'nextMoveId';

export interface Catalog extends CatalogView {
  /** Position of the last record whose ops are in. */
  readonly lsn: number;
  /** Everything up to this position was applied: notes that durably, so that the log may be cut behind it. */
  settle(lsn: number): void;
  /** What a transaction sees: its own ops over the committed rows. Cheap to make. */
  overlay(ops: readonly CatalogOp[]): CatalogView;
  /** Called by the engine (`onCatalog`) in lsn order; idempotent. */
  apply(ops: CatalogOp[], lsn: number): void;
  /** Reserves `count` numbers at once and for good (an aborted transaction leaves a gap); `op` must go with the transaction that uses them. */
  allocate(name: CounterName, count?: number): { first: number; op: CatalogOp };
  /** After each applied batch, with the kinds that changed. */
  onChange(listener: (kinds: ReadonlySet<CatalogKind>) => void): () => void;
  /** Binds a table to its relation in the running front. */
  bindOid(tableId: number, oid: number): void;
  unbindOid(tableId: number): void;
  /** Statistics for the planner, not durable. */
  setRows(tableId: number, rows: number): void;
  close(): void;
}

/**
 * A change of tables as data: what to put into the transaction and what to tell the stores of each content. Order for a table with
 * rows: send `create` (WriteTask ddl), copy the rows, send `drop`; `catalog` goes to `txn.addCatalog`.
 */
export interface TableChange {
  catalog: CatalogOp[];
  create: Map<number, StoreDdl[]>;
  drop: Map<number, StoreDdl[]>;
  /** The table as it will be. */
  table: TableDef;
  /** Its shards as they will be, by range index. */
  shards: Shard[];
}

export interface DistributeOptions {
  /** Name of the distribution column. */
  column: string;
  /** Default: damson.shard_count. Ignored where the table joins an existing group. */
  shardCount?: number;
  /** 'default', 'none', or a table's name as written (schema-qualified or not; default schema public). */
  colocateWith?: string;
}

/**
 * Pure builders (catalog/builders.ts); `view` is the transaction's overlay, `catalog` gives the numbers:
 *
 *   newTable(catalog, def without tableId): TableChange                        local table, content -1, set l<id>
 *   createDistributed(catalog, view, table, DistributeOptions): TableChange    from whatever it is now
 *   createReference(catalog, view, table): TableChange
 *   createRandom(catalog, view, table): TableChange
 *   undistribute(catalog, view, table): TableChange
 *   setAccessMethod(catalog, view, table, AccessMethod): TableChange           new shards, same placement
 *   dropTable(view, table): TableChange
 *   truncateTable(view, table): TableChange                                    `create` holds truncateShard
 *   replaceTable(view, table, next): TableChange                               definition only (rename, owner, …)
 *   addIndex / dropIndex(view, table, IndexDef | name): TableChange
 *   journal(catalog, { sql, role, searchPath, tableIds }): CatalogOp[]         a DdlEntry
 *   tableFromFront(FrontTable, tableId, distribution): TableDef
 */
export type { AccessMethod, CatalogOp };
