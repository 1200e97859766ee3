import type { SetPlacement, Shard, TableDef } from '../../model/table.js';
import type { Fragment, ModifyFragment, OutputColumn, ParamSpec } from '../../model/task.js';
import type { Analyzed } from '../front/types.js';

/** What the planner knows of tables. By OID of the front, as they stand in the tree. */
export interface PlannerCatalog {
  tableByOid(oid: number): TableDef | undefined;
  shards(tableId: number): Shard[];
  shardCount(colocationId: number): number;
  placement(setKey: string): SetPlacement;
  /** Estimated rows, for choosing sides; 0 when unknown. */
  rows(tableId: number): number;
  /** By our own id; for EXPLAIN. */
  table?(tableId: number): TableDef | undefined;
  /** A function of ours that the coordinator runs (`create_distributed_table`, …); undefined for every other function. */
  functionName?(oid: number): { schema: string; name: string; argNames: string[] } | undefined;
  /** `pg_proc.provolatile` of a function that is not PostgreSQL's own; absent or undefined: taken as volatile. */
  functionVolatility?(oid: number): 'i' | 's' | 'v' | undefined;
  /** Must each new row of the table pass the front (CHECK constraints, generated columns)? Absent: `needsFront` says it. */
  rowChecks?(tableId: number): boolean;
}

/** A value known at execution: a constant's PostgreSQL text, or a parameter of the client's statement. */
export type ValueRef = { kind: 'const'; typeOid: number; text: string } | { kind: 'param'; n: number; typeOid: number };

/** Which shards a fragment needs. */
export type Where =
  /** On every segment that holds sets of the group; `keys` (when not null) prunes to the sets of these distribution values. A NULL key matches nothing. */
  | { kind: 'colocated'; colocationId: number; keys: ValueRef[] | null }
  /** Local and reference tables only: content -1. */
  | { kind: 'coordinator' };

export interface Input {
  /** `in0`, `in1`, … as it stands in `{{in0}}` of a finishing statement. */
  name: string;
  fragment: Fragment;
  where: Where;
}

export type Finish =
  /** DuckDB on the coordinator over the inputs' Parquet files: `{{in0}}` has columns `o0`, `o1`, …; parameters as in fragments. */
  | { engine: 'duckdb'; sql: string; params: ParamSpec[]; output: OutputColumn[] }
  /** The statement as written, in the fallback PGlite; each input is loaded into a shell table. */
  | { engine: 'pglite'; load: { input: string; tableId: number; columns: number[] }[] };

export type Tier = 'router' | 'pushdown' | 'gather';

export interface ReadPlan {
  kind: 'read';
  tier: Tier;
  inputs: Input[];
  /** null: the rows of the (single) input are the answer. */
  finish: Finish | null;
  /** Why better tiers declined, in their order; EXPLAIN VERBOSE shows it. */
  declined: { tier: string; reason: string }[];
  output: OutputColumn[];
}

export type InsertSource =
  /** Constants and parameters only: one ValueRef (null = NULL) for each of the table's columns in attnum order. */
  | { kind: 'values'; rows: (ValueRef | null)[][] }
  /** The front computes the rows from the statement as written. */
  | { kind: 'front' }
  /** Rows of a read plan; `columns[i]` is the attnum that output i goes to; absent ones take the default. */
  | { kind: 'select'; read: ReadPlan; columns: number[] };

export interface InsertPlan {
  kind: 'insert';
  tableId: number;
  source: InsertSource;
  /** attnum of each RETURNING column; only plain columns for now. */
  returning: { attnum: number; output: OutputColumn }[] | null;
  /** Columns that must not be NULL (attnum), checked on the `values` path. */
  notNull: number[];
}

export interface ModifyPlan {
  kind: 'modify';
  tableId: number;
  fragment: ModifyFragment;
  where: Where;
}

/** A call of one of our own functions at the top of a SELECT: `create_distributed_table('t', 'c')` and its kin. Arguments by parameter name. */
export interface AdminCallPlan {
  kind: 'call';
  name: string;
  args: Record<string, ValueRef | null>;
  output: OutputColumn[];
}

export type Plan = ReadPlan | InsertPlan | ModifyPlan | AdminCallPlan | { kind: 'catalog' };

/** Throws SqlError 0A000 with a hint for what cannot run. Pure. */
export type PlanStatement = (analyzed: Analyzed, catalog: PlannerCatalog) => Plan;
