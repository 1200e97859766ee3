/** Frontend messages of the PostgreSQL protocol, version 3, out of bytes that arrive split anywhere. */
import { isUtf8 } from 'node:buffer';
import { SqlError } from '../../core/errors.js';

export interface StartupEvent {
  type: 'startup';
  major: number;
  minor: number;
  parameters: Record<string, string>;
}

export interface QueryMessage {
  type: 'query';
  sql: string;
}
export interface ParseMessage {
  type: 'parse';
  name: string;
  sql: string;
  paramTypes: number[];
}
export interface BindMessage {
  type: 'bind';
  portal: string;
  statement: string;
  /** As sent: none (all text), one for all, or one for each. */
  paramFormats: number[];
  /** Slices of the received bytes; null is NULL. */
  params: (Buffer | null)[];
  resultFormats: number[];
}
export interface DescribeMessage {
  type: 'describe';
  kind: 'S' | 'P';
  name: string;
}
export interface ExecuteMessage {
  type: 'execute';
  portal: string;
  /** 0: no limit. */
  maxRows: number;
}
export interface CloseMessage {
  type: 'close';
  kind: 'S' | 'P';
  name: string;
}

/** What a session handles. */
export type SessionMessage =
  | QueryMessage
  | ParseMessage
  | BindMessage
  | DescribeMessage
  | ExecuteMessage
  | CloseMessage
  | { type: 'sync' }
  | { type: 'flush' };

/** What the connection handles by itself. */
export type FrontendEvent =
  | SessionMessage
  | StartupEvent
  | { type: 'sslRequest' }
  | { type: 'gssRequest' }
  | { type: 'cancel'; processId: number; secret: Buffer }
  /** PasswordMessage, SASLInitialResponse or SASLResponse: which of them, the authentication knows. */
  | { type: 'password'; bytes: Buffer }
  | { type: 'terminate' }
  | { type: 'functionCall' }
  | { type: 'copyData'; bytes: Buffer }
  | { type: 'copyDone' }
  | { type: 'copyFail'; reason: string };

/** startup: no type byte yet. authentication: only `p`. normal: everything else. */
export type Phase = 'startup' | 'authentication' | 'normal';

/** Longest message, with its length word: PostgreSQL's figures before authentication. */
const LIMITS = { startup: 10000, authentication: 65536 };
export const DEFAULT_MAX_MESSAGE_BYTES = 256 * 1024 * 1024;

const COPY_DATA = 0x64;
const CANCEL_REQUEST = 80877102;
const SSL_REQUEST = 80877103;
const GSS_REQUEST = 80877104;

export function protocolViolation(text: string): SqlError {
  return new SqlError('08P01', text, { fatal: true });
}

/**
 * Push bytes in, take events out with `next`. The owner changes `phase` between events: a message is read by the phase at the
 * time of `next`. A malformed or over-long message throws a fatal SqlError 08P01.
 */
export class FrontendParser {
  phase: Phase = 'startup';
  private chunks: Buffer[] = [];
  private buffered = 0;
  /** Bytes that the message at the front needs; joining is put off until they are there. */
  private needed = 0;
  /** Bytes of a CopyData message that are still to come: its beginning has been given away. */
  private copyLeft = 0;

  constructor(private readonly maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES) {}

  get bufferedBytes(): number {
    return this.buffered;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.chunks.push(chunk);
    this.buffered += chunk.length;
  }

  /** The next whole message, or a part of the data of a COPY, whose messages mean nothing; undefined where more bytes are needed. */
  next(): FrontendEvent | undefined {
    if (this.copyLeft > 0) return this.copyPart();
    const header = this.phase === 'startup' ? 4 : 5;
    if (this.buffered < header || this.buffered < this.needed) return undefined;
    let front = this.chunks[0]!;
    if (front.length < header) front = this.joined();
    const length = front.readInt32BE(header - 4);
    this.checkLength(length, header);
    const total = header - 4 + length;
    if (front.length < total) {
      if (this.phase === 'normal' && front[0] === COPY_DATA) {
        this.copyLeft = total - header;
        this.take(header);
        return this.copyPart();
      }
      if (this.buffered < total) {
        this.needed = total;
        return undefined;
      }
      front = this.joined();
    }
    this.needed = 0;
    const body = front.subarray(header, total);
    this.take(total);
    if (header === 4) return readStartup(body);
    return this.phase === 'authentication' ? readAuthentication(front[0]!, body) : readMessage(front[0]!, body);
  }

  private checkLength(length: number, header: number): void {
    const limit = this.phase === 'normal' ? this.maxMessageBytes : LIMITS[this.phase];
    if (length < (header === 4 ? 8 : 4)) throw protocolViolation('invalid message length');
    if (length <= limit) return;
    throw this.phase === 'normal'
      ? new SqlError('54000', `a message of ${length} bytes is longer than the limit of ${limit} bytes`, { fatal: true })
      : protocolViolation('invalid length of startup packet');
  }

  /** What is here of a CopyData message, as it came. */
  private copyPart(): FrontendEvent | undefined {
    const front = this.chunks[0];
    if (front === undefined) return undefined;
    const bytes = front.subarray(0, this.copyLeft);
    this.copyLeft -= bytes.length;
    this.take(bytes.length);
    return { type: 'copyData', bytes };
  }

