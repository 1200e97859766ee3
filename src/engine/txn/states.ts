import { internalError } from '../../core/errors.js';
import type { TxnState } from './types.js';

/** The ways of a transaction on the coordinator (protocols, section 5). */
export const TXN_STATE_ROWS: readonly { from: TxnState; to: TxnState; why: string }[] = [
  { from: 'ACTIVE', to: 'COMMITTED', why: 'it wrote nothing' },
  { from: 'ACTIVE', to: 'ABORTED', why: 'asked to, or a statement could not go on' },
  { from: 'ACTIVE', to: 'COMMITTING', why: 'one segment wrote, nothing on the coordinator: one phase' },
  { from: 'ACTIVE', to: 'PREPARING', why: 'several wrote, or the coordinator did' },
  { from: 'COMMITTING', to: 'COMMITTED', why: 'the segment says that it is in its log, safe' },
  { from: 'COMMITTING', to: 'ABORTED', why: 'the segment says that it is not' },
  { from: 'COMMITTING', to: 'UNKNOWN', why: 'nobody could be asked within the limit' },
  { from: 'PREPARING', to: 'ABORTED', why: 'a vote is missing, or DECISION could not be written' },
  { from: 'PREPARING', to: 'DECIDED', why: 'DECISION is safe' },
  { from: 'PREPARING', to: 'COMMITTED', why: 'nobody had changed anything' },
  { from: 'PREPARING', to: 'UNKNOWN', why: 'DECISION was appended and this process is ending' },
  { from: 'DECIDED', to: 'COMMITTED', why: 'the second phase was sent to all' },
];

export function nextTxnState(gid: string, from: TxnState, to: TxnState): TxnState {
  if (!TXN_STATE_ROWS.some((row) => row.from === from && row.to === to)) {
    throw internalError(`transaction ${gid}: no way from ${from} to ${to}`);
  }
  return to;
}
