/** Changes of tables as data (see catalog/types.ts): pure but for the numbers that the catalog gives. */
import { notSupported, SqlError } from '../../core/errors.js';
import type { CatalogOp, DdlEntry } from '../../model/catalog.js';
import type { StoreDdl } from '../../model/log.js';
import {
  type AccessMethod,
  type ColocationGroup,
  type ColumnDef,
  DEFAULT_SHARD_COUNT,
  type Distribution,
  hashRange,
  type IndexDef,
  localSetKey,
  REFERENCE_COLOCATION_ID,
  type SetPlacement,
  type Shard,
  type ShardDef,
  setKeyOf,
  type TableDef,
} from '../../model/table.js';
import { COORDINATOR_CONTENT } from '../../model/topology.js';
import type { Catalog, CatalogView, DistributeOptions, TableChange } from './types.js';

const MAX_SHARD_COUNT = 32_000;

/** A new table: local, on the coordinator. Distribute it in the same transaction where the statement says so. */
export function newTable(catalog: Catalog, definition: Omit<TableDef, 'tableId' | 'distribution'>): TableChange {
  const id = catalog.allocate('nextTableId');
  const table: TableDef = { ...definition, tableId: id.first, distribution: { kind: 'local' } };
  checkColumnar(table);
  const setKey = localSetKey(table.tableId);
  const shards = allocateShards(catalog, table, [{ setKey, index: 0, minValue: null, maxValue: null }]);
  const placement: SetPlacement = { setKey, contents: [COORDINATOR_CONTENT], version: 1 };
  const ops = [id.op, tableOp(table), ...shards.ops, placementOp(placement)];
  return change(table, shards.rows, ops, new Map([[setKey, placement]]), null);
}

/** Hash-distributed by one column, from whatever it is now. */
export function createDistributed(catalog: Catalog, view: CatalogView, table: TableDef, options: DistributeOptions): TableChange {
  const column = columnOf(table, options.column);
  const wanted = options.shardCount ?? shardCountSetting(view);
  checkShardCount(wanted);
  const group = colocationFor(catalog, view, table, column, wanted, options);
  const next: TableDef = {
    ...table,
    distribution: { kind: 'distributed', attnum: column.attnum, colocationId: group.group.colocationId },
  };
  checkUniques(next, column.attnum);
  return redistribute(catalog, view, table, next, group);
}

/** A copy on every node and on the coordinator. */
export function createReference(catalog: Catalog, view: CatalogView, table: TableDef): TableChange {
  const next: TableDef = { ...table, distribution: { kind: 'reference', colocationId: REFERENCE_COLOCATION_ID } };
  return redistribute(catalog, view, table, next, referenceGroup(view));
}

/** Rows without a key, spread over the shards of a group of its own. */
export function createRandom(catalog: Catalog, view: CatalogView, table: TableDef, shardCount?: number): TableChange {
  const count = shardCount ?? shardCountSetting(view);
  checkShardCount(count);
  if (table.uniques.length > 0) throw uniqueWithoutDistributionColumn(table);
  const group = newGroup(catalog, view, count, 0, 0);
  const next: TableDef = { ...table, distribution: { kind: 'random', colocationId: group.group.colocationId } };
  return redistribute(catalog, view, table, next, group);
}

/** Back to a local table on the coordinator. */
export function undistribute(catalog: Catalog, view: CatalogView, table: TableDef): TableChange {
  if (table.distribution.kind === 'local') {
    throw new SqlError('42809', 'cannot undistribute table because the table is not distributed');
  }
  const setKey = localSetKey(table.tableId);
  const placement: SetPlacement = { setKey, contents: [COORDINATOR_CONTENT], version: 1 };
  const next: TableDef = { ...table, distribution: { kind: 'local' } };
  return replaceShards(
    catalog,
    view,
    table,
    next,
    [{ setKey, index: 0, minValue: null, maxValue: null }],
    [placementOp(placement)],
    [placement],
  );
}

/** The same rows in the other store: new shards in the same sets. */
export function setAccessMethod(catalog: Catalog, view: CatalogView, table: TableDef, accessMethod: AccessMethod): TableChange {
  const next: TableDef = { ...table, accessMethod };
  checkColumnar(next);
  const ranges = view
    .shards(table.tableId)
    .map(({ setKey, index, minValue, maxValue }) => ({ setKey, index, minValue, maxValue }));
  const placements = ranges.map((range) => view.placement(range.setKey));
  return replaceShards(catalog, view, table, next, ranges, [], placements);
}

