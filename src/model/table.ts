/** Tables, columns and shards as the catalog and the stores know them. */

export type AccessMethod = 'heap' | 'columnar';

export interface ColumnDef {
  /** pg_attribute.attnum in the front, which is also the column's identity in stores. Dropped columns are absent. */
  attnum: number;
  name: string;
  typeOid: number;
  /** Array element, domain base and the like are not resolved here: what `storageOf` does not know is opaque text. */
  typmod: number;
  /** typtype and category where the type is not built in: `e` enum, `d` domain, … */
  typtype?: string;
  notNull: boolean;
}

export interface UniqueDef {
  /** Constraint (and index) name, for error texts. */
  name: string;
  attnums: number[];
  primary: boolean;
}

/** A plain index, heap only. */
export interface IndexDef {
  name: string;
  attnums: number[];
  unique: boolean;
}

export type Distribution =
  /** By the column with this attnum. */
  | { kind: 'distributed'; attnum: number; colocationId: number }
  | { kind: 'random'; colocationId: number }
  | { kind: 'reference'; colocationId: number }
  | { kind: 'local' };

export interface TableDef {
  /** Ours, never reused; OIDs of the front are not stored, because a rebuilt front may give others. */
  tableId: number;
  schema: string;
  name: string;
  owner: string;
  accessMethod: AccessMethod;
  distribution: Distribution;
  columns: ColumnDef[];
  uniques: UniqueDef[];
  indexes: IndexDef[];
  /** CHECK constraints, generated columns, non-constant defaults or the like: rows are computed by the front. */
  needsFront: boolean;
  /** Changed rows too must pass the front: CHECK constraints, generated columns, domains. Absent: as needsFront. */
  rowChecks?: boolean;
  /** Set between the begin of its creation and its commit: invisible to others. */
}

export interface ColocationGroup {
  colocationId: number;
  shardCount: number;
  replicationFactor: number;
  /** 0 for reference tables. */
  distributionTypeOid: number;
  distributionCollation: number;
}

/**
 * The (colocated) set: the shards of one hash range of a colocation group; the unit that is locked (heap), stored in
 * one SQLite file, and moved. `c<colocationId>_<range index>`; a local table is a set of its own: `l<tableId>`.
 */
export type SetKey = string;

export function setKeyOf(colocationId: number, index: number): SetKey {
  return `c${colocationId}_${index}`;
}

export function localSetKey(tableId: number): SetKey {
  return `l${tableId}`;
}

export interface Shard {
  shardId: number;
  tableId: number;
  setKey: SetKey;
  /** Range index in its colocation group; 0 for reference and local tables. */
  index: number;
  /** null for reference and local tables. */
  minValue: number | null;
  maxValue: number | null;
}

/** Where a set lives: ownership is this and nothing else (protocols, section 9). */
export interface SetPlacement {
  setKey: SetKey;
  /** Content ids: one for distributed sets, all nodes (and -1) for reference sets, -1 for local ones. */
  contents: number[];
  /** Raised at each switch; plans made with an older one are made again. */
  version: number;
}

/** What a store needs to hold a shard; travels in log records. */
export interface ShardDef {
  shardId: number;
  tableId: number;
  setKey: SetKey;
  /** Physical relation: `<table>_<shardid>` as named at creation. */
  relation: string;
  accessMethod: AccessMethod;
  columns: ColumnDef[];
  uniques: UniqueDef[];
  indexes: IndexDef[];
}

export const FIRST_SHARD_ID = 102008;
/** Local tables have one shard each, which users never see: numbered apart, so that distributed ones follow each other as in Citus. */
export const FIRST_LOCAL_SHARD_ID = 2 ** 40;
export const DEFAULT_SHARD_COUNT = 32;
export const REFERENCE_COLOCATION_ID = 1;

/** Equal ranges of 32-bit hash space: shard `index` of `count`, bounds inclusive, as Citus cuts them. */
export function hashRange(index: number, count: number): { min: number; max: number } {
  const width = Math.floor(2 ** 32 / count);
  const min = -(2 ** 31) + index * width;
  const max = index === count - 1 ? 2 ** 31 - 1 : min + width - 1;
  return { min, max };
}

/** The range index of a signed 32-bit hash. */
export function rangeIndexOf(hash: number, count: number): number {
  const width = Math.floor(2 ** 32 / count);
  return Math.min(count - 1, Math.floor((hash + 2 ** 31) / width));
}
