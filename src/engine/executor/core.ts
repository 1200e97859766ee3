/** What the parts of an instance share. */
import type { Logger } from '../../core/log.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { BatchRef, LogBody, Lsn, TxnBody } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';
import type { InstanceIdentity } from '../../model/topology.js';
import type { ChangeLog } from '../changelog/types.js';
import type { Stores } from '../store/types.js';
import type { LoggedBatches } from './logged-batches.js';
import type { Publisher } from './publisher.js';
import type { Transactions } from './transactions.js';

export interface InstanceOptions {
  /** Data directory of the instance. */
  directory: string;
  identity: InstanceIdentity;
  logger: Logger;
  /** DuckDB's memory limit, MB. */
  memoryMb: number;
  /** DuckDB's threads. */
  threads: number;
  /** Coordinator: catalog changes of STATE and DECISION records, in lsn order; repeated after a restart. */
  onCatalog?: (ops: CatalogOp[], lsn: Lsn) => void;
  /** Coordinator: all catalog changes up to here have been given; makes them durable in the catalog, because the log is cut behind them. */
  settleCatalog?: (lsn: Lsn) => void;
  /** Bytes of a file of the change log (default 16 MiB); how much of it is kept goes by it. */
  logFileBytes?: number;
  /** Coordinator: its catalog for a standby that is made anew, and the standby's taking it. */
  exportState?: () => Promise<{ lsn: Lsn; bytes: Buffer }>;
  importState?: (lsn: Lsn, bytes: Buffer) => Promise<void>;
  /** Called once when the instance cannot go on: the process must end (and replays when it starts again). */
  onFatal: (error: Error) => void;
}

export interface Core {
  readonly options: InstanceOptions;
  readonly log: ChangeLog;
  readonly stores: Stores;
  readonly publisher: Publisher;
  readonly transactions: Transactions;
  readonly batches: LoggedBatches;
  /** Makes batch files durable on the mirror, where one is in step: before the record that names them. */
  shipBatches(refs: readonly BatchRef[]): Promise<void>;
}

/** Stores that a transaction's record touches. */
export function touchedBy(stores: Stores, txn: TxnBody): { heapSets: ReadonlySet<SetKey>; columnar: boolean } {
  const heapSets = new Set<SetKey>();
  let columnar = false;
  const add = (setKey: SetKey, heap: boolean): void => {
    if (heap) heapSets.add(setKey);
    else columnar = true;
  };
  for (const ddl of txn.ddl) {
    if (ddl.op === 'createShard') add(ddl.shard.setKey, ddl.shard.accessMethod === 'heap');
    else if (ddl.op === 'dropSet') {
      add(ddl.setKey, true);
      columnar = true;
    } else addShard(stores, ddl.shardId, add);
  }
  for (const { shardId } of txn.shards) addShard(stores, shardId, add);
  return { heapSets, columnar };
}

function addShard(stores: Stores, shardId: number, add: (setKey: SetKey, heap: boolean) => void): void {
  // A shard that the same transaction makes is covered by its createShard.
  if (!stores.hasShard(shardId)) return;
  const shard = stores.shard(shardId);
  add(shard.setKey, shard.accessMethod === 'heap');
}

/** Appends a record and enters its publication, in one turn, so that both are in the same order. */
export function appendAndPublish(
  core: Core,
  body: LogBody,
  entry: {
    heapSets: ReadonlySet<SetKey>;
    columnar: boolean;
    decided?: boolean;
    concurrent?: boolean;
    onSafe?: (publication: { decided: boolean }) => void;
    publish: (lsn: Lsn) => Promise<void>;
  },
): { lsn: Lsn; published: Promise<void> } {
  const { lsn, end } = core.log.append(body);
  core.batches.note(lsn, body);
  const published = core.publisher.add({
    lsn,
    end,
    heapSets: entry.heapSets,
    columnar: entry.columnar,
    decided: entry.decided ?? false,
    concurrent: entry.concurrent ?? false,
    ...(entry.onSafe === undefined ? {} : { onSafe: entry.onSafe }),
    publish: () => entry.publish(lsn),
  });
  // Whoever needs the outcome awaits it; nobody else is to be told that it failed.
  published.catch(() => undefined);
  return { lsn, published };
}
