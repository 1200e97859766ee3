/** Commit, one-phase and two-phase, as protocols section 5 says: freeze, append, safe, publish, answer. */
import { internalError, SqlError } from '../../core/errors.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { BatchRef, Gid, LockName, Lsn, TxnBody } from '../../model/log.js';
import { appendAndPublish, type Core, touchedBy } from './core.js';
import { outOfSpace } from './errors.js';
import type { InstanceTxn } from './transactions.js';

export class Commits {
  constructor(private readonly core: Core) {}

  /** Step 1 of two-phase: PREPARE safe on the pair. */
  async prepare(gid: Gid, participants: number[], locks: LockName[]): Promise<{ readOnly: boolean }> {
    const { core } = this;
    const txn = core.transactions.need(gid);
    const body = await this.freeze(txn, participants, locks);
    if (body === null) return { readOnly: true };
    const { lsn, end } = this.append(txn, () => core.log.append({ k: 'PREPARE', gid, txn: body }));
    core.batches.note(lsn, { k: 'PREPARE', gid, txn: body });
    txn.go('logPrepare');
    core.transactions.prepared.set(gid, { gid, lsn, participants, locks, txn: body, owner: txn });
    try {
      await core.log.waitSafe(end);
    } catch (error) {
      // Cut off again, or not for this instance to say any more.
      if (core.transactions.prepared.delete(gid)) await this.rollBack(txn);
      throw error;
    }
    if (txn.phase !== 'PREPARING') throw txn.notActive();
    txn.go('vote');
    return { readOnly: false };
  }

  async commit1(gid: Gid, locks: LockName[]): Promise<{ lsn: Lsn }> {
    const { core } = this;
    const txn = core.transactions.need(gid);
    const body = await this.freeze(txn, [core.options.identity.content], locks);
    if (body === null) return { lsn: core.log.safe };
    const { lsn, published } = this.append(txn, () =>
      appendAndPublish(
        core,
        { k: 'TXN', gid, txn: body },
        { ...touchedBy(core.stores, body), concurrent: true, publish: (at) => txn.store.publish(at, body) },
      ),
    );
    txn.go('logTxn');
    return this.finish(txn, lsn, published);
  }

  /** Synchronous up to the appended COMMIT: readings that arrive later stand behind it. */
  commit2(gid: Gid): Promise<{ known: boolean }> {
    const { core } = this;
    const prepared = core.transactions.prepared.get(gid);
    if (prepared === undefined) return this.commit2Again(gid);
    const { txn, owner, lsn: prepareLsn } = prepared;
    const { lsn, published } = appendAndPublish(
      core,
      { k: 'COMMIT', gid, prepareLsn },
      {
        ...touchedBy(core.stores, txn),
        decided: true,
        concurrent: owner !== null,
        publish: (at) => (owner === null ? this.applyNow(at, txn) : owner.store.publish(at, txn)),
      },
    );
    core.transactions.prepared.delete(gid);
    core.transactions.remember(gid, lsn);
    // A vote whose answer was lost with its connection is decided all the same.
    if (owner?.phase === 'PREPARING') owner.go('vote');
    owner?.go('logCommit');
    const done = published.then(
      () => {
        if (owner !== null) this.ended(owner);
        return { known: true };
      },
      (error: unknown) => {
        // The COMMIT was cut off: it stays prepared, and is asked for again.
        core.transactions.forget([gid]);
        core.transactions.prepared.set(gid, prepared);
        owner?.go('undo');
        throw error;
      },
    );
    if (owner !== null) owner.publication = done;
    return done;
  }

  private async commit2Again(gid: Gid): Promise<{ known: boolean }> {
    const going = this.core.transactions.find(gid)?.publication;
    if (going !== undefined && going !== null) {
      await going;
      return { known: true };
    }
    return { known: this.core.transactions.committedAt(gid) !== undefined };
  }

  private async applyNow(lsn: Lsn, txn: TxnBody): Promise<void> {
    await this.core.stores.apply(lsn, txn);
    await this.core.stores.flush();
  }

  async abort(gid: Gid): Promise<void> {
    const { transactions, log } = this.core;
    const prepared = transactions.prepared.get(gid);
    const txn = transactions.find(gid);
    if (prepared !== undefined) {
      // No need to wait for safe: a promoted mirror that lacks it asks again.
      log.append({ k: 'ABORT', gid });
      transactions.prepared.delete(gid);
      if (prepared.owner === null) return;
      prepared.owner.go('abort');
      await prepared.owner.queue(() => prepared.owner!.store.rollback());
      transactions.ended(prepared.owner);
      return;
    }
    if (txn === undefined) return;
    if (txn.phase === 'COMMITTING') throw internalError(`transaction ${gid} is being committed`);
    await transactions.abortUnprepared(txn);
  }

