import { notSupported, SqlError } from '../../core/errors.js';
import type { ColumnDef, TableDef } from '../../model/table.js';
import { type CopyOptions, type CopyOptionValue, parseCopyOptions } from '../codec/copy-options.js';
import { CopyOutWriter } from '../codec/copy-out.js';
import { ShardLoad } from '../dispatch/load.js';
import { quoteIdent } from '../executor/sql-text.js';
import { useOfTable } from '../txn/names.js';
import { COPY_DONE, copyData, copyOutResponse } from '../wire/messages.js';
import { constantText, type Kind, listOf } from './classify.js';
import { frontRows, tableOfOid } from './front-ddl.js';
import type { RawNode } from './parser.js';
import type { Answer, Session } from './session.js';
import { type RawStatement, shiftPosition, splitStatements } from './split.js';
import { UNBOUND } from './statement.js';

type CopyKind = Kind & { kind: 'copy' };

/** COPY … FROM STDIN and TO STDOUT. */
export async function runCopy(session: Session, statement: RawStatement, kind: CopyKind): Promise<string> {
  if (kind.toFile) {
    throw notSupported(
      'COPY with a file of the server is not supported',
      'Use STDIN or STDOUT: \\copy in psql, or `damson load`.',
    );
  }
  return kind.from ? await copyFrom(session, statement, kind) : await copyTo(session, kind);
}

/** Options as name and value. */
function optionsOf(kind: CopyKind): [string, CopyOptionValue][] {
  return kind.options.map((option) => [String(option.defname), optionValue(option.arg)]);
}

function optionValue(arg: unknown): CopyOptionValue {
  if (arg === undefined) return undefined;
  const node = arg as RawNode;
  if (node.A_Star !== undefined) return '*';
  const list = (node.List as RawNode | undefined)?.items;
  if (list !== undefined) return listOf(list).map((item) => constantText(item));
  if (Array.isArray(arg)) return arg.map((item) => constantText(item));
  return constantText(arg);
}

// ---- FROM

async function copyFrom(session: Session, statement: RawStatement, kind: CopyKind): Promise<string> {
  session.tx.refuseWriteInReadOnly('COPY FROM');
  if (kind.where)
    throw notSupported(
      'COPY FROM … WHERE is not supported',
      'Load into another table first, and INSERT … SELECT … WHERE from it.',
    );
  const options = parseCopyOptions(optionsOf(kind), 'from');
  const found = await targetTable(session, kind);
  const txn = session.tx.transaction();
  await txn.lock([useOfTable(found.tableId)], session.lockOptions());
  const table = session.tx.view().table(found.tableId);
  if (table === undefined) throw new SqlError('42P01', `relation "${found.name}" does not exist`);
  const columns = columnList(table, kind.columns);
  await checkPrivilege(session, table, columns, 'INSERT');

  const ctx = session.context(statement.sql, UNBOUND, [], { rows: () => undefined });
  const load = await ShardLoad.begin(session.shared.dispatcher.load, ctx, table, {
    columns,
    options,
    absentAreNull: await absentAreNull(session, table, columns),
    copySql: frontCopy(table, columns, options),
  });
  const rows = await load.whole(async () => {
    for await (const chunk of session.connection.copyIn(columns.length)) {
      // After the end marker the client's remaining data is read and left alone.
      await load.push(chunk);
    }
    await load.end();
  });
  return `COPY ${rows}`;
}

async function targetTable(session: Session, kind: CopyKind): Promise<TableDef> {
  const { relation } = kind;
  if (relation === null) throw notSupported('COPY FROM needs a table');
  const name =
    relation.schema === null ? quoteIdent(relation.name) : `${quoteIdent(relation.schema)}.${quoteIdent(relation.name)}`;
  const [row] = await frontRows(
    session,
    'SELECT c.oid, c.relkind FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)',
    [name],
  );
  if (row === undefined)
    throw new SqlError(
      '42P01',
      `relation "${relation.schema === null ? '' : `${relation.schema}.`}${relation.name}" does not exist`,
    );
  const table = tableOfOid(session, Number(row[0]));
  if (table !== undefined) return table;
  if (row[1] === 'v')
    throw new SqlError('42809', `cannot copy to view "${relation.name}"`, {
      hint: 'To enable copying to a view, provide an INSTEAD OF INSERT trigger.',
    });
  throw new SqlError('42501', `permission denied: "${relation.name}" is a system catalog`);
}

function columnList(table: TableDef, names: readonly string[]): ColumnDef[] {
  if (names.length === 0) return table.columns;
  const seen = new Set<string>();
  return names.map((name) => {
    const column = table.columns.find((candidate) => candidate.name === name);
    if (column === undefined) throw new SqlError('42703', `column "${name}" of relation "${table.name}" does not exist`);
    if (seen.has(name)) throw new SqlError('42701', `column "${name}" specified more than once`);
    seen.add(name);
    return column;
  });
}

