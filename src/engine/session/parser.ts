import { loadModule, SqlError as ParserError, parseSync, type RawStmt, type ScanToken, scanSync } from 'libpg-query';
import { SqlError } from '../../core/errors.js';

/**
 * PostgreSQL's own raw parser (libpg-query, WebAssembly): the one place that uses it. It tells what kind of statement a text is and
 * where statements end; names and types are resolved by the front.
 */

/** A node of the raw parse tree: one property, whose name is the node's tag. */
export type RawNode = Record<string, unknown>;

let loaded: Promise<void> | undefined;

/** Must have resolved before anything here is called. */
export function loadParser(): Promise<void> {
  loaded ??= loadModule();
  return loaded;
}

/** Raw statements of a string. Throws SqlError 42601 with the position in characters from 1. */
export function parseRaw(sql: string): RawStmt[] {
  if (sql.includes('\0')) throw new SqlError('22021', 'invalid byte sequence for encoding "UTF8": 0x00');
  if (sql.trim() === '') return [];
  try {
    return parseSync(sql).stmts ?? [];
  } catch (error) {
    throw parseError(error);
  }
}

/** Tokens with positions in bytes of the UTF-8 text. */
export function scanTokens(sql: string): ScanToken[] {
  if (sql === '') return [];
  try {
    return scanSync(sql).tokens;
  } catch (error) {
    throw parseError(error);
  }
}

function parseError(error: unknown): SqlError {
  if (error instanceof ParserError) {
    const at = error.sqlDetails?.cursorPosition;
    const sqlstate = error.message.includes('stack depth') ? '54001' : '42601';
    return new SqlError(sqlstate, error.message, at === undefined ? {} : { position: at + 1 });
  }
  if (error instanceof RangeError)
    return new SqlError('54001', 'stack depth limit exceeded', {
      hint: 'The statement nests too deeply; write it in smaller parts.',
    });
  return new SqlError('42601', error instanceof Error ? error.message : String(error));
}
