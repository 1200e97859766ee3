import type { EventEmitter } from 'node:events';
import pg from 'pg';
import type { SqlErrorFields } from '../../core/errors.js';
import { DamsonError, SqlError } from '../../core/errors.js';

/** Rows of one statement as text, as the server sent them. */
export interface SqlResult {
  /** The command's tag: `CREATE TABLE`, `INSERT 0 5`. */
  tag: string;
  /** null: the command returns no rows. */
  columns: { name: string; numeric: boolean }[] | null;
  rows: (string | null)[][];
  rowCount: number | null;
  ms: number;
}

/** A connection to the coordinator over the PostgreSQL protocol. */
export interface SqlConnection {
  /** Runs one string of statements by the simple protocol: one result for each statement. */
  run(sql: string): Promise<SqlResult[]>;
  /** Ends the statement that runs. */
  cancel(): Promise<void>;
  onNotice(listener: (text: string) => void): void;
  /** What COPY … TO STDOUT sends, as it comes. */
  onCopyData(listener: (chunk: Buffer) => void): void;
  close(): Promise<void>;
}

const NUMERIC = new Set([20, 21, 23, 26, 700, 701, 1700]);
const asText = { getTypeParser: () => (value: string | Buffer) => value.toString() };

export interface SqlTarget {
  host: string;
  port: number;
  user: string;
  database: string;
}

export async function connectSql(target: SqlTarget): Promise<SqlConnection> {
  // biome-ignore lint/suspicious/noExplicitAny: pg's typing of parsers knows no text for all
  const settings = { ...target, application_name: 'damson', types: asText as any };
  const client = new pg.Client(settings);
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (cause) {
    throw (
      sqlErrorOf(cause) ??
      new DamsonError(`no connection to ${target.host}:${target.port}: ${(cause as Error).message}`, {
        hint: 'damson state says whether the cluster runs, damson start starts it',
        cause,
      })
    );
  }
  // The driver keeps the first word of a tag only.
  const { connection } = client as unknown as { connection: EventEmitter };
  let tags: string[] = [];
  connection.on('commandComplete', ({ text }: { text: string }) => tags.push(text));
  return {
    run: async (sql) => {
      const started = performance.now();
      tags = [];
      try {
        const answer = (await client.query({ text: sql, rowMode: 'array' })) as unknown as
          | pg.QueryArrayResult
          | pg.QueryArrayResult[];
        const results = Array.isArray(answer) ? answer : [answer];
        const ms = performance.now() - started;
        return results.map((result, i) => resultOf(result, tags[i] ?? result.command, ms));
      } catch (cause) {
        throw sqlErrorOf(cause) ?? cause;
      }
    },
    cancel: () => cancelQuery(target, client),
    onNotice: (listener) => {
      client.on('notice', (notice) => listener(`${notice.severity ?? 'NOTICE'}:  ${notice.message}`));
    },
    onCopyData: (listener) => {
      connection.on('copyData', ({ chunk }: { chunk: Buffer }) => listener(chunk));
    },
    close: () => client.end(),
  };
}

function resultOf(result: pg.QueryArrayResult, tag: string, ms: number): SqlResult {
  const columns =
    result.fields.length === 0 && result.command !== 'SELECT'
      ? null
      : result.fields.map(({ name, dataTypeID }) => ({ name, numeric: NUMERIC.has(dataTypeID) }));
  return { tag, columns, rows: result.rows as (string | null)[][], rowCount: result.rowCount, ms };
}

function sqlErrorOf(cause: unknown): SqlError | undefined {
  if (!(cause instanceof pg.DatabaseError) || cause.code === undefined) return undefined;
  if (cause.message.endsWith('No source stream defined')) {
    return new SqlError('0A000', 'damson sql has no rows to give to COPY … FROM STDIN', {
      hint: 'Use psql (\\copy or a script with the rows in it), or a driver with COPY.',
    });
  }
  const fields: SqlErrorFields = {};
  if (cause.detail !== undefined) fields.detail = cause.detail;
  if (cause.hint !== undefined) fields.hint = cause.hint;
  if (cause.where !== undefined) fields.where = cause.where;
  if (cause.position !== undefined) fields.position = Number(cause.position);
  return new SqlError(cause.code, cause.message, fields);
}

/** A cancel request goes over a connection of its own, with the key of the one that runs. */
async function cancelQuery(target: SqlTarget, client: pg.Client): Promise<void> {
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const { connect } = await import('node:net');
  await new Promise<void>((resolve) => {
    const message = Buffer.alloc(16);
    message.writeInt32BE(16, 0);
    message.writeInt32BE(80877102, 4);
    message.writeInt32BE(processID, 8);
    message.writeInt32BE(secretKey, 12);
    const socket = connect(target.port, target.host, () => socket.end(message));
    socket.once('close', () => resolve());
    socket.once('error', () => resolve());
  });
}
