/** Reading what RowWriter writes: DataRow messages of the PostgreSQL protocol, and the answers of the front. */
import { internalError } from '../../core/errors.js';
import { writeCanonicalRow } from '../codec/csv.js';

const DATA_ROW = 0x44;
const COMMAND_COMPLETE = 0x43;
const ROW_DESCRIPTION = 0x54;

/** Calls with the start of each DataRow's field count in a buffer of whole messages. */
function eachRow(messages: Buffer, visit: (at: number, fields: number) => void): void {
  let at = 0;
  while (at < messages.length) {
    if (messages[at] !== DATA_ROW) throw internalError(`a message of type ${messages[at]} is among the rows`);
    visit(at + 7, messages.readInt16BE(at + 5));
    at += 1 + messages.readInt32BE(at + 1);
  }
}

/** Text fields of each row. */
export function rowsOf(messages: Buffer): (string | null)[][] {
  const rows: (string | null)[][] = [];
  eachRow(messages, (start, fields) => {
    const row: (string | null)[] = [];
    let at = start;
    for (let i = 0; i < fields; i++) {
      const length = messages.readInt32BE(at);
      at += 4;
      row.push(length < 0 ? null : messages.toString('utf8', at, at + length));
      if (length > 0) at += length;
    }
    rows.push(row);
  });
  return rows;
}

/** Rows of text fields as canonical CSV. `columns[i]` is the field that column i takes; absent: NULL. */
export function csvOfRows(messages: Buffer, columns?: readonly (number | undefined)[]): Buffer {
  const lines: string[] = [];
  for (const row of rowsOf(messages)) {
    lines.push(
      writeCanonicalRow(columns === undefined ? row : columns.map((field) => (field === undefined ? null : row[field]!))),
    );
  }
  return Buffer.from(lines.join(''), 'utf8');
}

/** Offset behind the first `count` rows of a buffer that has more. */
export function offsetOfRow(messages: Buffer, count: number): number {
  let at = 0;
  for (let i = 0; i < count; i++) at += 1 + messages.readInt32BE(at + 1);
  return at;
}

/** What a statement that ran in the front answered. */
export interface FrontAnswer {
  rowDescription: Buffer | null;
  rows: Buffer;
  count: number;
  tag: string;
}

/** Takes the raw backend messages of one statement apart; rows stay as they are. */
export function readAnswer(messages: Buffer): FrontAnswer {
  const answer: FrontAnswer = { rowDescription: null, rows: Buffer.alloc(0), count: 0, tag: '' };
  const parts: Buffer[] = [];
  let from = -1;
  let at = 0;
  while (at < messages.length) {
    const type = messages[at];
    const end = at + 1 + messages.readInt32BE(at + 1);
    if (type === DATA_ROW) {
      if (from < 0) from = at;
      answer.count++;
    } else {
      if (from >= 0) parts.push(messages.subarray(from, at));
      from = -1;
      if (type === ROW_DESCRIPTION) answer.rowDescription = messages.subarray(at, end);
      if (type === COMMAND_COMPLETE) answer.tag = messages.toString('utf8', at + 5, end - 1);
    }
    at = end;
  }
  if (from >= 0) parts.push(messages.subarray(from, at));
  answer.rows = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  return answer;
}

/** Frontend messages Parse, Bind, Describe (portal), Execute for one statement with text parameters; without Sync. */
export function frontMessages(
  sql: string,
  params: readonly (string | null)[],
  paramTypes: readonly number[],
  formats: readonly number[],
): Buffer {
  const parts: Buffer[] = [];
  const types = Buffer.alloc(2 + 4 * paramTypes.length);
  types.writeInt16BE(paramTypes.length, 0);
  paramTypes.forEach((oid, i) => {
    types.writeUInt32BE(oid, 2 + 4 * i);
  });
  parts.push(framed('P', [Buffer.from(`\0${sql}\0`, 'utf8'), types]));
  const bind: Buffer[] = [Buffer.from([0, 0]), int16(0), int16(params.length)];
  for (const param of params) {
    const bytes = param === null ? undefined : Buffer.from(param, 'utf8');
    bind.push(int32(bytes?.length ?? -1));
    if (bytes !== undefined) bind.push(bytes);
  }
  bind.push(int16(formats.length), ...formats.map(int16));
  parts.push(framed('B', bind), framed('D', [Buffer.from('P\0')]), framed('E', [Buffer.from([0]), int32(0)]));
  return Buffer.concat(parts);
}

function framed(type: string, body: Buffer[]): Buffer {
  const length = body.reduce((sum, part) => sum + part.length, 4);
  return Buffer.concat([Buffer.from(type), int32(length), ...body]);
}

function int16(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value);
  return bytes;
}
