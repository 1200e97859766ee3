import { join } from 'node:path';
import { readJson, writeFileAtomic } from '../../core/files.js';
import type { Lsn } from '../../model/log.js';
import type { TimelineHistory } from './types.js';

/** What a log directory remembers beside its records, in `history.json`. */
export interface LogState {
  history: TimelineHistory;
  /** Where the log began when it was made, or made anew, and the CRC of the record before that. */
  from: Lsn;
  crc: number;
  /** The log is being made anew: what lies in the directory is void. */
  resetting?: boolean;
}

export function readLogState(directory: string): LogState | undefined {
  return readJson<LogState>(join(directory, 'history.json'));
}

export function writeLogState(directory: string, state: LogState): void {
  writeFileAtomic(join(directory, 'history.json'), JSON.stringify(state));
}

/**
 * Where two histories part: the position up to which both logs are the same, if their records are; undefined where they
 * have no timeline in common. The end of a timeline is the start of the next, or the end of the log.
 */
export function forkOf(mine: TimelineHistory, myEnd: Lsn, theirs: TimelineHistory, theirEnd: Lsn): Lsn | undefined {
  let common = -1;
  for (let n = 0; n < Math.min(mine.length, theirs.length); n++) {
    if (mine[n]![0] !== theirs[n]![0] || mine[n]![1] !== theirs[n]![1]) break;
    common = n;
  }
  if (common < 0) return undefined;
  const endOf = (history: TimelineHistory, end: Lsn): Lsn => Math.min(history[common + 1]?.[1] ?? end, end);
  return Math.min(endOf(mine, myEnd), endOf(theirs, theirEnd));
}