  /** Is a one-phase gid in the log? What has not reached it by now never will. */
  async outcome(gid: Gid): Promise<{ committed: boolean }> {
    const txn = this.core.transactions.find(gid);
    if (txn !== undefined) {
      if (txn.publication !== null) await txn.publication;
      else await this.core.transactions.abortUnprepared(txn);
    }
    return { committed: this.core.transactions.committedAt(gid) !== undefined };
  }

  /** The coordinator's own part of a two-phase commit, and its decision. */
  async decide(
    gid: Gid,
    participants: number[],
    locks: LockName[],
    catalog: CatalogOp[],
    onDecided?: () => void,
  ): Promise<{ lsn: Lsn }> {
    const { core } = this;
    const txn = core.transactions.find(gid);
    const body = txn === undefined ? null : await this.freeze(txn, [...participants], locks);
    const owner = body === null ? undefined : txn;
    const append = () =>
      appendAndPublish(
        core,
        { k: 'DECISION', gid, participants, txn: body, catalog },
        {
          ...(body === null ? { heapSets: new Set<string>(), columnar: false } : touchedBy(core.stores, body)),
          onSafe: (publication) => {
            publication.decided = true;
            onDecided?.();
          },
          publish: async (lsn) => {
            if (owner !== undefined && body !== null) await owner.store.publish(lsn, body);
            if (catalog.length > 0) core.options.onCatalog?.(catalog, lsn);
          },
        },
      );
    if (owner === undefined) {
      const { lsn, published } = append();
      await published;
      return { lsn };
    }
    const { lsn, published } = this.append(owner, append);
    owner.go('logTxn');
    return this.finish(owner, lsn, published);
  }

  async state(catalog: CatalogOp[]): Promise<{ lsn: Lsn }> {
    const { core } = this;
    const { lsn, published } = appendAndPublish(
      core,
      { k: 'STATE', catalog },
      {
        heapSets: new Set(),
        columnar: false,
        publish: async (at) => core.options.onCatalog?.(catalog, at),
      },
    );
    await published;
    return { lsn };
  }

  /** The net changes, durable batch files included; null when it changed nothing here (it has ended then). */
  private async freeze(txn: InstanceTxn, participants: number[], locks: LockName[]): Promise<TxnBody | null> {
    if (txn.phase !== 'ACTIVE') throw txn.notActive();
    txn.go('freeze');
    try {
      const frozen = await txn.queue(() => txn.store.freeze());
      checkFreezing(txn);
      if (frozen.ddl.length === 0 && frozen.shards.length === 0) {
        txn.go('nothing');
        await txn.store.rollback();
        this.core.transactions.ended(txn);
        return null;
      }
      const refs = refsOf(frozen);
      if (refs.length > 0) this.core.log.refuseFull(refs.reduce((sum, { bytes }) => sum + bytes, 0));
      await this.core.shipBatches(refs);
      checkFreezing(txn);
      return { participants, locks, ddl: frozen.ddl, shards: frozen.shards };
    } catch (error) {
      await this.core.transactions.abortUnprepared(txn);
      throw (error instanceof SqlError ? undefined : outOfSpace(String(error))) ?? error;
    }
  }

  /** An append that fails wrote nothing: the transaction is rolled back. */
  private append<T>(txn: InstanceTxn, append: () => T): T {
    try {
      return append();
    } catch (error) {
      void this.core.transactions.abortUnprepared(txn).catch((cause: unknown) => {
        this.core.options.logger.error({ err: cause, gid: txn.gid }, 'rollback failed');
      });
      throw error;
    }
  }

  private finish(txn: InstanceTxn, lsn: Lsn, published: Promise<void>): Promise<{ lsn: Lsn }> {
    this.core.transactions.remember(txn.gid, lsn);
    const done = published.then(
      () => {
        this.ended(txn);
        return { lsn };
      },
      async (error: unknown) => {
        // The record was cut off: it never happened.
        this.core.transactions.forget([txn.gid]);
        await this.rollBack(txn);
        throw error;
      },
    );
    done.catch(() => undefined);
    txn.publication = done;
    return done;
  }

  private ended(txn: InstanceTxn): void {
    txn.go('publish');
    this.core.transactions.ended(txn);
  }

  private async rollBack(txn: InstanceTxn): Promise<void> {
    txn.go('abort');
    await txn.queue(() => txn.store.rollback());
    this.core.transactions.ended(txn);
  }
}

function refsOf(frozen: { shards: TxnBody['shards']; batches: BatchRef[] }): BatchRef[] {
  const byName = new Map<string, BatchRef>();
  for (const ref of [...frozen.batches, ...frozen.shards.flatMap((shard) => shard.batches)]) {
    if (ref.inline === undefined) byName.set(ref.name, ref);
  }
  return [...byName.values()];
}

/** While it was awaited, an abort or the loss of the role may have ended it. */
function checkFreezing(txn: InstanceTxn): void {
  if (txn.phase !== 'FREEZING') throw txn.notActive();
}