  /** Passes over bytes of the first chunk. */
  private take(count: number): void {
    const front = this.chunks[0]!;
    if (count === front.length) this.chunks.shift();
    else this.chunks[0] = front.subarray(count);
    this.buffered -= count;
  }

  private joined(): Buffer {
    if (this.chunks.length > 1) this.chunks = [Buffer.concat(this.chunks, this.buffered)];
    return this.chunks[0]!;
  }
}

function readStartup(body: Buffer): FrontendEvent {
  const code = body.readInt32BE(0);
  if (code === SSL_REQUEST) return { type: 'sslRequest' };
  if (code === GSS_REQUEST) return { type: 'gssRequest' };
  if (code === CANCEL_REQUEST) {
    if (body.length < 12) throw protocolViolation('invalid length of cancel request packet');
    return { type: 'cancel', processId: body.readInt32BE(4), secret: body.subarray(8) };
  }
  const parameters: Record<string, string> = Object.create(null);
  const reader = new BodyReader(body, 4);
  // Version 2 had another layout; its caller is told by the version alone.
  if (code >> 16 === 3) {
    for (let name = reader.string(); name !== ''; name = reader.string()) parameters[name] = reader.string();
    reader.end();
  }
  return { type: 'startup', major: code >> 16, minor: code & 0xffff, parameters };
}

function readAuthentication(type: number, body: Buffer): FrontendEvent {
  if (type !== 0x70) throw protocolViolation(`expected password response, got message type ${type}`);
  return { type: 'password', bytes: body };
}

function readMessage(type: number, body: Buffer): FrontendEvent {
  const reader = new BodyReader(body, 0);
  const event = readBody(type, body, reader);
  if (event.type !== 'copyData' && event.type !== 'functionCall') reader.end();
  return event;
}

function readBody(type: number, body: Buffer, reader: BodyReader): FrontendEvent {
  switch (type) {
    case 0x51: // Q
      return { type: 'query', sql: reader.string() };
    case 0x50: // P
      return { type: 'parse', name: reader.string(), sql: reader.string(), paramTypes: reader.list(() => reader.uint32()) };
    case 0x42: // B
      return readBind(reader);
    case 0x44: // D
      return { type: 'describe', kind: reader.kind(), name: reader.string() };
    case 0x45: // E
      return { type: 'execute', portal: reader.string(), maxRows: Math.max(0, reader.int32()) };
    case 0x43: // C
      return { type: 'close', kind: reader.kind(), name: reader.string() };
    case 0x53: // S
      return { type: 'sync' };
    case 0x48: // H
      return { type: 'flush' };
    case 0x58: // X
      return { type: 'terminate' };
    case 0x64: // d
      return { type: 'copyData', bytes: body };
    case 0x63: // c
      return { type: 'copyDone' };
    case 0x66: // f
      return { type: 'copyFail', reason: reader.string() };
    case 0x46: // F
      return { type: 'functionCall' };
    default:
      throw protocolViolation(`invalid frontend message type ${type}`);
  }
}

function readBind(reader: BodyReader): BindMessage {
  return {
    type: 'bind',
    portal: reader.string(),
    statement: reader.string(),
    paramFormats: reader.list(() => reader.format()),
    params: reader.list(() => reader.value()),
    resultFormats: reader.list(() => reader.format()),
  };
}

/** Reads the parts of a message in order; runs over its end are 08P01. */
class BodyReader {
  constructor(
    private readonly body: Buffer,
    private at: number,
  ) {}

  string(): string {
    const end = this.body.indexOf(0, this.at);
    if (end < 0) throw protocolViolation('invalid string in message');
    const bytes = this.body.subarray(this.at, end);
    // Never replaced silently by U+FFFD: the statement would be another one.
    if (!isUtf8(bytes)) {
      throw new SqlError('22021', 'invalid byte sequence for encoding "UTF8"', {
        hint: 'Send text as UTF-8 (client_encoding).',
        fatal: true,
      });
    }
    this.at = end + 1;
    return bytes.toString('utf8');
  }

  int32(): number {
    return this.body.readInt32BE(this.advance(4));
  }

  uint32(): number {
    return this.body.readUInt32BE(this.advance(4));
  }

  format(): number {
    const code = this.body.readInt16BE(this.advance(2));
    if (code !== 0 && code !== 1) throw new SqlError('22023', `unsupported format code: ${code}`, { fatal: true });
    return code;
  }

  list<T>(read: () => T): T[] {
    const count = this.body.readUInt16BE(this.advance(2));
    const items: T[] = [];
    for (let i = 0; i < count; i++) items.push(read());
    return items;
  }

  value(): Buffer | null {
    const length = this.int32();
    if (length === -1) return null;
    if (length < 0) throw protocolViolation('insufficient data left in message');
    const start = this.advance(length);
    return this.body.subarray(start, start + length);
  }

  kind(): 'S' | 'P' {
    const byte = this.body[this.advance(1)];
    if (byte === 0x53) return 'S';
    if (byte === 0x50) return 'P';
    throw protocolViolation(`invalid DESCRIBE or CLOSE message subtype ${byte}`);
  }

  end(): void {
    if (this.at !== this.body.length) throw protocolViolation('invalid message format');
  }

  private advance(bytes: number): number {
    const start = this.at;
    if (start + bytes > this.body.length) throw protocolViolation('insufficient data left in message');
    this.at = start + bytes;
    return start;
  }
}
