import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { internalError } from '../../core/errors.js';
import type { CatalogKind, CatalogOp } from '../../model/catalog.js';
import { FIRST_LOCAL_SHARD_ID, FIRST_SHARD_ID, REFERENCE_COLOCATION_ID } from '../../model/table.js';
import { CatalogFile } from './file.js';
import type { Catalog, CatalogView, CounterName } from './types.js';
import { applyOp, emptyMaps, type RowMaps, RowView, type Volatile } from './view.js';

/** First number of each counter where none was given yet. */
const FIRST: Record<CounterName, number> = {
  nextTableId: 1,
  nextShardId: FIRST_SHARD_ID,
  nextLocalShardId: FIRST_LOCAL_SHARD_ID,
  // 1 is the group of the reference tables.
  nextColocationId: REFERENCE_COLOCATION_ID + 1,
  nextDbid: 1,
  nextDdlSeq: 1,
  incarnation: 0,
  nextMoveId: 1,
};

/**
 * Opens `catalog.db` of a coordinator's data directory and reads it into memory. Changes come through `apply` alone, from
 * records of the coordinator's log that are safe; what the file has missed is applied again from the log at start.
 */
export function openCatalog(datadir: string): Catalog {
  mkdirSync(datadir, { recursive: true });
  const file = new CatalogFile(join(datadir, 'catalog.db'));
  const maps = emptyMaps();
  for (const op of file.rows()) applyOp(maps, op);
  return new FileCatalog(file, maps);
}

class FileCatalog extends RowView implements Catalog {
  private changes = 0;
  private readonly reserved = new Map<CounterName, number>();
  private readonly listeners = new Set<(kinds: ReadonlySet<CatalogKind>) => void>();

  constructor(
    private readonly file: CatalogFile,
    maps: RowMaps,
  ) {
    super(maps, { oidByTable: new Map(), tableByOid: new Map(), rows: new Map() } satisfies Volatile);
  }

  override get version(): number {
    return this.changes;
  }

  get lsn(): number {
    return this.file.applied;
  }

  overlay(ops: readonly CatalogOp[]): CatalogView {
    if (ops.length === 0) return this;
    const kinds = new Set(ops.map((op) => op.kind));
    const maps = { ...this.maps } as Record<CatalogKind, Map<string, unknown>>;
    for (const kind of kinds) maps[kind] = new Map<string, unknown>(this.maps[kind]);
    for (const op of ops) applyOp(maps as unknown as RowMaps, op);
    return new RowView(maps as unknown as RowMaps, this.notes, this, kinds);
  }

  apply(ops: CatalogOp[], lsn: number): void {
    // A record without changes need not be noted: applied again it changes nothing.
    if (lsn <= this.file.applied || ops.length === 0) return;
    this.file.apply(ops, lsn);
    const kinds = new Set(ops.map((op) => op.kind));
    for (const op of ops) applyOp(this.maps, op);
    this.changes += 1;
    this.forgetIndexes(kinds);
    this.tell(kinds);
  }

  settle(lsn: number): void {
    this.file.settle(lsn);
  }

  allocate(name: CounterName, count = 1): { first: number; op: CatalogOp } {
    if (!Number.isInteger(count) || count < 1) throw internalError(`allocate(${name}, ${count})`);
    const first = Math.max(this.reserved.get(name) ?? 0, this.counter(name), FIRST[name]);
    const value = first + count;
    this.reserved.set(name, value);
    return { first, op: { kind: 'counter', key: name, row: { name, value } } };
  }

  onChange(listener: (kinds: ReadonlySet<CatalogKind>) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  bindOid(tableId: number, oid: number): void {
    this.unbindOid(tableId);
    this.notes.oidByTable.set(tableId, oid);
    this.notes.tableByOid.set(oid, tableId);
    // What is shown by OID changes with it.
    this.tell(new Set(['table', 'shard', 'queue']));
  }

  unbindOid(tableId: number): void {
    const oid = this.notes.oidByTable.get(tableId);
    if (oid === undefined) return;
    this.notes.oidByTable.delete(tableId);
    this.notes.tableByOid.delete(oid);
  }

  setRows(tableId: number, rows: number): void {
    this.notes.rows.set(tableId, rows);
  }

  close(): void {
    this.file.close();
  }

  private tell(kinds: ReadonlySet<CatalogKind>): void {
    for (const listener of this.listeners) listener(kinds);
  }
}
