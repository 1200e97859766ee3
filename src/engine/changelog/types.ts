import type { LogBody, LogRecord, Lsn } from '../../model/log.js';
import type { PairState } from '../../model/topology.js';

/** [timeline, lsn at which it starts], oldest first. */
export type TimelineHistory = [timeline: number, start: Lsn][];

/**
 * The change log of one instance: its only point of durability (protocols, section 1).
 * Appending is ordered by call; a worker thread writes and fdatasyncs, groups what waits, and reports.
 */
export interface ChangeLog {
  readonly timeline: number;
  readonly history: TimelineHistory;
  /** Position after the last appended byte. */
  readonly end: Lsn;
  /** Everything before it was written, though perhaps not synced: it may go to the mirror. */
  readonly written: Lsn;
  /** Everything before it is on this disk. */
  readonly durable: Lsn;
  /** Durable on every in-sync member: may be applied, shown, acknowledged. Never goes back. */
  readonly safe: Lsn;
  /** Oldest lsn that can still be read. */
  readonly start: Lsn;

  /**
   * Encodes and appends one record in order. Throws SqlError 53100 below the reserve; nothing was written then. Where the write
   * fails later, `waitDurable` and `waitSafe` reject and the position is given again: wait in the turn of the append.
   */
  append(body: LogBody): { lsn: Lsn; end: Lsn };
  /** Throws SqlError 53100 where `append` would refuse new rows now: called before they are taken in. `batchBytes`: of
   *  batch files whose rows the stores would have to take as well. */
  refuseFull(batchBytes?: number): void;
  /** Appends whole records received from the primary, byte for byte, at exactly `lsn` (= this.end). */
  appendRaw(lsn: Lsn, bytes: Buffer): void;
  waitDurable(end: Lsn): Promise<void>;
  /** Rejects with SqlError when the log is closed or this instance loses its role before. */
  waitSafe(end: Lsn): Promise<void>;

  /** Primary: how to compute safe. IN_SYNC and JOINING wait for the mirror. */
  setPairState(state: PairState): void;
  /** The instance is a mirror from now on: who waits for safe is rejected, and only `raiseSafe` raises it. */
  becomeMirror(): void;
  /** Primary: the mirror's durable end, from the sender. */
  mirrorDurable(end: Lsn): void;
  /** Mirror: the primary's word; at most `durable` counts. Restart: highest applied of the stores. */
  raiseSafe(lsn: Lsn): void;

  /** Records from `from` (a record's lsn) up to `upTo` (default: end at call time). */
  read(from: Lsn, upTo?: Lsn): AsyncIterable<LogRecord>;
  /** Raw bytes from `from` (a record's lsn), whole records that are written, at most `limit` bytes unless one record is longer; empty at the end. */
  readRaw(from: Lsn, limit: number): Promise<{ bytes: Buffer; end: Lsn }>;
  /** CRC of the record that ends at `end` (0 at the start of the log): to compare two logs at a fork. */
  crcBefore(end: Lsn): Promise<number>;
  /** Number of syncs since the log was opened: many records share one. */
  readonly syncs: number;
  /** Calls after each append (with the new end) and each time written, durable or safe rises. */
  onProgress(listener: () => void): () => void;

  /** Cuts what was never safe. */
  truncateTail(end: Lsn): Promise<void>;
  /** Promotion: a new timeline starts at `end`; durable before it resolves. */
  startTimeline(timeline: number): Promise<void>;
  /** Mirror: takes over its primary's history, durably. Nothing that differs from it may be left in the log. */
  adoptHistory(history: TimelineHistory): void;
  /** Full recovery of a mirror: an empty log that starts at `from`. `crc`: of the primary's record before. */
  reset(history: TimelineHistory, from: Lsn, crc?: number): Promise<void>;
  /** Bytes of the batch files that the records name which were appended, or found, since the log was opened. */
  readonly batchBytes: number;
  /**
   * Position from which on the log is at most `logBytes` long and its batch files at most `batchBytes`, in whole files; the end where the
   * file that is written to is longer already.
   */
  newest(logBytes: number, batchBytes: number): Lsn;
  /** Drops whole log files below `lsn`; pins hold it back. */
  recycle(below: Lsn): Promise<void>;
  pin(name: string, lsn: Lsn): void;
  unpin(name: string): void;

  /** Path of a batch file that records refer to. */
  batchPath(name: string): string;
  /** fdatasync of a batch file and its directory, on the log's own thread. */
  syncBatch(name: string): Promise<void>;
  removeBatch(name: string): void;
  /** Writes, syncs, reads back a small file on the log's disk: the probe's disk check. Milliseconds. */
  checkDisk(): Promise<number>;
  close(): Promise<void>;
}
