import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoreRow } from '../../model/log.js';
import { type MovedTxn, mergeTxns } from './merge.js';

const txn = (lsn: number, deleted: number[], inserted: StoreRow[]): MovedTxn => ({
  lsn,
  txn: { participants: [0], locks: [], ddl: [], shards: [{ shardId: 1, nextRid: lsn, deleted, inserted, batches: [] }] },
});

function play(rows: Map<number, string>, txns: readonly MovedTxn[]): Map<number, string> {
  const result = new Map(rows);
  for (const { txn: body } of txns) {
    for (const changes of body.shards) {
      for (const rid of changes.deleted) if (!result.delete(rid)) throw new Error(`row ${rid} is not there`);
      for (const [rid, value] of changes.inserted) {
        if (result.has(rid)) throw new Error(`row ${rid} is there already`);
        result.set(rid, String(value));
      }
    }
  }
  return result;
}

describe('merging the transactions of a move', () => {
  it('keeps DDL and batch files in records of their own, in order', () => {
    const ddl: MovedTxn = {
      lsn: 3,
      txn: { participants: [0], locks: [], ddl: [{ op: 'truncateShard', shardId: 1 }], shards: [] },
    };
    const merged = mergeTxns([txn(1, [], [[1, 'a']]), txn(2, [], [[2, 'b']]), ddl, txn(4, [], [[3, 'c']])]);
    expect(merged.map((one) => one.lsn)).toEqual([2, 3, 4]);
  });

  it('has the effect of one after the other, and deletes or puts in no row twice', () => {
    const step = fc.record({
      rid: fc.nat({ max: 9 }),
      value: fc.string({ maxLength: 3 }),
      kind: fc.constantFrom('put', 'take', 'change'),
    });
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 4 }), { maxLength: 8 }), (groups) => {
        const start = new Map(Array.from({ length: 5 }, (_, rid) => [rid, 'old']));
        let now = new Map(start);
        const txns = groups.map((steps, i) => {
          const before = new Map(now);
          for (const { rid, value, kind } of steps) {
            if (kind === 'take') now.delete(rid);
            else if ((kind === 'put') !== now.has(rid)) now.set(rid, value);
          }
          const changed = [...new Set([...before.keys(), ...now.keys()])].filter((rid) => before.get(rid) !== now.get(rid));
          const inserted = changed.filter((rid) => now.has(rid)).map((rid): StoreRow => [rid, now.get(rid) as string]);
          const result = txn(
            i + 1,
            changed.filter((rid) => before.has(rid)),
            inserted,
          );
          now = new Map(now);
          return result;
        });
        expect(play(start, mergeTxns(txns))).toEqual(play(start, txns));
      }),
    );
  });
});
