/** Builders of backend messages of the PostgreSQL protocol, version 3. */
import { errorFromWire, errorToWire, SqlError } from '../../core/errors.js';

/** The parts of a RowDescription field (front/types.ts Field has them all). */
export interface RowField {
  name: string;
  relationOid: number;
  attnum: number;
  typeOid: number;
  typeSize: number;
  typmod: number;
}

/** A message of a type byte and a body. */
export function message(type: string, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(5 + body.length);
  bytes[0] = type.charCodeAt(0);
  bytes.writeInt32BE(4 + body.length, 1);
  body.copy(bytes, 5);
  return bytes;
}

function empty(type: string): Buffer {
  return message(type, Buffer.alloc(0));
}

/** Appends integers and zero-terminated strings. */
class Body {
  private readonly parts: Buffer[] = [];

  int8(value: number): this {
    this.parts.push(Buffer.from([value & 0xff]));
    return this;
  }

  int16(value: number): this {
    const bytes = Buffer.allocUnsafe(2);
    bytes.writeInt16BE((value << 16) >> 16);
    this.parts.push(bytes);
    return this;
  }

  int32(value: number): this {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeInt32BE(value | 0);
    this.parts.push(bytes);
    return this;
  }

  string(text: string): this {
    const end = text.indexOf('\0');
    this.parts.push(Buffer.from(`${end < 0 ? text : text.slice(0, end)}\0`, 'utf8'));
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.parts.push(Buffer.from(bytes));
    return this;
  }

  as(type: string): Buffer {
    return message(type, Buffer.concat(this.parts));
  }
}

export const AUTHENTICATION_OK = new Body().int32(0).as('R');
export const PARSE_COMPLETE = empty('1');
export const BIND_COMPLETE = empty('2');
export const CLOSE_COMPLETE = empty('3');
export const NO_DATA = empty('n');
export const PORTAL_SUSPENDED = empty('s');
export const EMPTY_QUERY_RESPONSE = empty('I');
export const COPY_DONE = empty('c');
/** Answers to SSLRequest and GSSENCRequest: one byte, no message. */
export const NO_ENCRYPTION = Buffer.from('N');

/** I: idle, T: in a transaction block, E: in a failed one. */
export type TransactionStatus = 'I' | 'T' | 'E';

const READY = {
  I: message('Z', Buffer.from('I')),
  T: message('Z', Buffer.from('T')),
  E: message('Z', Buffer.from('E')),
};

export function readyForQuery(status: TransactionStatus): Buffer {
  return READY[status];
}

export function authenticationSasl(mechanisms: string[]): Buffer {
  const body = new Body().int32(10);
  for (const mechanism of mechanisms) body.string(mechanism);
  return body.int8(0).as('R');
}

export function authenticationSaslContinue(data: string): Buffer {
  return new Body().int32(11).bytes(Buffer.from(data, 'utf8')).as('R');
}

export function authenticationSaslFinal(data: string): Buffer {
  return new Body().int32(12).bytes(Buffer.from(data, 'utf8')).as('R');
}

export function parameterStatus(name: string, value: string): Buffer {
  return new Body().string(name).string(value).as('S');
}

export function backendKeyData(processId: number, secret: Buffer): Buffer {
  return new Body().int32(processId).bytes(secret).as('K');
}

/** @param newestMinor newest minor version of protocol 3 that the server speaks. */
export function negotiateProtocolVersion(newestMinor: number, unknownOptions: string[]): Buffer {
  const body = new Body().int32((3 << 16) | newestMinor).int32(unknownOptions.length);
  for (const option of unknownOptions) body.string(option);
  return body.as('v');
}

/** @param formats one code for each field, one for all, or none: text. */
export function rowDescription(fields: readonly RowField[], formats: readonly number[] = []): Buffer {
  const body = new Body().int16(fields.length);
  fields.forEach((field, i) => {
    const format = formats.length === 1 ? formats[0]! : (formats[i] ?? 0);
    body.string(field.name).int32(field.relationOid).int16(field.attnum).int32(field.typeOid);
    body.int16(field.typeSize).int32(field.typmod).int16(format);
  });
  return body.as('T');
}

export function parameterDescription(typeOids: readonly number[]): Buffer {
  const body = new Body().int16(typeOids.length);
  for (const oid of typeOids) body.int32(oid);
  return body.as('t');
}

/** @param tag ASCII. */
export function commandComplete(tag: string): Buffer {
  const bytes = Buffer.allocUnsafe(6 + tag.length);
  bytes[0] = 0x43;
  bytes.writeInt32BE(5 + tag.length, 1);
  bytes.write(tag, 5, 'latin1');
  bytes[5 + tag.length] = 0;
  return bytes;
}

/** A DataRow in text format; for small answers. Bulk goes through codec/rowwriter. */
export function dataRow(values: readonly (string | null)[]): Buffer {
  const body = new Body().int16(values.length);
  for (const value of values) {
    if (value === null) body.int32(-1);
    else {
      const bytes = Buffer.from(value, 'utf8');
      body.int32(bytes.length).bytes(bytes);
    }
  }
  return body.as('D');
}

export function copyInResponse(columns: number): Buffer {
  return copyResponse('G', columns);
}

export function copyOutResponse(columns: number): Buffer {
  return copyResponse('H', columns);
}

/** All in text format: CSV counts as text. */
function copyResponse(type: string, columns: number): Buffer {
  const body = new Body().int8(0).int16(columns);
  for (let i = 0; i < columns; i++) body.int16(0);
  return body.as(type);
}

export function copyData(bytes: Uint8Array): Buffer {
  const header = Buffer.allocUnsafe(5 + bytes.length);
  header[0] = 0x64;
  header.writeInt32BE(4 + bytes.length, 1);
  header.set(bytes, 5);
  return header;
}

/** Any error as one of SQL: what is none is a defect of ours, XX000. */
export function asSqlError(error: unknown): SqlError {
  if (error instanceof SqlError) return error;
  const wire = errorToWire(error);
  const fields = wire.hint === undefined ? {} : { hint: wire.hint };
  return new SqlError('XX000', errorFromWire(wire).message, { ...fields, cause: error });
}

export function errorResponse(error: unknown): Buffer {
  const sql = asSqlError(error);
  return report('E', sql.fatal ? 'FATAL' : 'ERROR', sql);
}

export type NoticeSeverity = 'DEBUG' | 'LOG' | 'INFO' | 'NOTICE' | 'WARNING';

/** A notice has an error's fields: `new SqlError('00000', text)` for plain ones, `01000` for warnings. */
export function noticeResponse(severity: NoticeSeverity, notice: SqlError): Buffer {
  return report('N', severity, notice);
}

function report(type: string, severity: string, { sqlstate, message: text, fields }: SqlError): Buffer {
  const body = new Body();
  const field = (code: string, value: string | number | undefined) => {
    if (value !== undefined) body.int8(code.charCodeAt(0)).string(String(value));
  };
  field('S', severity);
  field('V', severity);
  field('C', sqlstate);
  field('M', text);
  field('D', fields.detail);
  field('H', fields.hint);
  field('P', fields.position);
  field('p', fields.internalPosition);
  field('q', fields.internalQuery);
  field('W', fields.where);
  field('s', fields.schema);
  field('t', fields.table);
  field('c', fields.column);
  field('d', fields.dataType);
  field('n', fields.constraint);
  return body.int8(0).as(type);
}
