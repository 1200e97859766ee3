import type { Lsn } from '../../model/log.js';
import type { ReplicationMethods } from '../../model/task.js';
import type { RpcClient } from '../../rpc/types.js';
import { forkOf } from '../changelog/history.js';
import type { ChangeLog } from '../changelog/types.js';
import { callPeer } from './types.js';

type MirrorHello = ReplicationMethods['replHello']['out'];

/** Where a mirror goes on from, or why it cannot by log. */
export type Position = { from: Lsn } | { full: string };

export interface PairIdentity {
  /** Of the primary. */
  dbid: number;
  content: number;
}

/**
 * Brings the mirror's log to a position that both logs have in common (protocols, section 7): what it has beyond the fork,
 * never safe, is cut. The mirror cannot go on by log where its history, its records or its stores differ before the fork,
 * or where the primary's log begins behind it.
 */
export async function negotiate(client: RpcClient, log: ChangeLog, identity: PairIdentity): Promise<Position> {
  let mirror = await hello(client, log, identity);
  if (mirror.incomplete) return { full: 'a full recovery of the mirror was not finished' };
  const fork = forkOf(log.history, log.written, mirror.history, mirror.end);
  if (fork === undefined) return { full: 'the mirror has no timeline in common with its primary' };
  if (fork < log.start) return { full: `the primary's log begins at ${log.start}, behind the mirror's ${fork}` };
  const covered = Math.max(fork, Math.min(mirror.imported, log.written));
  if (mirror.applied > covered) {
    return { full: `the mirror has applied up to ${mirror.applied}, but the logs agree only up to ${fork}` };
  }
  if (mirror.end > fork) {
    await callPeer(client, 'replCut', { timeline: log.timeline, end: fork });
    mirror = await hello(client, log, identity);
  }
  const crc = await log.crcBefore(fork).catch(() => undefined);
  if (mirror.end !== fork || mirror.lastCrc !== crc) return { full: `the logs differ before ${fork}` };
  return { from: fork };
}

export function hello(client: RpcClient, log: ChangeLog, identity: PairIdentity): Promise<MirrorHello> {
  const { timeline, history, written, safe } = log;
  return callPeer(client, 'replHello', { ...identity, timeline, history, end: written, safe });
}
