import { SqlError } from '../../core/errors.js';
import { RUN_BY_FALLBACK } from '../executor/errors.js';

/** A segment went while a statement ran on it and nothing of it was acknowledged: the client may run the transaction again. */
export function segmentLost(content: number, cause: unknown): SqlError {
  return new SqlError('40001', `the connection to segment ${content} was lost while the statement ran`, {
    hint: 'Run the transaction again; `damson state` shows the segments.',
    cause,
  });
}

export function isConnectionLost(error: unknown): boolean {
  return error instanceof Error && error.name === 'ConnectionLost';
}

/** The error that a signal was aborted with. */
export function cancelled(signal: AbortSignal): SqlError {
  return signal.reason instanceof SqlError ? signal.reason : new SqlError('57014', 'canceling statement due to user request');
}

/** A store could not answer a read as PostgreSQL would: the statement is run by the fallback, which can. */
export function wantsFallback(error: unknown): boolean {
  return error instanceof SqlError && error.sqlstate === RUN_BY_FALLBACK;
}