/** Whether the columns that the list leaves out have no default. */
async function absentAreNull(session: Session, table: TableDef, columns: readonly ColumnDef[]): Promise<boolean> {
  if (columns.length === table.columns.length) return true;
  const sql =
    'SELECT a.attnum FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace' +
    " WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND (a.atthasdef OR a.attidentity <> '')";
  const withDefault = new Set((await frontRows(session, sql, [table.schema, table.name])).map(([attnum]) => Number(attnum)));
  return !table.columns.some((column) => !columns.includes(column) && withDefault.has(column.attnum));
}

async function checkPrivilege(
  session: Session,
  table: TableDef,
  columns: readonly ColumnDef[],
  privilege: 'INSERT' | 'SELECT',
): Promise<void> {
  const name = `${quoteIdent(table.schema)}.${quoteIdent(table.name)}`;
  const all = 'SELECT pg_catalog.has_table_privilege($1, $2, $3)';
  const [row] = await frontRows(session, all, [session.settings.currentRole, name, privilege]);
  if (isTrue(row?.[0])) return;
  for (const column of columns) {
    const [one] = await frontRows(session, 'SELECT pg_catalog.has_column_privilege($1, $2, $3, $4)', [
      session.settings.currentRole,
      name,
      column.name,
      privilege,
    ]);
    if (!isTrue(one?.[0])) throw new SqlError('42501', `permission denied for table ${table.name}`);
  }
}

function isTrue(text: string | null | undefined): boolean {
  return text === 't' || text === 'true';
}

/** The same COPY for the front, which gets blocks of rows without the header. */
function frontCopy(table: TableDef, columns: readonly ColumnDef[], options: CopyOptions): string {
  const csv = options.format === 'csv';
  const list = [`FORMAT ${options.format}`, `DELIMITER ${literal(options.delimiter)}`, `NULL ${literal(options.nullText)}`];
  if (options.defaultText !== null) list.push(`DEFAULT ${literal(options.defaultText)}`);
  if (csv) list.push(`QUOTE ${literal(options.quote)}`, `ESCAPE ${literal(options.escape)}`);
  if (csv && options.forceNull.length > 0) list.push(`FORCE_NULL ${columnsOption(options.forceNull)}`);
  if (csv && options.forceNotNull.length > 0) list.push(`FORCE_NOT_NULL ${columnsOption(options.forceNotNull)}`);
  const names = columns.map((column) => quoteIdent(column.name)).join(', ');
  return `COPY ${quoteIdent(table.schema)}.${quoteIdent(table.name)} (${names}) FROM STDIN (${list.join(', ')})`;
}

function columnsOption(names: '*' | string[]): string {
  return names === '*' ? '*' : `(${names.map(quoteIdent).join(', ')})`;
}

/** A string that means the same whatever standard_conforming_strings says. */
function literal(text: string): string {
  return `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

// ---- TO

/** The rows of a query, written as lines while they come. */
async function copyTo(session: Session, kind: CopyKind): Promise<string> {
  const options = parseCopyOptions(optionsOf(kind), 'to');
  const { sql, offset } = queryOf(kind);
  const [query] = splitStatements(sql);
  if (query === undefined) throw new SqlError('42601', 'COPY query is empty');
  const command = COMMANDS[query.tag];
  if (command === undefined)
    throw new SqlError('0A000', 'COPY query must be SELECT, INSERT, UPDATE, DELETE or MERGE', {
      hint: 'Write a SELECT in the parentheses.',
    });

  let writer: CopyOutWriter | undefined;
  let count = 0;
  const begin = (fields: readonly { name: string }[]) => {
    session.connection.write(copyOutResponse(fields.length));
    writer = new CopyOutWriter(
      fields.map((field) => field.name),
      options,
    );
    const header = writer.header();
    if (header.length > 0) session.connection.write(copyData(header));
  };
  const answer: Answer = {
    describe: begin,
    rows: (messages, rows) => {
      count += rows;
      session.connection.write(writer!.messages(messages));
      return session.connection.flush();
    },
  };
  try {
    await session.runQuery(query, command, UNBOUND, answer);
  } catch (error) {
    throw shiftPosition(error, offset);
  }
  if (writer === undefined)
    throw new SqlError('0A000', 'COPY query must have a RETURNING clause', { hint: 'Add RETURNING, or write a SELECT.' });
  session.connection.write(COPY_DONE);
  return `COPY ${count}`;
}

const COMMANDS: Record<string, 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE' | 'MERGE'> = {
  SelectStmt: 'SELECT',
  InsertStmt: 'INSERT',
  UpdateStmt: 'UPDATE',
  DeleteStmt: 'DELETE',
  MergeStmt: 'MERGE',
};

function queryOf(kind: CopyKind): { sql: string; offset: number } {
  if (kind.query !== null) return { sql: kind.query, offset: kind.queryOffset };
  const { relation, columns } = kind;
  if (relation === null) throw new SqlError('42601', 'COPY needs a table or a query');
  const name =
    relation.schema === null ? quoteIdent(relation.name) : `${quoteIdent(relation.schema)}.${quoteIdent(relation.name)}`;
  const list = columns.length === 0 ? '*' : columns.map(quoteIdent).join(', ');
  return { sql: `SELECT ${list} FROM ${name}`, offset: 0 };
}
