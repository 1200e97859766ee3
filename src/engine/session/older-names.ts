/** Columns of PostgreSQL's catalogs that older clients know by another name than the front's PostgreSQL has for them. */
import { type RawNode, scanTokens } from './parser.js';

/** Old name → name now. psql 15 and 16 ask for these in \l and \dO; PostgreSQL 17 renamed them. */
const RENAMED: Readonly<Record<string, string>> = { daticulocale: 'datlocale', colliculocale: 'colllocale' };

const MENTIONED = new RegExp(`\\b(?:${Object.keys(RENAMED).join('|')})\\b`, 'i');

/**
 * The text of a query over catalogs alone, with today's names of their columns. The text keeps its length (new names are shorter and
 * are filled up with blanks), so that positions of errors stay right. Any other statement comes back as it is.
 */
export function withTodaysNames(sql: string, tag: string, node: RawNode): string {
  if (tag !== 'SelectStmt' || !MENTIONED.test(sql) || !readsCatalogsOnly(node)) return sql;
  const bytes = Buffer.from(sql, 'utf8');
  for (const { start, end, tokenName } of scanTokens(sql)) {
    if (tokenName !== 'IDENT') continue;
    const now = RENAMED[bytes.toString('utf8', start, end).toLowerCase()];
    if (now !== undefined) bytes.write(now.padEnd(end - start), start);
  }
  return bytes.toString('utf8');
}

/** Whether every relation that the raw tree names is PostgreSQL's own. */
function readsCatalogsOnly(node: RawNode): boolean {
  const pending: unknown[] = [node];
  while (pending.length > 0) {
    const next = pending.pop();
    if (typeof next !== 'object' || next === null) continue;
    const { RangeVar } = next as { RangeVar?: { schemaname?: string; relname?: string } };
    if (RangeVar !== undefined && !isCatalog(RangeVar)) return false;
    pending.push(...Object.values(next));
  }
  return true;
}

function isCatalog({ schemaname, relname }: { schemaname?: string; relname?: string }): boolean {
  return schemaname === 'pg_catalog' || (schemaname === undefined && (relname ?? '').startsWith('pg_'));
}
