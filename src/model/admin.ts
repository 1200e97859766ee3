/**
 * Calls of the command line to the coordinator's daemon (RPC on the socket of its data directory). Only one operation that changes the cluster runs
 * at a time; a second one gets DamsonError `another operation is running: <name>`. Streamed replies carry AdminProgress parts; the result ends them.
 */
import type { Expansion, QueueEntry } from './catalog.js';
import type { HistoryEntry, Instance, Pair } from './topology.js';

/** What a new cluster is: written by the command line as `cluster.json` into the coordinator's data directory before its first start. */
export interface ClusterDefinition {
  clusterId: string;
  /** Name of the administrator's role and of the one database; default postgres. */
  admin?: string;
  database?: string;
  /** A demo cluster trusts connections from this host. */
  demo?: boolean;
  instances: Instance[];
  /** Name → value, as `damson config set` would. */
  settings: Record<string, string>;
}
export const CLUSTER_FILE = 'cluster.json';

/** A part of a streamed reply. */
export interface AdminProgress {
  /** One line for people. */
  message: string;
  /** Bytes of the work that `task` names, where it is known. */
  task?: string;
  bytesDone?: number;
  bytes?: number;
  /** `done` and `failed` close a task. */
  state?: 'started' | 'running' | 'done' | 'failed';
}

export interface InstanceStatus extends Instance {
  /** null: it did not answer. */
  pid: number | null;
  version: string | null;
  timeline: number | null;
  /** Log positions in bytes. */
  end: number | null;
  safe: number | null;
  applied: number | null;
  /** Primaries: what the mirror has on its disk. */
  mirrorDurable: number | null;
  rssBytes: number | null;
  /** Shards placed here (primaries). */
  shards: number;
  /** Why it did not answer. */
  error: string | null;
}

export interface TableProgress extends QueueEntry {
  schema: string;
  name: string;
  /** Bytes of its shards that have moved, of those that have to. */
  bytesDone: number;
  bytesToMove: number;
  movesDone: number;
  moves: number;
}

export interface ExpansionReport {
  expansion: Expansion | null;
  tables: TableProgress[];
  running: boolean;
  tablesDone: number;
  tablesLeft: number;
  tablesInProgress: number;
  bytesDone: number;
  bytesLeft: number;
  /** Bytes each second over this expansion's runs; null before anything has moved. */
  rate: number | null;
  /** ISO time; null where there is no rate yet or nothing left. */
  estimatedEnd: string | null;
}

export interface ClusterStatus {
  clusterId: string;
  version: string;
  coordinator: {
    pid: number;
    timeline: number;
    incarnation: number;
    startedAt: string;
    sessions: number;
    /** Age of the oldest open reading, milliseconds. */
    oldestSnapshotMs: number | null;
    /** Transactions decided and not yet acknowledged by all, or in doubt. */
    outstanding: { gid: string; participants: number[] }[];
    rssBytes: number;
    front: string;
  };
  instances: InstanceStatus[];
  pairs: Pair[];
  history: HistoryEntry[];
  expansion: ExpansionReport;
  /** Name of the admin operation that runs; null without. */
  operation: string | null;
  settings: Record<string, string>;
}

export interface ExpandRunOptions {
  /** Moves at once; default 1. */
  parallel?: number;
  durationMs?: number;
  /** ISO time. The earlier of duration and end wins. */
  end?: string;
  /** Bytes each second over all moves. */
  rate?: number;
}

export interface RecoverOptions {
  /** Default: every instance that is down. */
  dbids?: number[];
  /** Make the stores of the instance anew, whatever it still has. */
  full?: boolean;
}

export interface ReplicaDifference {
  content: number;
  shardId: number;
  primary: { rows: number; checksum: string } | null;
  mirror: { rows: number; checksum: string } | null;
}

export interface ReplicaCheck {
  /** Contents whose two members were compared. */
  compared: number[];
  /** Contents left out, and why. */
  skipped: { content: number; reason: string }[];
  shards: number;
  rows: number;
  differences: ReplicaDifference[];
}

export interface AdminMethods {
  'admin.status': { in: { quick?: boolean }; out: ClusterStatus };
  /** Ends sessions by mode, stops the coordinator; segments are stopped by the command line afterwards (SegmentMethods.stop). */
  'admin.stop': { in: { mode: 'smart' | 'fast' | 'immediate' }; out: Record<string, never> };
  /** Daemons already run. Streamed. Registers them, copies reference tables, fills the queue. Run again with the same instances it goes on. */
  'admin.expandAdd': { in: { instances: Instance[] }; out: ExpansionReport };
  /** Streamed; ends when all is moved, stopped, or time is up. */
  'admin.expandRun': { in: ExpandRunOptions; out: { report: ExpansionReport; reason: 'done' | 'stopped' | 'time' | 'failed' } };
  'admin.expandStop': { in: Record<string, never>; out: { wasRunning: boolean } };
  /** `table` as written (`public.t` or `t`), or all tables by size, smallest first. By use: refused, it is not counted. */
  'admin.expandRank': {
    in: { table: string; rank: number } | { by: 'size' | 'use' };
    out: { changed: { table: string; rank: number }[] };
  };
  'admin.expandStatus': { in: Record<string, never>; out: ExpansionReport };
  'admin.expandFinish': { in: Record<string, never>; out: Record<string, never> };
  /** The instances that are no longer part of the cluster: the command line stops them and removes their directories. */
  'admin.expandRollback': { in: Record<string, never>; out: { removed: Instance[] } };
  /** Streamed. Daemons of the down instances already run. */
  'admin.recover': { in: RecoverOptions; out: { recovered: number[]; failed: { dbid: number; error: string }[] } };
  /** Streamed. Planned switches until each instance has its preferred role. */
  'admin.rebalanceRoles': {
    in: Record<string, never>;
    out: { switched: number[]; skipped: { content: number; reason: string }[] };
  };
  'admin.failover': { in: { content: number }; out: { content: number; primaryDbid: number } };
  'admin.checkReplicas': { in: Record<string, never>; out: ReplicaCheck };
  /** Settings that can change while it runs are read again from cluster settings and host rules. */
  'admin.reload': { in: Record<string, never>; out: { changed: string[] } };
}
