import type { Lsn, ShardChanges, StoreRow, TxnBody } from '../../model/log.js';

export interface MovedTxn {
  lsn: Lsn;
  txn: TxnBody;
}

/** Rows that one merged record holds at most. */
const MERGED_ROWS = 20_000;

/**
 * Consecutive transactions of a set as few records: the net of their row changes, at the position of the last. The set is not read on the
 * target before it has all, so what lay between need not be seen. DDL and batch files stay in records of their own.
 */
export function mergeTxns(txns: readonly MovedTxn[]): MovedTxn[] {
  const merged: MovedTxn[] = [];
  let run: MovedTxn[] = [];
  let rows = 0;
  const close = () => {
    if (run.length > 0) merged.push(netOf(run));
    run = [];
    rows = 0;
  };
  for (const one of txns) {
    const plain = one.txn.ddl.length === 0 && one.txn.shards.every((changes) => changes.batches.length === 0);
    if (!plain) {
      close();
      merged.push(one);
      continue;
    }
    run.push(one);
    rows += one.txn.shards.reduce((total, changes) => total + changes.deleted.length + changes.inserted.length, 0);
    if (rows >= MERGED_ROWS) close();
  }
  close();
  return merged;
}

interface Net {
  nextRid: number;
  deleted: Set<number>;
  inserted: Map<number, StoreRow>;
}

function netOf(run: MovedTxn[]): MovedTxn {
  const last = run[run.length - 1] as MovedTxn;
  if (run.length === 1) return last;
  const nets = new Map<number, Net>();
  for (const { txn } of run) for (const changes of txn.shards) add(nets, changes);
  const shards = [...nets].map(([shardId, { nextRid, deleted, inserted }]): ShardChanges => {
    return { shardId, nextRid, deleted: [...deleted], inserted: [...inserted.values()], batches: [] };
  });
  return { lsn: last.lsn, txn: { ...last.txn, locks: [], shards } };
}

/** A row that an earlier one of the run had put in is taken out again; any other was there before, and is deleted. */
function add(nets: Map<number, Net>, changes: ShardChanges): void {
  let net = nets.get(changes.shardId);
  if (net === undefined) {
    net = { nextRid: 0, deleted: new Set(), inserted: new Map() };
    nets.set(changes.shardId, net);
  }
  for (const rid of changes.deleted) if (!net.inserted.delete(rid)) net.deleted.add(rid);
  for (const row of changes.inserted) net.inserted.set(row[0], row);
  net.nextRid = Math.max(net.nextRid, changes.nextRid);
}
