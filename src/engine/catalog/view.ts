import { internalError } from '../../core/errors.js';
import type { CatalogKind, CatalogKinds, CatalogOp } from '../../model/catalog.js';
import type { ColocationGroup, SetKey, SetPlacement, Shard, TableDef } from '../../model/table.js';
import type { Instance, Pair } from '../../model/topology.js';
import type { CatalogView } from './types.js';

/** Every kind of row, so that maps exist for all of them. */
export const CATALOG_KINDS = [
  'instance',
  'history',
  'pair',
  'table',
  'colocation',
  'shard',
  'placement',
  'node',
  'ddl',
  'move',
  'expansion',
  'queue',
  'setting',
  'sequence',
  'counter',
  'decision',
] as const satisfies readonly CatalogKind[];

export type RowMaps = { [K in CatalogKind]: Map<string, CatalogKinds[K]> };

export function emptyMaps(): RowMaps {
  return Object.fromEntries(CATALOG_KINDS.map((kind) => [kind, new Map()])) as unknown as RowMaps;
}

/** Puts one change into the maps. Counters never go back: transactions may commit in another order than they were given numbers. */
export function applyOp(maps: RowMaps, op: CatalogOp): void {
  const map = maps[op.kind] as Map<string, unknown>;
  if (op.row === null) {
    map.delete(op.key);
  } else if (op.kind === 'counter') {
    const before = maps.counter.get(op.key);
    map.set(op.key, before !== undefined && before.value > op.row.value ? before : op.row);
  } else {
    map.set(op.key, op.row);
  }
}

/** What is in memory and does not belong to the log: OIDs of the running front, and statistics. */
export interface Volatile {
  oidByTable: Map<number, number>;
  tableByOid: Map<number, number>;
  rows: Map<number, number>;
}

interface Index {
  kind: CatalogKind;
  value: unknown;
}

/** Reads over row maps, with indexes that are made when first asked for and dropped when their kind changes. */
export class RowView implements CatalogView {
  private readonly indexes = new Map<string, Index>();

  constructor(
    protected readonly maps: RowMaps,
    protected readonly notes: Volatile,
    /** Kinds that are the same in `base` are read from there, indexes included. */
    private readonly base: RowView | null = null,
    private readonly own: ReadonlySet<CatalogKind> = new Set(CATALOG_KINDS),
  ) {}

  get version(): number {
    return this.base?.version ?? 0;
  }

  row<K extends CatalogKind>(kind: K, key: string): CatalogKinds[K] | undefined {
    return this.maps[kind].get(key);
  }

  rowsOf<K extends CatalogKind>(kind: K): CatalogKinds[K][] {
    return [...this.maps[kind].values()];
  }

  table(tableId: number): TableDef | undefined {
    return this.maps.table.get(String(tableId));
  }

  tableByName(schema: string, name: string): TableDef | undefined {
    const byName = this.index('tableByName', 'table', (maps) => {
      return new Map([...maps.table.values()].map((table) => [JSON.stringify([table.schema, table.name]), table]));
    });
    return byName.get(JSON.stringify([schema, name]));
  }

  tables(): TableDef[] {
    return this.rowsOf('table').sort((a, b) => a.tableId - b.tableId);
  }

  shards(tableId: number): Shard[] {
    const byTable = this.index('shardsByTable', 'shard', (maps) => {
      const groups = groupBy(maps.shard.values(), (shard) => shard.tableId);
      for (const shards of groups.values()) shards.sort((a, b) => a.index - b.index);
      return groups;
    });
    return byTable.get(tableId) ?? [];
  }

  shard(shardId: number): Shard | undefined {
    return this.maps.shard.get(String(shardId));
  }

  shardsOfSet(setKey: SetKey): Shard[] {
    return this.index('shardsBySet', 'shard', (maps) => groupBy(maps.shard.values(), (shard) => shard.setKey)).get(setKey) ?? [];
  }

  colocation(colocationId: number): ColocationGroup | undefined {
    return this.maps.colocation.get(String(colocationId));
  }

  tablesOfColocation(colocationId: number): TableDef[] {
    return this.tables().filter(
      (table) => 'colocationId' in table.distribution && table.distribution.colocationId === colocationId,
    );
  }

  placement(setKey: SetKey): SetPlacement {
    const placement = this.maps.placement.get(setKey);
    if (placement === undefined) throw internalError(`set ${setKey} has no placement`);
    return placement;
  }

  setsOfContent(content: number): SetKey[] {
    const byContent = this.index('setsByContent', 'placement', (maps) => {
      const groups = new Map<number, SetKey[]>();
      for (const placement of maps.placement.values()) {
        for (const at of placement.contents) append(groups, at, placement.setKey);
      }
      return groups;
    });
    return byContent.get(content) ?? [];
  }

  instances(): Instance[] {
    return this.rowsOf('instance').sort((a, b) => a.dbid - b.dbid);
  }

  instance(dbid: number): Instance | undefined {
    return this.maps.instance.get(String(dbid));
  }

  pair(content: number): Pair | undefined {
    return this.maps.pair.get(String(content));
  }

  contents(): number[] {
    return this.rowsOf('node')
      .map((node) => node.content)
      .filter((content) => content >= 0)
      .sort((a, b) => a - b);
  }

  primaryOf(content: number): Instance | undefined {
    const pair = this.pair(content);
    return pair === undefined ? undefined : this.instance(pair.primaryDbid);
  }

  mirrorOf(content: number): Instance | undefined {
    const dbid = this.pair(content)?.mirrorDbid;
    return dbid === undefined || dbid === null ? undefined : this.instance(dbid);
  }

  setting(name: string): string | undefined {
    return this.maps.setting.get(name)?.value;
  }

  counter(name: string): number {
    return this.maps.counter.get(name)?.value ?? 0;
  }

  oidOf(tableId: number): number | undefined {
    return this.notes.oidByTable.get(tableId);
  }

  tableIdOf(oid: number): number | undefined {
    return this.notes.tableByOid.get(oid);
  }

  tableByOid(oid: number): TableDef | undefined {
    const tableId = this.notes.tableByOid.get(oid);
    return tableId === undefined ? undefined : this.table(tableId);
  }

  shardCount(colocationId: number): number {
    const group = this.colocation(colocationId);
    if (group === undefined) throw internalError(`colocation group ${colocationId} does not exist`);
    return group.shardCount;
  }

  rows(tableId: number): number {
    return this.notes.rows.get(tableId) ?? 0;
  }

  protected forgetIndexes(kinds: ReadonlySet<CatalogKind>): void {
    for (const [name, index] of this.indexes) if (kinds.has(index.kind)) this.indexes.delete(name);
  }

  private index<T>(name: string, kind: CatalogKind, build: (maps: RowMaps) => T): T {
    if (this.base !== null && !this.own.has(kind)) return this.base.index(name, kind, build);
    const known = this.indexes.get(name);
    if (known !== undefined) return known.value as T;
    const value = build(this.maps);
    this.indexes.set(name, { kind, value });
    return value;
  }
}

function groupBy<Row, Key>(rows: Iterable<Row>, keyOf: (row: Row) => Key): Map<Key, Row[]> {
  const groups = new Map<Key, Row[]>();
  for (const row of rows) append(groups, keyOf(row), row);
  return groups;
}

function append<Key, Row>(groups: Map<Key, Row[]>, key: Key, row: Row): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, [row]);
  else group.push(row);
}
