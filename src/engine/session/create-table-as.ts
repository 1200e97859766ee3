import { notSupported, SqlError } from '../../core/errors.js';
import { quoteIdent } from '../executor/sql-text.js';
import type { Kind } from './classify.js';
import { refuseKindsOfTable, registerNew } from './create-table.js';
import { frontRows, heldFront } from './front-ddl.js';
import type { Session } from './session.js';
import { type RawStatement, splitStatements } from './split.js';
import { UNBOUND } from './statement.js';

/** CREATE TABLE … AS: the front makes the empty table, then its rows come by INSERT … SELECT of the same query, in one transaction. */
export async function createTableAs(session: Session, kind: Kind & { kind: 'createTableAs' }): Promise<string> {
  refuseKindsOfTable(kind.persistence, false);
  if (kind.query === null || /^\s*execute\b/i.test(kind.query)) {
    throw notSupported('CREATE TABLE … AS EXECUTE is not supported', 'Write the query itself.');
  }
  const name =
    kind.relation.schema === null
      ? quoteIdent(kind.relation.name)
      : `${quoteIdent(kind.relation.schema)}.${quoteIdent(kind.relation.name)}`;
  if (kind.ifNotExists) {
    const [row] = await frontRows(session, 'SELECT pg_catalog.to_regclass($1)', [name]);
    if (row?.[0] !== null && row !== undefined) {
      session.notice('NOTICE', new SqlError('42P07', `relation "${kind.relation.name}" already exists, skipping`));
      return 'CREATE TABLE AS';
    }
  }
  const ddl = await heldFront(session);
  const empty = `${kind.head} AS ${kind.query} WITH NO DATA`;
  await ddl.exec(empty);
  const table = await registerNew(session, ddl, kind, empty);
  if (!kind.withData) return 'CREATE TABLE AS';
  const insert = splitStatements(
    `INSERT INTO ${quoteIdent(table.schema)}.${quoteIdent(table.name)} ${kind.query}`,
  )[0] as RawStatement;
  const tag = await session.runQuery(insert, 'INSERT', UNBOUND, { describe: () => undefined, rows: () => undefined });
  return tag.replace(/^INSERT 0 /, 'SELECT ');
}
