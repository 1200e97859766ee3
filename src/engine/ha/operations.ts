/** Administration of pairs: recovery, planned switches, and the comparison of replicas. */
import { DamsonError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { AdminProgress, RecoverOptions, ReplicaCheck, ReplicaDifference } from '../../model/admin.js';
import type { ShardChecksum } from '../../model/task.js';
import { COORDINATOR_CONTENT, type Instance, type Pair } from '../../model/topology.js';
import type { CatalogView } from '../catalog/types.js';
import type { InstanceEngine } from '../executor/types.js';
import type { ClusterLinks } from '../txn/links.js';
import type { ClusterTransactions } from '../txn/manager.js';
import { startCatchup, switchRoles } from './changes.js';
import type { FaultTolerance } from './fts.js';
import type { Members } from './members.js';

const SWITCH_WAIT_MS = 15_000;
const READY_WAIT_MS = 60_000;
const CHECKSUM_TIMEOUT_MS = 10 * 60_000;
const POLL_MS = 100;

export interface PairDeps {
  catalog: CatalogView;
  engine: Pick<InstanceEngine, 'state'>;
  links: ClusterLinks;
  transactions: ClusterTransactions;
  members: Members;
  fts: FaultTolerance;
  logger: Logger;
}

type Tell = (progress: AdminProgress) => void;

/** Brings down mirrors back: the primary sends what they lack, and they are in sync at the end. */
export async function recover(
  deps: PairDeps,
  options: RecoverOptions,
  tell: Tell,
  signal: AbortSignal,
): Promise<{ recovered: number[]; failed: { dbid: number; error: string }[] }> {
  const down = deps.catalog.instances().filter((instance) => instance.status === 'd' && instance.content !== COORDINATOR_CONTENT);
  const wanted = options.dbids === undefined ? down : options.dbids.map((dbid) => downInstance(deps.catalog, dbid));
  if (wanted.length === 0) throw new DamsonError('no instance is down: there is nothing to recover', { exitCode: 1 });
  const results = await Promise.allSettled(
    wanted.map((instance) => recoverOne(deps, instance, options.full === true, tell, signal)),
  );
  const recovered: number[] = [];
  const failed: { dbid: number; error: string }[] = [];
  results.forEach((result, i) => {
    const { dbid } = wanted[i] as Instance;
    if (result.status === 'fulfilled') recovered.push(dbid);
    else failed.push({ dbid, error: result.reason instanceof Error ? result.reason.message : String(result.reason) });
  });
  return { recovered, failed };
}

function downInstance(catalog: CatalogView, dbid: number): Instance {
  const instance = catalog.instance(dbid);
  if (instance === undefined) throw new DamsonError(`there is no instance ${dbid}`, { hint: '`damson state -s` lists all.' });
  if (instance.status === 'u') throw new DamsonError(`instance ${dbid} is not down`, { exitCode: 1 });
  return instance;
}

async function recoverOne(deps: PairDeps, instance: Instance, full: boolean, tell: Tell, signal: AbortSignal): Promise<void> {
  const { dbid, content } = instance;
  const { catalog, engine, fts, members } = deps;
  const pair = pairOf(catalog, content);
  const task = `dbid ${dbid}`;
  if (pair.primaryDbid === dbid) {
    throw new DamsonError(`instance ${dbid} is the only one that has all of segment ${content}`, {
      hint: 'Start its daemon: damson start.',
    });
  }
  if (pair.down) throw new DamsonError(`the primary of segment ${content} is not up`, { hint: 'Start it first: damson start.' });
  tell({
    message: `${full ? 'full' : 'incremental'} recovery of instance ${dbid}, mirror of segment ${content}`,
    task,
    state: 'started',
  });
  await fts.holding(content, async () => {
    await members.call(dbid, 'probe', {}, 10_000).catch((cause) => {
      throw new DamsonError(`the daemon of instance ${dbid} does not answer`, {
        hint: `Start it: its directory is ${instance.datadir}.`,
        cause,
      });
    });
    await engine.state(startCatchup(catalog, content, new Date()));
    // The mirror first, so that it takes what the primary sends.
    await members.order(dbid);
    await members.order(pair.primaryDbid, { full });
  });
  await untilInSync(deps, instance, task, tell, signal);
  tell({ message: `instance ${dbid} is in sync`, task, state: 'done' });
}

/** The fault tolerance service goes on from here: CATCHUP, JOINING, IN_SYNC. */
async function untilInSync(deps: PairDeps, instance: Instance, task: string, tell: Tell, signal: AbortSignal): Promise<void> {
  for (;;) {
    if (signal.aborted) throw signal.reason;
    const pair = pairOf(deps.catalog, instance.content);
    if (pair.state === 'IN_SYNC') return;
    if (pair.state === 'ALONE') {
      throw new DamsonError(`instance ${instance.dbid} was lost again while it was recovered`, {
        hint: `Look into ${instance.datadir}/log, then run damson recover again.`,
      });
    }
    const primary = deps.fts.lastProbe(pair.primaryDbid);
    if (primary?.mirror) {
      tell({
        message: `instance ${instance.dbid} catches up`,
        task,
        state: 'running',
        bytesDone: primary.mirror.durable,
        bytes: primary.end,
      });
    }
    await sleep(POLL_MS);
    await deps.fts.probeNow();
  }
}

/**
 * A planned switch of primary and mirror. New work on the content waits at the coordinator, what runs comes to its end, then the
 * mirror, which has all, takes over. Nothing fails; without a quiet moment within the limit nothing changes.
 */
export async function failover(deps: PairDeps, content: number): Promise<{ content: number; primaryDbid: number }> {
  const { catalog, engine, fts, links, members } = deps;
  const pair = catalog.pair(content);
  if (pair === undefined || content === COORDINATOR_CONTENT)
    throw new DamsonError(`there is no segment ${content}`, { hint: '`damson state -s` lists all.' });
  if (pair.mirrorDbid === null) throw new DamsonError(`segment ${content} has no mirror`);
  if (pair.state !== 'IN_SYNC' || pair.down)
    throw new DamsonError(`the mirror of segment ${content} is not in sync`, { hint: 'Run damson recover first.' });
  const oldPrimary = pair.primaryDbid;
  return fts.holding(content, async () => {
    links.pause(content);
    try {
      await quiet(deps, content);
      await engine.state(switchRoles(catalog, content, new Date()));
      const now = pairOf(catalog, content);
      await members.order(now.primaryDbid);
      await members.order(oldPrimary);
      await linked(links, content);
      deps.logger.info({ content, primary: now.primaryDbid }, 'planned switch is done');
      return { content, primaryDbid: now.primaryDbid };
    } finally {
      links.resume(content);
    }
  });
}

/** As `failover`, and waits until the former primary has caught up as mirror: then the segment can be switched again. */
export async function failoverAndJoin(
  deps: PairDeps,
  content: number,
  signal: AbortSignal,
): Promise<{ content: number; primaryDbid: number }> {
  const former = deps.catalog.primaryOf(content);
  const result = await failover(deps, content);
  if (former !== undefined) await untilInSync(deps, former, `segment ${content}`, () => undefined, signal);
  return result;
}

/** Nobody has written at the content without having ended, no call is open, no second phase is outstanding. */
async function quiet(deps: PairDeps, content: number): Promise<void> {
  const deadline = performance.now() + SWITCH_WAIT_MS;
  for (;;) {
    const writers = deps.transactions.writersOf(content);
    const outstanding = deps.transactions.outstanding().filter((one) => one.participants.includes(content));
    const connection = deps.links.evenPaused(content);
    if (writers.length === 0 && outstanding.length === 0 && (connection === null || connection.pendingCalls === 0)) return;
    if (performance.now() > deadline) {
      throw new DamsonError(
        `segment ${content} did not come to rest within ${SWITCH_WAIT_MS / 1000} s: ${writers.length} transactions are open on it`,
        {
          hint: 'Nothing was changed. Try again when they have ended.',
        },
      );
    }
    await sleep(10);
  }
}

async function linked(links: ClusterLinks, content: number): Promise<void> {
  const deadline = performance.now() + READY_WAIT_MS;
  while (links.evenPaused(content) === null) {
    if (performance.now() > deadline)
      throw new DamsonError(`the new primary of segment ${content} does not answer`, { hint: '`damson state -e` shows why.' });
    await sleep(10);
  }
}

/** Switches every pair whose instances have changed roles, one after the other, and waits until each has caught up with its new primary. */
export async function rebalanceRoles(
  deps: PairDeps,
  tell: Tell,
  signal: AbortSignal,
): Promise<{ switched: number[]; skipped: { content: number; reason: string }[] }> {
  const switched: number[] = [];
  const skipped: { content: number; reason: string }[] = [];
  for (const pair of deps.catalog.rowsOf('pair').sort((a, b) => a.content - b.content)) {
    const primary = deps.catalog.instance(pair.primaryDbid);
    if (pair.content === COORDINATOR_CONTENT || primary === undefined || primary.preferred_role === 'p') continue;
    const task = `segment ${pair.content}`;
    tell({ message: `switching segment ${pair.content}`, task, state: 'started' });
    try {
      await failover(deps, pair.content);
      switched.push(pair.content);
      await untilInSync(deps, primary, task, tell, signal);
      tell({ message: `segment ${pair.content} has its preferred roles and is in sync`, task, state: 'done' });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      skipped.push({ content: pair.content, reason });
      tell({ message: reason, task, state: 'failed' });
    }
  }
  return { switched, skipped };
}

/** Count and checksum of each shard on both members, at one position of their log. */
export async function checkReplicas(deps: PairDeps, tell: Tell): Promise<ReplicaCheck> {
  const check: ReplicaCheck = { compared: [], skipped: [], shards: 0, rows: 0, differences: [] };
  for (const pair of deps.catalog.rowsOf('pair').sort((a, b) => a.content - b.content)) {
    if (pair.content === COORDINATOR_CONTENT) continue;
    if (pair.mirrorDbid === null || pair.state !== 'IN_SYNC' || pair.down) {
      check.skipped.push({
        content: pair.content,
        reason: pair.mirrorDbid === null ? 'it has no mirror' : 'its mirror is not in sync',
      });
      continue;
    }
    tell({ message: `comparing the members of segment ${pair.content}`, task: `segment ${pair.content}`, state: 'started' });
    const [primary, mirror] = await checksumsOfPair(deps, pair, pair.mirrorDbid);
    check.compared.push(pair.content);
    check.shards += primary.length;
    check.rows += primary.reduce((total, shard) => total + shard.rows, 0);
    check.differences.push(...differencesOf(pair.content, primary, mirror));
    tell({ message: `segment ${pair.content} is compared`, task: `segment ${pair.content}`, state: 'done' });
  }
  return check;
}

async function checksumsOfPair(deps: PairDeps, pair: Pair, mirrorDbid: number): Promise<[ShardChecksum[], ShardChecksum[]]> {
  const barrier = `check-${pair.content}-${Date.now()}`;
  await deps.members.call(pair.primaryDbid, 'barrier', { id: barrier }, CHECKSUM_TIMEOUT_MS);
  const [primary, mirror] = await Promise.all([
    deps.members.call(pair.primaryDbid, 'checksums', { barrier }, CHECKSUM_TIMEOUT_MS),
    deps.members.call(mirrorDbid, 'checksums', { barrier }, CHECKSUM_TIMEOUT_MS),
  ]);
  return [primary.shards, mirror.shards];
}

export function differencesOf(content: number, primary: ShardChecksum[], mirror: ShardChecksum[]): ReplicaDifference[] {
  const [ours, theirs] = [byShard(primary), byShard(mirror)];
  const side = (shard: ShardChecksum | undefined) =>
    shard === undefined ? null : { rows: shard.rows, checksum: shard.checksum };
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .sort((a, b) => a - b)
    .filter((id) => ours.get(id)?.rows !== theirs.get(id)?.rows || ours.get(id)?.checksum !== theirs.get(id)?.checksum)
    .map((shardId) => ({ content, shardId, primary: side(ours.get(shardId)), mirror: side(theirs.get(shardId)) }));
}

function byShard(shards: ShardChecksum[]): Map<number, ShardChecksum> {
  return new Map(shards.map((shard) => [shard.shardId, shard]));
}

function pairOf(catalog: CatalogView, content: number): Pair {
  const pair = catalog.pair(content);
  if (pair === undefined) throw new DamsonError(`there is no segment ${content}`);
  return pair;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
