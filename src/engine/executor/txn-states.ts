/** States of a transaction on one instance: a table of rows; a pair without a row is an error. */
import { internalError } from '../../core/errors.js';

export type TxnPhase =
  | 'ACTIVE'
  | 'FAILED'
  | 'FREEZING'
  | 'PREPARING'
  | 'PREPARED'
  | 'COMMITTING'
  | 'COMMITTED'
  | 'ABORTED'
  | 'LOST';
export type TxnEvent =
  | 'fail'
  | 'freeze'
  | 'nothing'
  | 'logPrepare'
  | 'vote'
  | 'logTxn'
  | 'logCommit'
  | 'publish'
  | 'undo'
  | 'abort'
  | 'loseRole';

interface Row {
  from: TxnPhase;
  event: TxnEvent;
  to: TxnPhase;
  why: string;
}

export const TXN_ROWS: readonly Row[] = [
  { from: 'ACTIVE', event: 'fail', to: 'FAILED', why: 'a statement failed half done: only abort is left' },
  { from: 'ACTIVE', event: 'freeze', to: 'FREEZING', why: 'no more writes: the net changes are being made' },
  { from: 'FREEZING', event: 'nothing', to: 'COMMITTED', why: 'it changed nothing here' },
  { from: 'FREEZING', event: 'logPrepare', to: 'PREPARING', why: 'PREPARE is appended, not yet safe' },
  { from: 'PREPARING', event: 'vote', to: 'PREPARED', why: 'PREPARE is safe: the vote is yes' },
  { from: 'FREEZING', event: 'logTxn', to: 'COMMITTING', why: 'TXN or DECISION is appended' },
  { from: 'PREPARED', event: 'logCommit', to: 'COMMITTING', why: 'COMMIT is appended' },
  { from: 'COMMITTING', event: 'publish', to: 'COMMITTED', why: 'safe, and in the stores' },
  { from: 'ACTIVE', event: 'abort', to: 'ABORTED', why: 'asked to, or its connection is gone' },
  { from: 'FAILED', event: 'abort', to: 'ABORTED', why: 'asked to, or its connection is gone' },
  { from: 'FREEZING', event: 'abort', to: 'ABORTED', why: 'nothing is appended yet' },
  { from: 'PREPARING', event: 'abort', to: 'ABORTED', why: 'no DECISION: ABORT is appended' },
  { from: 'PREPARED', event: 'abort', to: 'ABORTED', why: 'no DECISION: ABORT is appended' },
  { from: 'COMMITTING', event: 'abort', to: 'ABORTED', why: 'its TXN or DECISION was cut off again: the disk failed' },
  { from: 'COMMITTING', event: 'undo', to: 'PREPARED', why: 'its COMMIT was cut off again: the disk failed' },
  { from: 'ACTIVE', event: 'loseRole', to: 'LOST', why: 'this instance is primary no more' },
  { from: 'FAILED', event: 'loseRole', to: 'LOST', why: 'this instance is primary no more' },
  { from: 'FREEZING', event: 'loseRole', to: 'LOST', why: 'this instance is primary no more' },
  { from: 'PREPARING', event: 'loseRole', to: 'LOST', why: 'the log says what became of it' },
  { from: 'PREPARED', event: 'loseRole', to: 'LOST', why: 'the log says what became of it' },
  { from: 'COMMITTING', event: 'loseRole', to: 'LOST', why: 'the log says what became of it' },
];

const NEXT = new Map(TXN_ROWS.map((row) => [`${row.from}/${row.event}`, row]));

export function nextPhase(gid: string, from: TxnPhase, event: TxnEvent): TxnPhase {
  const row = NEXT.get(`${from}/${event}`);
  if (row === undefined) throw internalError(`transaction ${gid}: no way from ${from} by ${event}`);
  return row.to;
}
