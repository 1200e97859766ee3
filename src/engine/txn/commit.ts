/** Commit and abort of a transaction on the coordinator (protocols, section 5). */
import { SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { CatalogOp } from '../../model/catalog.js';
import type { Gid, LockName } from '../../model/log.js';
import { COORDINATOR_CONTENT } from '../../model/topology.js';
import type { Catalog } from '../catalog/types.js';
import type { InstanceEngine } from '../executor/types.js';
import type { ClusterLinks } from './links.js';
import type { LockManager } from './lock-manager.js';
import { ddlOnTable, placeLock } from './names.js';
import type { Outstanding } from './outstanding.js';
import { type ClusterTransaction, isConnectionLost } from './transaction.js';
import type { Connection } from './types.js';

/** How long a commit whose segment was lost looks for somebody who knows what became of it. */
const OUTCOME_LIMIT_MS = 60_000;
const OUTCOME_RETRY_MS = 200;

/** Codes with which an instance leaves open whether a commit took effect: it lost its role, is stopping, or is broken. */
const OPEN_CODES: ReadonlySet<string> = new Set(['57P01', '57P02', '57P03', 'DM002', 'XX000', 'XX001', '08006', '08007']);

export interface CommitParts {
  readonly locks: LockManager;
  readonly links: Pick<ClusterLinks, 'of' | 'evenPaused'>;
  readonly logger: Logger;
  commit(txn: ClusterTransaction): Promise<void>;
  abort(txn: ClusterTransaction): Promise<void>;
}

export interface CommitDeps {
  catalog: Pick<Catalog, 'overlay'>;
  locks: LockManager;
  links: Pick<ClusterLinks, 'of' | 'evenPaused'>;
  engine: Pick<InstanceEngine, 'decide'>;
  outstanding: Outstanding;
  logger: Logger;
  outcomeLimitMs?: number;
}

/** Resolves when the commit is durable; throws when it did not happen (the transaction is ABORTED then) or nobody knows (UNKNOWN). */
export async function commitTransaction(deps: CommitDeps, txn: ClusterTransaction): Promise<void> {
  const contents = [...txn.participants];
  if (!txn.hasWrites) {
    txn.to('COMMITTED');
    deps.locks.releaseAll(txn.gid);
    await txn.runDecided();
    return;
  }
  const segments = contents.filter((content) => content !== COORDINATOR_CONTENT);
  const onCoordinator = contents.length > segments.length || txn.catalogOps.length > 0;
  if (segments.length === 1 && !onCoordinator) return commitOne(deps, txn, segments[0] as number);
  return commitTwo(deps, txn, segments);
}

/** Nothing was decided: participants drop what they have. Locks stay until each has answered, so that nobody runs into the other's writers. */
export async function abortTransaction(deps: CommitDeps, txn: ClusterTransaction): Promise<void> {
  const answers = [...txn.connections].map(([content, connection]) => abortAt(deps, txn.gid, content, connection));
  await Promise.all([...answers, txn.runAborted()]);
  deps.locks.releaseAll(txn.gid);
}

async function abortAt(deps: CommitDeps, gid: Gid, content: number, connection: Connection): Promise<void> {
  // What was not prepared went with its connection; what was is found by the next hello.
  const target = connection.closed ? deps.links.evenPaused(content) : connection;
  if (target === null) return;
  try {
    await target.call('abort', { gid });
  } catch (error) {
    if (!isConnectionLost(error)) deps.logger.error({ gid, content, err: error }, 'abort failed');
  }
}

async function commitOne(deps: CommitDeps, txn: ClusterTransaction, content: number): Promise<void> {
  const connection = txn.connections.get(content) as Connection;
  txn.to('COMMITTING');
  try {
    await connection.call('commit1', { gid: txn.gid, locks: writeLocks(deps, txn) });
  } catch (error) {
    await resolveOutcome(deps, txn, content, error);
  }
  txn.to('COMMITTED');
  deps.locks.releaseAll(txn.gid);
  deps.outstanding.oneDone(content, txn.gid);
  await txn.runDecided();
}

/** Returns when it is committed. */
async function resolveOutcome(deps: CommitDeps, txn: ClusterTransaction, content: number, error: unknown): Promise<void> {
  const open = isConnectionLost(error) || !(error instanceof SqlError) || OPEN_CODES.has(error.sqlstate);
  const committed = open ? await askOutcome(deps, txn.gid, content) : false;
  if (committed === true) return;
  deps.locks.releaseAll(txn.gid);
  if (committed === null) {
    txn.to('UNKNOWN');
    throw outcomeUnknown(txn.gid, error);
  }
  txn.to('ABORTED');
  await txn.runAborted();
  if (!open) throw error;
  throw new SqlError('40001', `segment ${content} was lost before the transaction was committed`, {
    hint: 'Nothing of it took effect. Run it again.',
    cause: error,
  });
}

/** Asks the restarted or promoted primary. null: nobody answered within the limit. */
async function askOutcome(deps: CommitDeps, gid: Gid, content: number): Promise<boolean | null> {
  const deadline = performance.now() + (deps.outcomeLimitMs ?? OUTCOME_LIMIT_MS);
  while (performance.now() < deadline) {
    try {
      const connection = await deps.links.of(content);
      const { committed } = await connection.call('outcome', { gid }, { timeoutMs: Math.max(1, deadline - performance.now()) });
      return committed;
    } catch (error) {
      deps.logger.warn({ gid, content, err: error }, 'nobody can say yet what became of a commit');
      await new Promise((resolve) => setTimeout(resolve, OUTCOME_RETRY_MS));
    }
  }
  return null;
}

async function commitTwo(deps: CommitDeps, txn: ClusterTransaction, segments: number[]): Promise<void> {
  await keepPlaces(deps, txn);
  txn.to('PREPARING');
  const locks = writeLocks(deps, txn);
  const voters = await prepareAll(deps, txn, segments, locks);
  const ops = [...txn.catalogOps, ...deps.outstanding.decisionOps(txn.gid, voters)];
  if (voters.length > 0 || txn.catalogOps.length > 0 || txn.participants.includes(COORDINATOR_CONTENT)) {
    await decide(deps, txn, voters, locks, ops);
  } else {
    txn.to('COMMITTED');
    deps.locks.releaseAll(txn.gid);
    return txn.runDecided();
  }
  await txn.runDecided();
  txn.to('COMMITTED');
}

/** Shards that it makes must lie where their sets are now, and the sets must stay there until it has ended. */
async function keepPlaces(deps: CommitDeps, txn: ClusterTransaction): Promise<void> {
  const ops = txn.catalogOps.flatMap((op) => (op.kind === 'shard' && op.row !== null ? [op.row] : []));
  if (ops.length === 0) return;
  // What it made and dropped again does not count.
  const mine = deps.catalog.overlay(txn.catalogOps);
  const made = ops.filter((row) => mine.shard(row.shardId) !== undefined).map((row) => row.setKey);
  const tables = [...new Set(ops.map((row) => row.tableId))];
  const names = [...new Set(made)].map((setKey): LockName => ({ name: placeLock(setKey), mode: 'S' }));
  // Nobody uses the new shards before they are published everywhere.
  names.push(...tables.map(ddlOnTable));
  try {
    await deps.locks.acquire(txn.gid, names);
    const view = deps.catalog.overlay(txn.catalogOps);
    for (const setKey of new Set(made)) {
      const missing = view.placement(setKey).contents.find((content) => !txn.participants.includes(content));
      if (missing !== undefined) throw moved(setKey, missing);
    }
  } catch (error) {
    await giveUp(deps, txn);
    throw error;
  }
}

function moved(setKey: string, content: number): SqlError {
  return new SqlError('40001', `set ${setKey} has moved to segment ${content} since its shard was made`, {
    hint: 'Run the transaction again.',
  });
}

/** Contents that have something to commit. Throws, with everything aborted, when a vote is missing. */
async function prepareAll(deps: CommitDeps, txn: ClusterTransaction, segments: number[], locks: LockName[]): Promise<number[]> {
  const participants = [...txn.participants];
  const votes = await Promise.allSettled(
    segments.map((content) =>
      (txn.connections.get(content) as Connection).call('prepare', { gid: txn.gid, participants, locks }),
    ),
  );
  const failed = votes.find((vote) => vote.status === 'rejected');
  if (failed !== undefined) {
    await giveUp(deps, txn);
    const reason: unknown = failed.reason;
    if (!isConnectionLost(reason)) throw reason;
    throw new SqlError('40001', 'a segment was lost before the transaction was prepared everywhere', {
      hint: 'Nothing of it took effect. Run it again.',
      cause: reason,
    });
  }
  return segments.filter((_, i) => {
    const vote = votes[i];
    return vote?.status === 'fulfilled' && !vote.value.readOnly;
  });
}

async function decide(
  deps: CommitDeps,
  txn: ClusterTransaction,
  voters: number[],
  locks: LockName[],
  ops: CatalogOp[],
): Promise<void> {
  deps.outstanding.deciding(txn.gid);
  try {
    // The second phase goes to all in the turn in which the decision is safe: the order of sending is the order in which readers see it.
    await deps.engine.decide(txn.gid, voters, locks, ops, () => {
      txn.to('DECIDED');
      deps.outstanding.decided(txn.gid, voters);
    });
  } catch (error) {
    if (txn.state === 'PREPARING' && error instanceof SqlError && !OPEN_CODES.has(error.sqlstate)) {
      deps.outstanding.undecided(txn.gid);
      await giveUp(deps, txn);
      throw error;
    }
    // The record may be in the log: after its restart this coordinator says which it is. Locks stay with the prepared.
    deps.logger.error({ gid: txn.gid, err: error }, 'the decision was not confirmed');
    if (txn.state === 'DECIDED') return;
    txn.to('UNKNOWN');
    throw outcomeUnknown(txn.gid, error);
  }
}

async function giveUp(deps: CommitDeps, txn: ClusterTransaction): Promise<void> {
  txn.to('ABORTED');
  await abortTransaction(deps, txn);
}

/** What a prepared transaction has to go on holding after a crash. */
function writeLocks(deps: CommitDeps, txn: ClusterTransaction): LockName[] {
  return deps.locks.heldBy(txn.gid);
}

function outcomeUnknown(gid: Gid, cause: unknown): SqlError {
  return new SqlError('08007', `it is not known whether transaction ${gid} was committed`, {
    hint: 'Do not simply run it again: look at the data first, when the segment is back.',
    cause,
  });
}
