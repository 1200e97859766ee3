/** Instances, segments and the state of their pairs: pure data, shared by daemons and the command line. */

export type Role = 'p' | 'm';
export type SyncMode = 's' | 'n';
export type Status = 'u' | 'd';

/** Content id of the coordinator. */
export const COORDINATOR_CONTENT = -1;

/** A row of `gp_segment_configuration`. */
export interface Instance {
  dbid: number;
  content: number;
  role: Role;
  preferred_role: Role;
  mode: SyncMode;
  status: Status;
  hostname: string;
  address: string;
  port: number;
  datadir: string;
}

/** State of a content's pair, decided by the coordinator (protocols, section 7). */
export type PairState = 'IN_SYNC' | 'ALONE' | 'CATCHUP' | 'JOINING';

/** What the coordinator has decided about one content; the catalog's row of kind `pair`. */
export interface Pair {
  content: number;
  /** Raised at each promotion. */
  timeline: number;
  state: PairState;
  primaryDbid: number;
  mirrorDbid: number | null;
  /** Both are gone: queries on it answer 57P03. */
  down: boolean;
}

export interface HistoryEntry {
  /** ISO time. */
  time: string;
  dbid: number;
  desc: string;
}

/** Identity of an instance, written once into its data directory as `instance.json`. */
export interface InstanceIdentity {
  clusterId: string;
  dbid: number;
  content: number;
  hostname: string;
  address: string;
  port: number;
  /** Damson's version that created it. */
  version: string;
  /** Where the coordinator listened when it was created: for the hint to clients that come to a segment. */
  coordinator?: { address: string; port: number };
}

/** Unix socket of an instance's daemon: for members and the administrator on the same host. */
export interface Endpoint {
  hostname: string;
  address: string;
  port: number;
  datadir: string;
}
