import type { ScanToken } from 'libpg-query';
import { notSupported, SqlError } from '../../core/errors.js';
import { scanTokens } from './parser.js';

/** What a `DISTRIBUTED …` clause asks for. */
export type DistributionClause = { kind: 'hash'; column: string } | { kind: 'random' } | { kind: 'replicated' };

/** Our own words in a string of statements. `at` is an index into the string (UTF-16 units), which blanking keeps. */
export interface OwnClause {
  at: number;
  form: 'create' | 'alter';
  clause: DistributionClause;
}

/** What stands in place of `SET DISTRIBUTED …`, so that PostgreSQL's parser takes the statement. */
const ALTER_STAND_IN = 'SET WITHOUT CLUSTER';

/**
 * Finds `DISTRIBUTED BY (column) | RANDOMLY | REPLICATED` at the end of CREATE TABLE and after ALTER TABLE … SET, and
 * replaces it by blanks, so that every position in the text stays what it was.
 */
export function stripOwnClauses(sql: string): { sql: string; clauses: OwnClause[] } {
  if (!/\bdistributed\b/i.test(sql)) return { sql, clauses: [] };
  const bytes = Buffer.from(sql, 'utf8');
  const tokens = scanTokens(sql).filter((token) => token.tokenName !== 'SQL_COMMENT' && token.tokenName !== 'C_COMMENT');
  const clauses: OwnClause[] = [];
  let text = sql;
  for (const statement of statementsOf(tokens)) {
    const found = findClause(statement);
    if (found === undefined) continue;
    const from = charIndex(bytes, found.first.start);
    const to = charIndex(bytes, found.last.end);
    const standIn = found.form === 'alter' ? ALTER_STAND_IN : '';
    text = text.slice(0, from) + standIn.padEnd(to - from, ' ') + text.slice(to);
    clauses.push({ at: from, form: found.form, clause: found.clause });
  }
  return { sql: text, clauses };
}

/** Index into the string of a byte position in its UTF-8 form. */
export function charIndex(bytes: Buffer, byte: number): number {
  return bytes.toString('utf8', 0, byte).length;
}

function statementsOf(tokens: ScanToken[]): ScanToken[][] {
  const out: ScanToken[][] = [];
  let current: ScanToken[] = [];
  let depth = 0;
  for (const token of tokens) {
    if (token.text === '(') depth++;
    if (token.text === ')') depth--;
    if (token.text === ';' && depth <= 0) {
      out.push(current);
      current = [];
      depth = 0;
    } else current.push(token);
  }
  out.push(current);
  return out;
}

function is(token: ScanToken | undefined, word: string): boolean {
  return token?.text.toLowerCase() === word;
}

interface Found {
  first: ScanToken;
  last: ScanToken;
  form: 'create' | 'alter';
  clause: DistributionClause;
}

function findClause(tokens: ScanToken[]): Found | undefined {
  const create = is(tokens[0], 'create') && tokens.slice(1, 5).some((token) => is(token, 'table'));
  const alter = is(tokens[0], 'alter') && is(tokens[1], 'table');
  if (!create && !alter) return undefined;
  let depth = 0;
  for (let i = 1; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (token.text === '(') depth++;
    if (token.text === ')') depth--;
    if (depth !== 0 || !is(token, 'distributed') || token.tokenName !== 'IDENT') continue;
    if (alter && !is(tokens[i - 1], 'set')) continue;
    const parsed = parseClause(tokens, i);
    if (parsed === undefined) continue;
    if (parsed.end !== tokens.length) continue;
    const first = alter ? tokens[i - 1]! : token;
    return { first, last: tokens[parsed.end - 1]!, form: alter ? 'alter' : 'create', clause: parsed.clause };
  }
  return undefined;
}

function parseClause(tokens: ScanToken[], at: number): { clause: DistributionClause; end: number } | undefined {
  const next = tokens[at + 1];
  if (is(next, 'randomly')) return { clause: { kind: 'random' }, end: at + 2 };
  if (is(next, 'replicated')) return { clause: { kind: 'replicated' }, end: at + 2 };
  if (!is(next, 'by') || tokens[at + 2]?.text !== '(') return undefined;
  const close = tokens.findIndex((token, i) => i > at + 2 && token.text === ')');
  if (close < 0) return undefined;
  const inside = tokens.slice(at + 3, close);
  if (inside.length === 0) return undefined;
  if (inside.some((token) => token.text === ',')) {
    throw notSupported(
      'a distribution key of several columns is not supported',
      'Name one column in DISTRIBUTED BY: the one that joins and filters use most.',
    );
  }
  if (inside.length > 1) throw new SqlError('42601', `syntax error at or near "${inside[1]!.text}"`);
  return { clause: { kind: 'hash', column: identifierOf(inside[0]!) }, end: close + 1 };
}

function identifierOf(token: ScanToken): string {
  if (token.text.startsWith('"')) return token.text.slice(1, -1).replaceAll('""', '"');
  return token.text.toLowerCase();
}