/** The last table of a group takes the group and its placements along. */
export function dropTable(view: CatalogView, table: TableDef): TableChange {
  const shards = view.shards(table.tableId);
  const ops: CatalogOp[] = [
    { kind: 'table', key: String(table.tableId), row: null },
    ...shards.map((shard): CatalogOp => ({ kind: 'shard', key: String(shard.shardId), row: null })),
    ...queueOps(view, table.tableId),
    ...groupLeftOps(view, table),
  ];
  const drop = byContent(view, shards, (shard) => ({ op: 'dropShard', shardId: shard.shardId }));
  return { catalog: ops, create: new Map(), drop, table, shards: [] };
}

export function truncateTable(view: CatalogView, table: TableDef): TableChange {
  const shards = view.shards(table.tableId);
  const create = byContent(view, shards, (shard) => ({ op: 'truncateShard', shardId: shard.shardId }));
  return { catalog: [], create, drop: new Map(), table, shards };
}

/** Only what the catalog says of it: name, schema, owner, … The stores hold no names that matter. */
export function replaceTable(view: CatalogView, table: TableDef, next: TableDef): TableChange {
  return { catalog: [tableOp(next)], create: new Map(), drop: new Map(), table: next, shards: view.shards(table.tableId) };
}

export function addIndex(view: CatalogView, table: TableDef, index: IndexDef): TableChange {
  const next: TableDef = { ...table, indexes: [...table.indexes, index] };
  const shards = view.shards(table.tableId);
  const create = byContent(view, shards, (shard) => ({ op: 'createIndex', shardId: shard.shardId, index }));
  return { catalog: [tableOp(next)], create, drop: new Map(), table: next, shards };
}

export function dropIndex(view: CatalogView, table: TableDef, name: string): TableChange {
  const next: TableDef = { ...table, indexes: table.indexes.filter((index) => index.name !== name) };
  const shards = view.shards(table.tableId);
  const create = byContent(view, shards, (shard) => ({ op: 'dropIndex', shardId: shard.shardId, name }));
  return { catalog: [tableOp(next)], create, drop: new Map(), table: next, shards };
}

/** An entry of the DDL journal, which rebuilds the front. */
export function journal(catalog: Catalog, entry: Omit<DdlEntry, 'seq'>): CatalogOp[] {
  const seq = catalog.allocate('nextDdlSeq');
  const row: DdlEntry = { seq: seq.first, ...entry };
  return [seq.op, { kind: 'ddl', key: String(row.seq), row }];
}

/** The definition that a store gets of one shard of a table. */
export function shardDefOf(table: TableDef, shard: Shard): ShardDef {
  return {
    shardId: shard.shardId,
    tableId: table.tableId,
    setKey: shard.setKey,
    relation: `${table.name}_${shard.shardId}`,
    accessMethod: table.accessMethod,
    columns: table.columns,
    uniques: table.uniques,
    indexes: table.accessMethod === 'heap' ? table.indexes : [],
  };
}

interface Group {
  group: ColocationGroup;
  placements: SetPlacement[];
  /** What makes it; empty for one that exists. */
  ops: CatalogOp[];
}

type Range = Pick<Shard, 'setKey' | 'index' | 'minValue' | 'maxValue'>;

function redistribute(catalog: Catalog, view: CatalogView, table: TableDef, next: TableDef, group: Group): TableChange {
  checkColumnar(next);
  const { colocationId, shardCount, distributionTypeOid } = group.group;
  const ranges = Array.from({ length: shardCount }, (_, index): Range => {
    const range = distributionTypeOid === 0 ? null : hashRange(index, shardCount);
    return { setKey: setKeyOf(colocationId, index), index, minValue: range?.min ?? null, maxValue: range?.max ?? null };
  });
  return replaceShards(catalog, view, table, next, ranges, group.ops, group.placements);
}

function replaceShards(
  catalog: Catalog,
  view: CatalogView,
  table: TableDef,
  next: TableDef,
  ranges: Range[],
  groupOps: CatalogOp[],
  placements: SetPlacement[],
): TableChange {
  const old = view.shards(table.tableId);
  const shards = allocateShards(catalog, next, ranges);
  const left = sameGroup(table.distribution, next.distribution) ? [] : groupLeftOps(view, table);
  const ops = [
    ...groupOps,
    tableOp(next),
    ...old.map((shard): CatalogOp => ({ kind: 'shard', key: String(shard.shardId), row: null })),
    ...left,
    ...shards.ops,
  ];
  const drop = byContent(view, old, (shard) => ({ op: 'dropShard', shardId: shard.shardId }));
  return change(next, shards.rows, ops, new Map(placements.map((placement) => [placement.setKey, placement])), drop);
}

