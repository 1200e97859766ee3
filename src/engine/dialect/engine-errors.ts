/**
 * Errors that generated SQL raises on purpose. Their text carries the SQLSTATE through the engine: DuckDB has `error(text)`, SQLite
 * quotes a bad JSON path in its message. In a read they lead to the fallback; in a write they become the client's error.
 */
import { SqlError } from '../../core/errors.js';

const MESSAGES: Readonly<Record<string, string>> = {
  '22001': 'value too long for type',
  '22003': 'value out of range',
  '22012': 'division by zero',
  '22011': 'negative substring length not allowed',
  '0A000': 'a value that the engine cannot compute exactly',
};

function marked(sqlstate: string): string {
  return `damson:${sqlstate}:${MESSAGES[sqlstate] ?? ''}`;
}

export function duckdbError(sqlstate: string): string {
  return `error('${marked(sqlstate)}')`;
}

export function sqliteError(sqlstate: string): string {
  return `json_extract('{}','${marked(sqlstate)}')`;
}

const MARK = /damson:([0-9A-Z]{5}):([^']*)/;

/** The error that generated SQL raised, or what the engines themselves call an overflow; undefined for any other failure. */
export function engineError(message: string): SqlError | undefined {
  const match = MARK.exec(message);
  if (match !== null) return match[1] === '0A000' ? inexact() : new SqlError(match[1] as string, match[2] as string);
  // PostgreSQL's numeric has no such bounds.
  if (/Overflow in \w+ of (DECIMAL|INT128|TIMESTAMP|DATE|INTERVAL)/i.test(message)) return inexact();
  if (/integer overflow|Overflow in|out of range/i.test(message)) return new SqlError('22003', 'value out of range');
  return undefined;
}

function inexact(): SqlError {
  return new SqlError('0A000', MESSAGES['0A000'] ?? '', {
    hint: 'Select the keys and the new values first, then write them by key.',
  });
}
