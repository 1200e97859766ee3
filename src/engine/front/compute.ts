/**
 * Rows as PostgreSQL makes them: INSERT and COPY run into the front's empty table, so that defaults, generated columns, coercions,
 * NOT NULL, CHECK and privileges are PostgreSQL's own; the rows are read back as canonical CSV, and all is taken back.
 */
import { internalError, SqlError } from '../../core/errors.js';
import { type Scope, SEQUENCES, type SequenceState, sequenceStates } from './connection.js';
import { type BackendMessage, bindAndExecute, commandTag, copyInput, errorOf, parse, query, SYNC } from './messages.js';
import { roleStatements, rowsOf, SUPERUSER } from './session.js';
import { ident, qualified } from './sql.js';

export interface ComputeTarget {
  schema: string;
  name: string;
  /** attnums, in order: the columns of the CSV. */
  columns: number[];
}

export interface Computed {
  csv: Buffer;
  rows: number;
  sequences: SequenceState[];
}

/** Settings under which values are printed: the form of CopyPart in model/task.ts. */
const CANONICAL = [
  "SET LOCAL DateStyle = 'ISO, YMD'",
  'SET LOCAL IntervalStyle = postgres',
  'SET LOCAL TimeZone = UTC',
  'SET LOCAL extra_float_digits = 1',
  'SET LOCAL bytea_output = hex',
  'SET LOCAL xmlbinary = base64',
  'SET LOCAL row_security = off',
];

export async function computeInsert(
  scope: Scope,
  sql: string,
  params: readonly (string | null)[],
  paramTypes: readonly number[],
  target: ComputeTarget,
): Promise<Computed> {
  return await compute(scope, Buffer.concat([parse(sql, paramTypes), bindAndExecute(params), SYNC]), target);
}

/** @param firstLine number of the block's first line in the whole input: errors of PostgreSQL name lines. */
export async function computeCopy(
  scope: Scope,
  copySql: string,
  input: Buffer,
  firstLine: number,
  target: ComputeTarget,
): Promise<Computed> {
  try {
    return await compute(scope, Buffer.concat([query(copySql), copyInput([input])]), target);
  } catch (error) {
    throw error instanceof SqlError ? shiftLine(error, firstLine - 1) : error;
  }
}

/** An INSERT over rows that this transaction has loaded before, into the target as well it may be: only its own rows come back. */
export async function computeLoaded(scope: Scope, messages: Buffer, target: ComputeTarget): Promise<Computed> {
  return await compute(scope, Buffer.concat([messages, SYNC]), target, true);
}

/** Rows of the last command that inserted any. */
const LAST_COMMAND = (table: string) =>
  ` WHERE cmin::text::bigint = (SELECT pg_catalog.max(cmin::text::bigint) FROM ONLY ${table})`;

async function compute(scope: Scope, work: Buffer, target: ComputeTarget, loaded = false): Promise<Computed> {
  const select = await selectList(scope, target);
  const asSuperuser = `SET LOCAL SESSION AUTHORIZATION ${ident(SUPERUSER)}`;
  // As a replica no trigger fires and no foreign key is checked: the other table is empty here. Both are the engine's own work.
  const begin = [
    scope.begin,
    asSuperuser,
    'SET LOCAL session_replication_role = replica',
    ...roleStatements(scope.settings, true),
  ];
  const table = qualified(target.schema, target.name);
  const bytes = Buffer.concat([
    query(begin.join('; ')),
    work,
    query([asSuperuser, ...CANONICAL].join('; ')),
    query(`COPY (SELECT ${select} FROM ONLY ${table}${loaded ? LAST_COMMAND(table) : ''}) TO STDOUT (FORMAT csv)`),
    query(SEQUENCES),
    query(scope.end),
  ]);
  const messages = await scope.exec(bytes);
  const computed = readComputed(messages);
  return loaded && insertedNothing(messages) ? { ...computed, csv: Buffer.alloc(0), rows: 0 } : computed;
}

function insertedNothing(messages: readonly BackendMessage[]): boolean {
  return messages.some((message) => message.type === 'C' && commandTag(message.body) === 'INSERT 0 0');
}

function readComputed(messages: readonly BackendMessage[]): Computed {
  const csv: Buffer[] = [];
  let rows: number | undefined;
  let copying = false;
  const rest: BackendMessage[] = [];
  for (const message of messages) {
    if (message.type === 'E') throw errorOf(message.body);
    if (message.type === 'H') {
      copying = true;
    } else if (message.type === 'd') {
      csv.push(message.body);
    } else if (message.type === 'C' && copying && rows === undefined) {
      rows = Number(commandTag(message.body).split(' ')[1]);
    } else if (rows !== undefined) {
      rest.push(message);
    }
  }
  if (rows === undefined || Number.isNaN(rows)) throw internalError('the front gave no rows back');
  return { csv: Buffer.concat(csv), rows, sequences: sequenceStates(rowsOf(rest)) };
}

/** char(n) loses its trailing blanks when cast to text. */
async function selectList(scope: Scope, target: ComputeTarget): Promise<string> {
  const columns = new Map((await scope.columns(target.schema, target.name)).map((column) => [column.attnum, column]));
  const list = target.columns.map((attnum) => {
    const column = columns.get(attnum);
    if (column === undefined) {
      throw internalError(`table ${target.schema}.${target.name} has no column number ${attnum} in the front`);
    }
    return column.typeOid === BPCHAR ? `${ident(column.name)}::pg_catalog.text` : ident(column.name);
  });
  return list.join(', ');
}

const BPCHAR = 1042;

/** `COPY t, line 3, column c: "x"`: the line is that of the block, the client's is further down. */
function shiftLine(error: SqlError, by: number): SqlError {
  const { where } = error.fields;
  if (where === undefined || by === 0) return error;
  const shifted = where.replace(/^(COPY .*?, line )(\d+)/m, (_, head: string, line: string) => `${head}${Number(line) + by}`);
  return new SqlError(error.sqlstate, error.message, { ...error.fields, where: shifted, cause: error });
}
