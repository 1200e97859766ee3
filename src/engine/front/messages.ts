/** The few messages of the PostgreSQL protocol (version 3) that the front writes to PGlite and reads from it. */
import { internalError, SqlError, type SqlErrorFields } from '../../core/errors.js';
import type { Field } from './types.js';

/** A message with its one-byte type. */
function message(type: string, body: Buffer): Buffer {
  const out = Buffer.allocUnsafe(5 + body.length);
  out.write(type, 0, 'latin1');
  out.writeInt32BE(4 + body.length, 1);
  body.copy(out, 5);
  return out;
}

function cstring(text: string): Buffer {
  if (text.includes('\0')) throw new SqlError('22021', 'invalid byte sequence for encoding "UTF8": 0x00');
  return Buffer.from(`${text}\0`, 'utf8');
}

function int16(value: number): Buffer {
  const out = Buffer.allocUnsafe(2);
  out.writeUInt16BE(value);
  return out;
}

function int32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeInt32BE(value | 0);
  return out;
}

export const SYNC = message('S', Buffer.alloc(0));

/** Simple query: any number of statements. */
export const query = (sql: string): Buffer => message('Q', cstring(sql));

/** Parse into the unnamed statement. Types 0: to be found out. */
export function parse(sql: string, paramTypes: readonly number[]): Buffer {
  return message('P', Buffer.concat([cstring(''), cstring(sql), int16(paramTypes.length), ...paramTypes.map(int32)]));
}

export const describeStatement = (): Buffer => message('D', cstring('S'));

/** Bind text values to the unnamed statement, execute it to its end. */
export function bindAndExecute(params: readonly (string | null)[]): Buffer {
  const values = params.map((value) => {
    if (value === null) return int32(-1);
    const bytes = Buffer.from(value, 'utf8');
    return Buffer.concat([int32(bytes.length), bytes]);
  });
  const bind = message('B', Buffer.concat([cstring(''), cstring(''), int16(0), int16(params.length), ...values, int16(0)]));
  return Buffer.concat([bind, message('E', Buffer.concat([cstring(''), int32(0)]))]);
}

/** Input of a COPY FROM STDIN that was just begun, and its end. */
export function copyInput(blocks: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [];
  for (const block of blocks) {
    for (let at = 0; at < block.length; at += COPY_CHUNK) parts.push(message('d', block.subarray(at, at + COPY_CHUNK)));
  }
  parts.push(message('c', Buffer.alloc(0)));
  return Buffer.concat(parts);
}

const COPY_CHUNK = 256 * 1024;

/** A backend message; `whole` includes type and length. */
export interface BackendMessage {
  type: string;
  body: Buffer;
  whole: Buffer;
}

export function splitMessages(bytes: Buffer): BackendMessage[] {
  const messages: BackendMessage[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + 5 > bytes.length) throw internalError('the front sent half a message');
    const end = at + 1 + bytes.readInt32BE(at + 1);
    if (end > bytes.length || end < at + 5) throw internalError('the front sent half a message');
    messages.push({
      type: String.fromCharCode(bytes[at] as number),
      body: bytes.subarray(at + 5, end),
      whole: bytes.subarray(at, end),
    });
    at = end;
  }
  return messages;
}

/** Fields of ErrorResponse and NoticeResponse by their codes, as text. */
export function noticeFields(body: Buffer): Record<string, string> {
  return Object.fromEntries(Object.entries(rawFields(body)).map(([code, value]) => [code, value.toString('utf8')]));
}

/** The same, as bytes. */
export function rawFields(body: Buffer): Record<string, Buffer> {
  const fields: Record<string, Buffer> = {};
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const code = String.fromCharCode(body[at] as number);
    const end = body.indexOf(0, at + 1);
    if (end < 0) throw internalError('the front sent a damaged error message');
    fields[code] = body.subarray(at + 1, end);
    at = end + 1;
  }
  return fields;
}

const TEXT_FIELDS: Record<string, keyof SqlErrorFields> = {
  D: 'detail',
  H: 'hint',
  q: 'internalQuery',
  W: 'where',
  s: 'schema',
  t: 'table',
  c: 'column',
  d: 'dataType',
  n: 'constraint',
};

export function errorOf(body: Buffer): SqlError {
  const fields = noticeFields(body);
  const out: Record<string, string | number> = {};
  for (const [code, name] of Object.entries(TEXT_FIELDS)) {
    const value = fields[code];
    if (value !== undefined) out[name] = value;
  }
  if (fields.P !== undefined) out.position = Number(fields.P);
  if (fields.p !== undefined) out.internalPosition = Number(fields.p);
  return new SqlError(fields.C ?? 'XX000', fields.M ?? 'unknown error', out);
}

/** The first error among messages, or undefined. */
export function firstError(messages: readonly BackendMessage[]): SqlError | undefined {
  const found = messages.find((m) => m.type === 'E');
  return found === undefined ? undefined : errorOf(found.body);
}

export function rowDescription(body: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 2;
  for (let i = body.readUInt16BE(0); i > 0; i--) {
    const end = body.indexOf(0, at);
    fields.push({
      name: body.toString('utf8', at, end),
      relationOid: body.readUInt32BE(end + 1),
      attnum: body.readInt16BE(end + 5),
      typeOid: body.readUInt32BE(end + 7),
      typeSize: body.readInt16BE(end + 11),
      typmod: body.readInt32BE(end + 13),
    });
    at = end + 19;
  }
  return fields;
}

export function parameterDescription(body: Buffer): number[] {
  return Array.from({ length: body.readUInt16BE(0) }, (_, i) => body.readUInt32BE(2 + 4 * i));
}

/** Values of a DataRow in text format. */
export function rowValues(body: Buffer): (string | null)[] {
  const values: (string | null)[] = [];
  let at = 2;
  for (let i = body.readUInt16BE(0); i > 0; i--) {
    const length = body.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? null : body.toString('utf8', at, at + length));
    if (length > 0) at += length;
  }
  return values;
}

/** Tag of CommandComplete. */
export const commandTag = (body: Buffer): string => body.toString('utf8', 0, body.length - 1);
