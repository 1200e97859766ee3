import type { CatalogOp } from '../../model/catalog.js';
import type { Gid, LockName, Lsn } from '../../model/log.js';
import type { SegmentMethods } from '../../model/task.js';
import type { RpcClient } from '../../rpc/types.js';

/**
 * One instance's execution: fragments, transactions, log, stores, replay. A segment's daemon serves it over RPC; the coordinator
 * holds one for content -1 in its own process. `methods` are the handlers of SegmentMethods.
 */
export interface InstanceEngine {
  readonly methods: import('../../rpc/types.js').Handlers;
  /** The same calls without a socket, in the same order guarantee: what dispatch uses for content -1. */
  readonly local: SegmentLink;
  /** Coordinator only: the DECISION of a two-phase transaction (or of one that changed only the catalog), with the coordinator's own
   *  rows of `gid` where it has any. Resolves when safe, published and the catalog ops were given to `onCatalog`.
   *  `onDecided` is called once, when the record is safe, in the turn before the coordinator's own rows are published: the second
   *  phase is sent to the other participants inside it, so that a snapshot sees all of the transaction or nothing (protocols, section 6). */
  decide(
    gid: Gid,
    participants: number[],
    locks: LockName[],
    catalog: CatalogOp[],
    onDecided?: () => void,
  ): Promise<{ lsn: Lsn }>;
  /** Coordinator only: STATE record; resolves when safe and given to `onCatalog`. */
  state(catalog: CatalogOp[]): Promise<{ lsn: Lsn }>;
  /** Coordinator only: lazily durable. */
  forget(gid: Gid): void;
  /** First rid that was not given yet in this instance's copy of a shard. */
  nextRid(shardId: number): number;
  close(mode: 'fast' | 'immediate'): Promise<void>;
}

/** How dispatch speaks to an instance, near or far: an RpcClient, or the engine itself. */
export type SegmentLink = Pick<RpcClient, 'call' | 'ask' | 'open' | 'closed' | 'onClose'>;
export type SegmentMethod = keyof SegmentMethods;
