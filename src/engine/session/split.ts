import { SqlError } from '../../core/errors.js';
import { charIndex, type DistributionClause, type OwnClause, stripOwnClauses } from './clauses.js';
import { withTodaysNames } from './older-names.js';
import { parseRaw, type RawNode } from './parser.js';

/** One statement of a string that a client sent. */
export interface RawStatement {
  /** The statement's text, our own clauses blanked. Positions in it plus `offset` are positions in the client's string. */
  sql: string;
  /** Characters before it in the client's string. */
  offset: number;
  /** Tag of the raw parse tree's node (`SelectStmt`, …), and the node. */
  tag: string;
  node: RawNode;
  distribution: { form: 'create' | 'alter'; clause: DistributionClause } | null;
}

/** Statements longer than this do not go to the front (design: a statement's size is capped). */
export const MAX_STATEMENT = 1024 * 1024;
/** INSERT … VALUES has its own way; what one message may hold bounds it. */
export const MAX_INSERT = 64 * 1024 * 1024;

/**
 * Splits a string into statements, as PostgreSQL does: a syntax error anywhere in it and nothing runs.
 * Throws SqlError with PostgreSQL's text and position, or 54000 for a statement that is too long.
 */
export function splitStatements(text: string): RawStatement[] {
  if (text.length > MAX_INSERT) throw tooLong();
  const { sql, clauses } = stripOwnClauses(text);
  const raws = parseRaw(sql);
  const ascii = isAscii(sql);
  const bytes = ascii ? undefined : Buffer.from(sql, 'utf8');
  return raws.map((raw) => {
    const from = raw.stmt_location ?? 0;
    const length = raw.stmt_len ?? 0;
    const start = bytes === undefined ? from : charIndex(bytes, from);
    const rest = bytes === undefined ? sql.length : bytes.length;
    const endByte = length === 0 ? rest : from + length;
    const end = bytes === undefined ? endByte : charIndex(bytes, endByte);
    const node = raw.stmt as unknown as RawNode;
    const tag = Object.keys(node)[0] ?? '';
    const statement = sql.slice(start, end);
    if (statement.length > MAX_STATEMENT && tag !== 'InsertStmt') throw tooLong();
    return {
      sql: withTodaysNames(statement, tag, node[tag] as RawNode),
      offset: codePoints(sql, start),
      tag,
      node: node[tag] as RawNode,
      distribution: clauseWithin(clauses, start, end),
    };
  });
}

function clauseWithin(clauses: OwnClause[], start: number, end: number): RawStatement['distribution'] {
  const own = clauses.find((clause) => clause.at >= start && clause.at <= end);
  return own === undefined ? null : { form: own.form, clause: own.clause };
}

function tooLong(): SqlError {
  return new SqlError('54000', 'statement is too long', {
    detail: `A statement may have ${MAX_STATEMENT} characters, INSERT … VALUES ${MAX_INSERT}.`,
    hint: 'Use COPY for bulk data, and parameters for long values.',
  });
}

function isAscii(text: string): boolean {
  return Buffer.byteLength(text, 'utf8') === text.length;
}

/** Positions of errors count characters, where JavaScript counts UTF-16 units. */
function codePoints(text: string, units: number): number {
  let count = 0;
  for (let i = 0; i < units; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0xdc00 || unit > 0xdfff) count++;
  }
  return count;
}

/** The error with its position moved by what stands before the statement in the client's string. */
export function shiftPosition(error: unknown, offset: number): unknown {
  if (!(error instanceof SqlError) || offset === 0 || error.fields.position === undefined) return error;
  const { position, ...fields } = error.fields;
  const shifted = new SqlError(error.sqlstate, error.message, { ...fields, position: position + offset, fatal: error.fatal });
  if (error.stack !== undefined) shifted.stack = error.stack;
  return shifted;
}
