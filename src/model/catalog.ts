/** Rows of the coordinator's catalog (`catalog.db`), which is fed from the coordinator's change log. */

import type { ColocationGroup, SetPlacement, Shard, TableDef } from './table.js';
import type { HistoryEntry, Instance, Pair } from './topology.js';

/** One entry of the DDL journal: what rebuilds the front. */
export interface DdlEntry {
  seq: number;
  /** SQL for the front, already without our own clauses. */
  sql: string;
  role: string;
  searchPath: string;
  /** Tables created by it, so that a rebuilt front can be matched to our table ids. */
  tableIds: number[];
}

export type MovePhase = 'PLANNED' | 'COPYING' | 'CATCHING_UP' | 'SWITCHED' | 'CLEANED' | 'FAILED';

export interface Move {
  moveId: string;
  setKey: string;
  /** null: a further copy of a reference set for a new node, nothing to drop. */
  source: number;
  target: number;
  dropSource: boolean;
  phase: MovePhase;
  bytes: number;
  bytesDone: number;
  startedAt: string | null;
  finishedAt: string | null;
  attempts: number;
  error: string | null;
}

export type ExpansionStatus = 'SETUP' | 'SETUP DONE' | 'EXPANSION STARTED' | 'EXPANSION STOPPED' | 'EXPANSION COMPLETE';
export interface Expansion {
  status: ExpansionStatus;
  updated: string;
  /** Contents that this expansion added. */
  contents: number[];
  /** Every status it has had, oldest first: rows of gpexpand.status. */
  log: { status: ExpansionStatus; updated: string }[];
}

export type QueueStatus = 'NOT STARTED' | 'IN PROGRESS' | 'COMPLETED' | 'NO LONGER EXISTS' | 'FAILED';
/** A row of `gpexpand.status_detail`. */
export interface QueueEntry {
  tableId: number;
  rank: number;
  status: QueueStatus;
  sourceBytes: number;
  started: string | null;
  finished: string | null;
  attempts: number;
  error: string | null;
}

export interface CatalogKinds {
  instance: Instance;
  history: HistoryEntry;
  pair: Pair;
  table: TableDef;
  colocation: ColocationGroup;
  shard: Shard;
  placement: SetPlacement;
  /** A content that counts as node: reference tables have a copy there, and new shards may go there. Key: the content. */
  node: { content: number };
  ddl: DdlEntry;
  move: Move;
  expansion: Expansion;
  queue: QueueEntry;
  setting: { name: string; value: string };
  /** Last value given by a sequence of the front, durable before the number is shown. Key: JSON of schema and name. */
  sequence: { schema: string; name: string; value: string };
  /** Counters: nextTableId, nextShardId, nextLocalShardId, nextColocationId, nextDbid, nextDdlSeq, nextMoveId, incarnation. */
  counter: { name: string; value: number };
  /** A decided two-phase transaction that some participant has not acknowledged. */
  decision: { gid: string; participants: number[] };
}

export type CatalogKind = keyof CatalogKinds;

/** One change of one row. `key` is unique within its kind (a number is written in decimal). */
export type CatalogOp = { [K in CatalogKind]: { kind: K; key: string; row: CatalogKinds[K] | null } }[CatalogKind];
