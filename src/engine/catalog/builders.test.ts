import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CatalogOp } from '../../model/catalog.js';
import { Oid } from '../../model/storage.js';
import { FIRST_LOCAL_SHARD_ID, type TableDef } from '../../model/table.js';
import { createDistributed, createReference, dropTable, newTable, setAccessMethod, undistribute } from './builders.js';
import { openCatalog } from './catalog.js';
import type { Catalog, TableChange } from './types.js';

const definition = (name: string, extra: Partial<TableDef> = {}): Omit<TableDef, 'tableId' | 'distribution'> => ({
  schema: 'public',
  name,
  owner: 'postgres',
  accessMethod: 'heap',
  columns: [
    { attnum: 1, name: 'id', typeOid: Oid.int8, typmod: -1, notNull: true },
    { attnum: 2, name: 'note', typeOid: Oid.text, typmod: -1, notNull: false },
  ],
  uniques: [],
  indexes: [],
  needsFront: false,
  ...extra,
});

describe('table builders', () => {
  let directory: string;
  let catalog: Catalog;
  let lsn = 0;
  const commit = (change: TableChange): TableDef => {
    lsn += 10;
    catalog.apply(change.catalog, lsn);
    return change.table;
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'builders-'));
    catalog = openCatalog(directory);
    lsn = 10;
    catalog.apply(
      [-1, 0, 1].map((content): CatalogOp => ({ kind: 'node', key: String(content), row: { content } })),
      lsn,
    );
  });
  afterEach(() => {
    catalog.close();
    rmSync(directory, { recursive: true, force: true });
  });

  it('distributes over the nodes in turn, with the ranges of Citus', () => {
    const local = commit(newTable(catalog, definition('t')));
    expect(catalog.placement('l1').contents).toEqual([-1]);
    const change = createDistributed(catalog, catalog, local, { column: 'id' });
    expect(change.drop.get(-1)).toEqual([{ op: 'dropShard', shardId: FIRST_LOCAL_SHARD_ID }]);
    expect(change.create.get(0)?.length).toBe(16);
    commit(change);
    const shards = catalog.shards(1);
    expect(shards.length).toBe(32);
    expect([shards[0]?.shardId, shards[0]?.minValue, shards[0]?.maxValue]).toEqual([102008, -2147483648, -2013265921]);
    expect([shards[31]?.minValue, shards[31]?.maxValue]).toEqual([2013265920, 2147483647]);
    expect(catalog.placement('c2_1').contents).toEqual([1]);
    expect(catalog.row('placement', 'l1')).toBeUndefined();
  });

  it('puts tables of the same type and shard count together, unless they ask not to', () => {
    const make = (name: string, colocateWith?: string) =>
      commit(
        createDistributed(catalog, catalog, commit(newTable(catalog, definition(name))), {
          column: 'id',
          shardCount: 4,
          ...(colocateWith === undefined ? {} : { colocateWith }),
        }),
      );
    expect(make('a').distribution).toMatchObject({ colocationId: 2 });
    expect(make('b').distribution).toMatchObject({ colocationId: 2 });
    expect(make('c', 'none').distribution).toMatchObject({ colocationId: 3 });
    expect(make('d', 'public.c').distribution).toMatchObject({ colocationId: 3 });
    expect(() => make('e', 'nowhere')).toThrow('relation "nowhere" does not exist');
  });

  it('drops the group with its last table', () => {
    const table = commit(
      createDistributed(catalog, catalog, commit(newTable(catalog, definition('a'))), { column: 'id', shardCount: 4 }),
    );
    const change = dropTable(catalog, table);
    expect(change.drop.get(1)?.length).toBe(2);
    commit(change);
    expect([catalog.rowsOf('shard'), catalog.rowsOf('placement'), catalog.rowsOf('colocation')]).toEqual([[], [], []]);
  });

  it('places a reference table everywhere and brings it back', () => {
    const table = commit(createReference(catalog, catalog, commit(newTable(catalog, definition('r')))));
    expect(catalog.placement('c1_0').contents).toEqual([-1, 0, 1]);
    expect(catalog.shards(1)[0]).toMatchObject({ minValue: null, setKey: 'c1_0' });
    const back = undistribute(catalog, catalog, table);
    expect([...back.drop.keys()]).toEqual([-1, 0, 1]);
    commit(back);
    expect(catalog.table(1)?.distribution).toEqual({ kind: 'local' });
    expect(catalog.colocation(1)).toBeDefined();
  });

  it('refuses as Citus does', () => {
    const keyed = commit(newTable(catalog, definition('k', { uniques: [{ name: 'k_pkey', attnums: [1], primary: true }] })));
    expect(() => createDistributed(catalog, catalog, keyed, { column: 'nope' })).toThrow(
      'column "nope" of relation "k" does not exist',
    );
    expect(() => createDistributed(catalog, catalog, keyed, { column: 'note' })).toThrow('cannot create constraint on "k"');
    expect(() => setAccessMethod(catalog, catalog, keyed, 'columnar')).toThrow('columnar table "k"');
    expect(() => createDistributed(catalog, catalog, keyed, { column: 'id', shardCount: 0 })).toThrow('outside the valid range');
  });

  it('sees its own transaction: created and distributed in one', () => {
    const created = newTable(catalog, definition('t'));
    const view = catalog.overlay(created.catalog);
    const distributed = createDistributed(catalog, view, created.table, { column: 'id', shardCount: 2 });
    const both = catalog.overlay([...created.catalog, ...distributed.catalog]);
    expect(both.shards(1).map((shard) => shard.setKey)).toEqual(['c2_0', 'c2_1']);
    expect(catalog.tables()).toEqual([]);
  });
});
