import { describe, expect, it } from 'vitest';
import type { Shard, TableDef } from '../../model/table.js';
import type { CatalogView } from '../catalog/types.js';
import { indexesOf, indexOfValue, modifyShards, readTargets } from './targets.js';

const TABLE: TableDef = {
  tableId: 1,
  schema: 'public',
  name: 't',
  owner: 'postgres',
  accessMethod: 'heap',
  distribution: { kind: 'distributed', attnum: 1, colocationId: 7 },
  columns: [{ attnum: 1, name: 'a', typeOid: 23, typmod: -1, notNull: false }],
  uniques: [],
  indexes: [],
  needsFront: false,
};
const REFERENCE: TableDef = { ...TABLE, tableId: 2, name: 'r', distribution: { kind: 'reference', colocationId: 1 } };

const shard = (tableId: number, index: number): Shard => ({
  shardId: tableId * 100 + index,
  tableId,
  setKey: tableId === 1 ? `c7_${index}` : 'c1_0',
  index,
  minValue: null,
  maxValue: null,
});

/** Four ranges, in turn on contents 0 and 1. */
const view = {
  table: (id: number) => (id === 1 ? TABLE : REFERENCE),
  shards: (id: number) => (id === 1 ? [0, 1, 2, 3].map((index) => shard(1, index)) : [shard(2, 0)]),
  shardCount: () => 4,
  colocation: () => ({ colocationId: 7, shardCount: 4, replicationFactor: 1, distributionTypeOid: 23, distributionCollation: 0 }),
  placement: (setKey: string) => ({
    setKey,
    contents: setKey === 'c1_0' ? [-1, 0, 1] : [Number(setKey.slice(3)) % 2],
    version: 1,
  }),
} as unknown as CatalogView;

const RELATIONS = [
  { alias: 't0', tableId: 1, columns: [1] },
  { alias: 't1', tableId: 2, columns: [1] },
];
const value = (text: string) => ({ kind: 'const' as const, typeOid: 23, text });

describe('targets of a fragment', () => {
  it('are all owners, each with its shards and its copy of a reference table', () => {
    expect(readTargets(view, RELATIONS, { kind: 'colocated', colocationId: 7, keys: null }, [])).toEqual([
      { content: 0, shards: { t0: [100, 102], t1: [200] } },
      { content: 1, shards: { t0: [101, 103], t1: [200] } },
    ]);
  });

  it('are pruned by values of the distribution column', () => {
    const index = indexOfValue(view, 7, 23, '1');
    expect(
      readTargets(
        view,
        RELATIONS.slice(0, 1),
        { kind: 'colocated', colocationId: 7, keys: [{ kind: 'param', n: 1, typeOid: 23 }] },
        ['1'],
      ),
    ).toEqual([{ content: index % 2, shards: { t0: [100 + index] } }]);
    // PostgreSQL hashes integers of all widths alike.
    expect(indexOfValue(view, 7, 20, '1')).toBe(index);
  });

  it('are one shard where nothing can match, so that an aggregate has its row', () => {
    expect(indexesOf(view, { kind: 'colocated', colocationId: 7, keys: [{ kind: 'param', n: 1, typeOid: 23 }] }, [null])).toEqual(
      [0],
    );
    expect(indexesOf(view, { kind: 'colocated', colocationId: 7, keys: [] }, [])).toEqual([0]);
  });

  it('of a write are the shards of the values', () => {
    const keys = ['1', '2', '3'].map(value);
    const indexes = [...new Set(keys.map((key) => indexOfValue(view, 7, 23, key.text)))].sort();
    expect(modifyShards(view, TABLE, { kind: 'colocated', colocationId: 7, keys }, []).map((one) => one.index)).toEqual(indexes);
    expect(modifyShards(view, REFERENCE, { kind: 'coordinator' }, []).map((one) => one.shardId)).toEqual([200]);
  });
});