function change(
  table: TableDef,
  shards: Shard[],
  catalog: CatalogOp[],
  placements: Map<string, SetPlacement>,
  drop: Map<number, StoreDdl[]> | null,
): TableChange {
  const create = new Map<number, StoreDdl[]>();
  for (const shard of shards) {
    for (const content of placements.get(shard.setKey)?.contents ?? []) {
      push(create, content, { op: 'createShard', shard: shardDefOf(table, shard) });
    }
  }
  return { catalog, create, drop: drop ?? new Map(), table, shards };
}

function byContent(view: CatalogView, shards: Shard[], make: (shard: Shard) => StoreDdl): Map<number, StoreDdl[]> {
  const result = new Map<number, StoreDdl[]>();
  for (const shard of shards) for (const content of view.placement(shard.setKey).contents) push(result, content, make(shard));
  return result;
}

function push<Key, Item>(map: Map<Key, Item[]>, key: Key, item: Item): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [item]);
  else list.push(item);
}

function allocateShards(catalog: Catalog, table: TableDef, ranges: Range[]): { rows: Shard[]; ops: CatalogOp[] } {
  const counter = table.distribution.kind === 'local' ? 'nextLocalShardId' : 'nextShardId';
  const ids = catalog.allocate(counter, ranges.length);
  const rows = ranges.map((range, i): Shard => ({ shardId: ids.first + i, tableId: table.tableId, ...range }));
  return { rows, ops: [ids.op, ...rows.map((row): CatalogOp => ({ kind: 'shard', key: String(row.shardId), row }))] };
}

/** The group that the table joins, or a new one. */
function colocationFor(
  catalog: Catalog,
  view: CatalogView,
  table: TableDef,
  column: ColumnDef,
  shardCount: number,
  options: DistributeOptions,
): Group {
  const colocateWith = options.colocateWith ?? 'default';
  if (colocateWith === 'none') return newGroup(catalog, view, shardCount, column.typeOid, 0);
  if (colocateWith === 'default') {
    const fitting = view
      .rowsOf('colocation')
      .filter((group) => group.distributionTypeOid === column.typeOid && group.shardCount === shardCount)
      .sort((a, b) => a.colocationId - b.colocationId)[0];
    return fitting === undefined ? newGroup(catalog, view, shardCount, column.typeOid, 0) : existingGroup(view, fitting);
  }
  return existingGroup(view, groupOfTable(view, table, column, colocateWith));
}

function groupOfTable(view: CatalogView, table: TableDef, column: ColumnDef, name: string): ColocationGroup {
  const { schema, relation } = splitName(name);
  const other = view.tableByName(schema, relation);
  if (other === undefined) throw new SqlError('42P01', `relation "${name}" does not exist`);
  if (other.distribution.kind !== 'distributed') {
    throw new SqlError('42809', `cannot colocate tables ${other.name} and ${table.name}`, {
      detail: `"${other.name}" is not a hash distributed table.`,
    });
  }
  const group = view.colocation(other.distribution.colocationId);
  if (group === undefined) throw new SqlError('XX000', `colocation group of "${name}" is missing`);
  if (group.distributionTypeOid !== column.typeOid) {
    throw new SqlError('42804', `cannot colocate tables ${other.name} and ${table.name}`, {
      detail: `Distribution column types don't match for ${other.name} and ${table.name}.`,
    });
  }
  return group;
}

/** `schema.name` as written, with or without quotes; schema public where there is none. */
function splitName(text: string): { schema: string; relation: string } {
  const parts = [...text.matchAll(/"((?:[^"]|"")*)"|([^."]+)/g)].map(
    (m) => m[1]?.replaceAll('""', '"') ?? (m[2] ?? '').trim().toLowerCase(),
  );
  const relation = parts[parts.length - 1] ?? text;
  return { schema: parts.length > 1 ? (parts[0] ?? 'public') : 'public', relation };
}

function existingGroup(view: CatalogView, group: ColocationGroup): Group {
  const placements = Array.from({ length: group.shardCount }, (_, index) => view.placement(setKeyOf(group.colocationId, index)));
  return { group, placements, ops: [] };
}

