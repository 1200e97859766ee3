/** Errors of the stores as other members may see them. */
import { SqlError } from '../../core/errors.js';
import { engineError } from '../dialect/engine-errors.js';

/** Internal mark: the read failed in the engine; the statement is run again by the fallback. Never shown to clients. */
export const RUN_BY_FALLBACK = 'DM001';
/** Internal mark: the sender is older than what this instance has seen, or believes in another timeline. */
export const FENCED = 'DM002';
/** Internal mark: the log no longer reaches back to where a move stands; it starts over. */
export const PIN_LOST = 'DM003';

/**
 * Wraps whatever DuckDB or SQLite raised in a read. Errors that this process made on purpose pass through.
 * The engine's text goes into the detail, for logs.
 */
export function readError(error: unknown): SqlError {
  if (error instanceof SqlError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new SqlError(RUN_BY_FALLBACK, 'the fragment cannot be answered here', { detail: text.slice(0, 2000), cause: error });
}

/** The same for a write, which no fallback can run again: what generated SQL raised on purpose is the client's error. */
export function writeError(error: unknown): unknown {
  if (error instanceof SqlError && error.sqlstate !== RUN_BY_FALLBACK) return error;
  const text =
    error instanceof SqlError ? (error.fields.detail ?? error.message) : error instanceof Error ? error.message : String(error);
  return (
    engineError(text) ??
    outOfSpace(text) ??
    new SqlError('XX000', 'the statement failed in the store of its rows', { detail: text.slice(0, 2000), cause: error })
  );
}

/** What SQLite, DuckDB and the system say of a full disk, as the client's error; undefined for anything else. */
export function outOfSpace(text: string): SqlError | undefined {
  if (!/database or disk is full|no space left on device|ENOSPC|EDQUOT/i.test(text)) return undefined;
  return new SqlError('53100', 'the disk of a segment is full', { hint: 'Free space on the disk of its data directory.' });
}

/** What a fragment's shape does not allow here: answered by the fallback too. */
export function declined(why: string): SqlError {
  return new SqlError(RUN_BY_FALLBACK, 'the fragment cannot be answered here', { detail: why });
}

export function cancelled(): SqlError {
  return new SqlError('57014', 'canceling statement due to user request');
}

export function notServing(dbid: number, why: string): SqlError {
  return new SqlError('57P03', `instance ${dbid} does not serve: ${why}`, {
    hint: 'It serves after the coordinator has told it its role.',
  });
}