/** Sets go round the nodes, in the order of their ranges. */
function newGroup(catalog: Catalog, view: CatalogView, shardCount: number, typeOid: number, collation: number): Group {
  const contents = view.contents();
  if (contents.length === 0) throw new SqlError('55000', 'the cluster has no segments to put shards on');
  const id = catalog.allocate('nextColocationId');
  const group: ColocationGroup = {
    colocationId: id.first,
    shardCount,
    replicationFactor: 1,
    distributionTypeOid: typeOid,
    distributionCollation: collation,
  };
  const placements = Array.from({ length: shardCount }, (_, index): SetPlacement => {
    return { setKey: setKeyOf(id.first, index), contents: [contents[index % contents.length] as number], version: 1 };
  });
  const ops: CatalogOp[] = [id.op, { kind: 'colocation', key: String(id.first), row: group }, ...placements.map(placementOp)];
  return { group, placements, ops };
}

function referenceGroup(view: CatalogView): Group {
  const known = view.colocation(REFERENCE_COLOCATION_ID);
  if (known !== undefined) return existingGroup(view, known);
  const group: ColocationGroup = {
    colocationId: REFERENCE_COLOCATION_ID,
    shardCount: 1,
    replicationFactor: -1,
    distributionTypeOid: 0,
    distributionCollation: 0,
  };
  const setKey = setKeyOf(REFERENCE_COLOCATION_ID, 0);
  const placement: SetPlacement = { setKey, contents: [COORDINATOR_CONTENT, ...view.contents()], version: 1 };
  const ops: CatalogOp[] = [{ kind: 'colocation', key: String(REFERENCE_COLOCATION_ID), row: group }, placementOp(placement)];
  return { group, placements: [placement], ops };
}

/** Where the table was the last of its group (or local): group and placements go. The reference group stays. */
function groupLeftOps(view: CatalogView, table: TableDef): CatalogOp[] {
  const shards = view.shards(table.tableId);
  const dropPlacements = (): CatalogOp[] => shards.map((shard) => ({ kind: 'placement', key: shard.setKey, row: null }));
  if (table.distribution.kind === 'local') return dropPlacements();
  const { colocationId } = table.distribution;
  if (colocationId === REFERENCE_COLOCATION_ID || view.tablesOfColocation(colocationId).length > 1) return [];
  return [...dropPlacements(), { kind: 'colocation', key: String(colocationId), row: null }];
}

function queueOps(view: CatalogView, tableId: number): CatalogOp[] {
  const entry = view.row('queue', String(tableId));
  if (entry === undefined || entry.status === 'COMPLETED') return [];
  return [{ kind: 'queue', key: String(tableId), row: { ...entry, status: 'NO LONGER EXISTS' } }];
}

function sameGroup(a: Distribution, b: Distribution): boolean {
  if (a.kind === 'local' || b.kind === 'local') return a.kind === b.kind;
  return a.colocationId === b.colocationId;
}

function tableOp(row: TableDef): CatalogOp {
  return { kind: 'table', key: String(row.tableId), row };
}

function placementOp(row: SetPlacement): CatalogOp {
  return { kind: 'placement', key: row.setKey, row };
}

function columnOf(table: TableDef, name: string): ColumnDef {
  const column = table.columns.find((candidate) => candidate.name === name);
  if (column === undefined) {
    throw new SqlError('42703', `column "${name}" of relation "${table.name}" does not exist`, {
      hint: `Its columns are ${table.columns.map((candidate) => candidate.name).join(', ')}.`,
    });
  }
  return column;
}

function shardCountSetting(view: CatalogView): number {
  const text = view.setting('damson.shard_count');
  return text === undefined ? DEFAULT_SHARD_COUNT : Number(text);
}

function checkShardCount(count: number): void {
  if (Number.isInteger(count) && count >= 1 && count <= MAX_SHARD_COUNT) return;
  throw new SqlError('22023', `${count} is outside the valid range for parameter "shard_count" (1 .. ${MAX_SHARD_COUNT})`);
}

function checkUniques(table: TableDef, attnum: number): void {
  if (table.uniques.some((unique) => !unique.attnums.includes(attnum))) throw uniqueWithoutDistributionColumn(table);
}

function uniqueWithoutDistributionColumn(table: TableDef): SqlError {
  return new SqlError('0A000', `cannot create constraint on "${table.name}"`, {
    detail:
      'Distributed relations cannot have UNIQUE, EXCLUDE, or PRIMARY KEY constraints that do not include the partition column (with an equality operator if EXCLUDE).',
    hint: 'Add the distribution column to the constraint, or distribute the table by a column of it.',
  });
}

function checkColumnar(table: TableDef): void {
  if (table.accessMethod !== 'columnar' || table.uniques.length === 0) return;
  throw notSupported(
    `columnar table "${table.name}" cannot have UNIQUE or PRIMARY KEY constraints`,
    'Use USING heap for this table, or leave the constraint out.',
  );
}
