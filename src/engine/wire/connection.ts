/** One client's connection: startup, then messages one at a time to a session, in order; answers with backpressure. */
import type { Socket } from 'node:net';
import { notSupported, SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import * as backend from './messages.js';
import { type FrontendEvent, FrontendParser, protocolViolation, type SessionMessage, type StartupEvent } from './parser.js';

/** A client that has said who it is. */
export interface Startup {
  user: string;
  database: string;
  /** All parameters of the startup message, with `user` and `database`. */
  parameters: Record<string, string>;
  /** Address of the client; empty for a Unix socket. */
  address: string;
}

/** What stands behind a connection once the client is authenticated. */
export interface WireSession {
  /**
   * Handles one message; the next one waits. undefined: it is done already. What it throws (or rejects with) is sent as ErrorResponse, and after an extended-protocol message everything up
   * to the next Sync is skipped. ReadyForQuery is written by the connection, after `query` and `sync`.
   */
  onMessage(message: SessionMessage): Promise<void> | undefined;
  /** For ReadyForQuery. */
  transactionStatus(): backend.TransactionStatus;
  /** The connection is gone; called once, also after an error. */
  onClose(): void | Promise<void>;
}

export interface ConnectionOptions {
  socket: Socket;
  logger: Logger;
  processId: number;
  /** Cancel key, 4 bytes. */
  secret: Buffer;
  /** Resolves when the client may enter; throws a fatal SqlError otherwise. */
  authenticate(startup: Startup, connection: WireConnection): Promise<void>;
  /** Makes the session; writes its ParameterStatus messages. */
  onSession(startup: Startup, connection: WireConnection): Promise<WireSession>;
  /** A cancel request came instead of a session. */
  onCancelRequest(processId: number, secret: Buffer): void;
  maxMessageBytes?: number;
  authenticationTimeoutMs?: number;
}

const ERROR_RESPONSE = 0x45;
const NOTICE_RESPONSE = 0x4e;

/** Received and not yet handled: above it the socket is paused. */
const INPUT_HIGH_WATER = 256 * 1024;
/** Written in the same turn and not yet given to the socket. */
const OUTPUT_BATCH = 64 * 1024;
/** Given to the socket and not yet taken by the system: above it `flush` waits. */
const OUTPUT_HIGH_WATER = 1024 * 1024;
const AUTHENTICATION_TIMEOUT_MS = 60000;
/** Silence after which the system asks whether the client is still there. */
const KEEP_ALIVE_MS = 60000;
/** How long a closing connection may take to hand over its last bytes. */
const LINGER_MS = 2000;

export function connectionLost(): SqlError {
  return new SqlError('08006', 'connection to client lost', { fatal: true });
}

export class WireConnection {
  readonly processId: number;
  readonly secret: Buffer;
  readonly closed: Promise<void>;
  private readonly socket: Socket;
  private readonly parser: FrontendParser;
  private readonly lost = new AbortController();
  private wakeReader: (() => void) | undefined;
  private inputEnded = false;
  private output: Buffer[] = [];
  private outputBytes = 0;
  private flushScheduled = false;
  /** Messages of a protocol cycle have been handled, and ReadyForQuery is not written yet. */
  private inCycle = false;
  private readonly pushLater = (): void => {
    this.flushScheduled = false;
    this.pushOutput();
  };
  private session: WireSession | undefined;
  private ending = false;

  constructor(private readonly options: ConnectionOptions) {
    this.socket = options.socket;
    this.processId = options.processId;
    this.secret = options.secret;
    this.parser = new FrontendParser(options.maxMessageBytes);
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.setNoDelay(true);
    this.socket.setKeepAlive(true, KEEP_ALIVE_MS);
    this.socket.on('data', (chunk: Buffer) => this.receive(chunk));
    this.socket.on('error', () => this.socket.destroy());
    this.socket.on('end', () => this.inputGone());
    this.socket.on('close', () => this.inputGone());
  }

  /** Aborted when the client has gone, or `terminate` was called. */
  get signal(): AbortSignal {
    return this.lost.signal;
  }

  get address(): string {
    return this.socket.remoteAddress ?? '';
  }

  /** Serves the connection to its end. Never rejects. */
  async run(): Promise<void> {
    try {
      const startup = await this.handshake();
      if (startup !== undefined) await this.serve(startup);
    } catch (error) {
      this.reportFatal(error);
    } finally {
      this.endSocket();
      await this.closeSession();
    }
  }

  /**
   * Appends whole messages to the output. They leave at the end of the turn, or when enough has gathered; while messages are being handled,
   * with ReadyForQuery or Flush, so that the answer to one protocol cycle is one write (as in PostgreSQL). Errors and notices do not wait.
   */
  write(bytes: Buffer): void {
    if (this.socket.destroyed || this.ending) return;
    this.output.push(bytes);
    this.outputBytes += bytes.length;
    if (this.outputBytes >= OUTPUT_BATCH) this.pushOutput();
    else if (this.inCycle && bytes[0] !== ERROR_RESPONSE && bytes[0] !== NOTICE_RESPONSE) return;
    else if (!this.flushScheduled) {
      this.flushScheduled = true;
      setImmediate(this.pushLater);
    }
  }

  /** Sends what is written. Resolves when the client has taken enough that more may be written; throws 08006 when it has gone. */
  async flush(): Promise<void> {
    this.pushOutput();
    while (!this.socket.destroyed && this.socket.writableLength > OUTPUT_HIGH_WATER) await this.drained();
    if (this.socket.destroyed) throw connectionLost();
  }

  /**
   * Starts COPY IN and gives the client's data until CopyDone; CopyFail throws 57014. A consumer that stops early leaves the rest of the
   * data to be skipped.
   * @param columns of the table's rows; all in text format.
   */
  async *copyIn(columns: number): AsyncGenerator<Buffer, void, undefined> {
    this.write(backend.copyInResponse(columns));
    await this.flush();
    for (;;) {
      const event = await this.nextEvent();
      if (event === undefined) throw connectionLost();
      switch (event.type) {
        case 'copyData':
          if (event.bytes.length > 0) yield event.bytes;
          break;
        case 'copyDone':
          return;
        case 'copyFail':
          throw new SqlError('57014', `COPY from stdin failed: ${event.reason}`);
        case 'flush':
        case 'sync':
          break;
        default:
          throw protocolViolation(`unexpected message "${event.type}" during COPY from stdin`);
      }
    }
  }

  /** A PasswordMessage or SASL response, while `authenticate` runs. */
  async readPassword(): Promise<Buffer> {
    const event = await this.nextEvent();
    if (event === undefined) throw connectionLost();
    if (event.type !== 'password') throw protocolViolation(`expected password response, got "${event.type}"`);
    return event.bytes;
  }

  /** Ends the connection with a last error; what runs for it is aborted. */
  terminate(error: SqlError): void {
    this.write(backend.errorResponse(new SqlError(error.sqlstate, error.message, { ...error.fields, fatal: true })));
    this.endSocket();
  }

  // Startup ------------------------------------------------------------------------------------------------------------

  private async handshake(): Promise<Startup | undefined> {
    const timer = setTimeout(
      () => this.terminate(new SqlError('57014', 'canceling authentication due to timeout')),
      this.options.authenticationTimeoutMs ?? AUTHENTICATION_TIMEOUT_MS,
    );
    try {
      const event = await this.startupEvent();
      if (event === undefined) return undefined;
      const startup = this.acceptStartup(event);
      this.parser.phase = 'authentication';
      await this.options.authenticate(startup, this);
      this.parser.phase = 'normal';
      this.write(backend.AUTHENTICATION_OK);
      return startup;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Answers encryption requests (each at most once) and cancel requests; undefined: nothing more comes. */
  private async startupEvent(): Promise<StartupEvent | undefined> {
    for (let attempts = 0; attempts < 3; attempts++) {
      const event = await this.nextEvent();
      if (event === undefined) return undefined;
      if (event.type === 'startup') return event;
      if (event.type === 'cancel') {
        this.options.onCancelRequest(event.processId, event.secret);
        return undefined;
      }
      // Bytes sent before the answer would be read as if they had been encrypted: refuse, as PostgreSQL does.
      if (this.parser.bufferedBytes > 0) throw protocolViolation('received unencrypted data after SSL request');
      this.write(backend.NO_ENCRYPTION);
      await this.flush();
    }
    throw protocolViolation('too many encryption requests');
  }

  private acceptStartup({ major, minor, parameters }: StartupEvent): Startup {
    if (major !== 3) {
      throw new SqlError('0A000', `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.0`, { fatal: true });
    }
    const options = Object.keys(parameters).filter((name) => name.startsWith('_pq_.'));
    if (minor > 0 || options.length > 0) this.write(backend.negotiateProtocolVersion(0, options));
    const user = parameters['user'];
    if (user === undefined || user === '') {
      throw new SqlError('28000', 'no PostgreSQL user name specified in startup packet', { fatal: true });
    }
    const database = parameters['database'] || user;
    return { user, database, parameters: { ...parameters, user, database }, address: this.address };
  }

  // Messages -----------------------------------------------------------------------------------------------------------

  private async serve(startup: Startup): Promise<void> {
    this.session = await this.options.onSession(startup, this);
    this.write(backend.backendKeyData(this.processId, this.secret));
    this.ready();
    let skipping = false;
    for (;;) {
      // Messages that are here already need no waiting.
      const event = this.takeEvent() ?? (await this.nextEvent());
      if (event === undefined) return;
      this.inCycle = true;
      switch (event.type) {
        case 'terminate':
          return;
        case 'copyData':
        case 'copyDone':
        case 'copyFail':
          break; // left over from a COPY that failed
        case 'functionCall':
          if (!skipping)
            this.write(
              backend.errorResponse(notSupported('function calls by protocol message are not supported', 'Use SELECT.')),
            );
          this.ready();
          break;
        case 'sync':
        case 'query': {
          if (event.type === 'sync') skipping = false;
          else if (skipping) break;
          const accepted = this.deliver(event);
          if (typeof accepted !== 'boolean') await accepted;
          this.ready();
          break;
        }
        case 'parse':
        case 'bind':
        case 'describe':
        case 'execute':
        case 'close':
        case 'flush':
          if (!skipping) {
            const accepted = this.deliver(event);
            skipping = !(typeof accepted === 'boolean' ? accepted : await accepted);
          }
          break;
        default:
          throw protocolViolation(`unexpected message "${event.type}"`);
      }
      if (this.socket.writableLength > OUTPUT_HIGH_WATER) await this.flush();
    }
  }

  /** False where the session threw; its error is then on its way. A fatal one ends the connection. */
  private deliver(message: SessionMessage): boolean | Promise<boolean> {
    try {
      const going = this.session!.onMessage(message);
      if (going === undefined && message.type !== 'flush') return true;
      return this.delivered(message, going);
    } catch (error) {
      return this.refused(error);
    }
  }

  private async delivered(message: SessionMessage, going: Promise<void> | undefined): Promise<boolean> {
    try {
      await going;
      if (message.type === 'flush') await this.flush();
      return true;
    } catch (error) {
      return this.refused(error);
    }
  }

  private refused(error: unknown): false {
    const sql = backend.asSqlError(error);
    if (sql.fatal || this.signal.aborted) throw sql;
    this.logDefect(error);
    this.write(backend.errorResponse(sql));
    return false;
  }

  private ready(): void {
    this.inCycle = false;
    this.write(backend.readyForQuery(this.session!.transactionStatus()));
  }

  private logDefect(error: unknown): void {
    if (!(error instanceof SqlError) || error.sqlstate === 'XX000')
      this.options.logger.error({ err: error, pid: this.processId }, 'internal error');
  }

  // Bytes --------------------------------------------------------------------------------------------------------------

  private receive(chunk: Buffer): void {
    if (this.ending) return;
    this.parser.push(chunk);
    if (this.parser.bufferedBytes > INPUT_HIGH_WATER) this.socket.pause();
    this.wake();
  }

  /** The next message, where it is here already. */
  private takeEvent(): FrontendEvent | undefined {
    return this.ending ? undefined : this.parser.next();
  }

  /** The next message; undefined when no more can come. */
  private async nextEvent(): Promise<FrontendEvent | undefined> {
    for (;;) {
      if (this.ending) return undefined;
      const event = this.parser.next();
      if (event !== undefined) return event;
      if (this.inputEnded) return undefined;
      this.socket.resume();
      await new Promise<void>((resolve) => {
        this.wakeReader = resolve;
      });
    }
  }

  private wake(): void {
    const wake = this.wakeReader;
    this.wakeReader = undefined;
    wake?.();
  }

  private inputGone(): void {
    this.inputEnded = true;
    this.lost.abort(connectionLost());
    this.wake();
  }

  private pushOutput(): void {
    if (this.output.length === 0) return;
    const output = this.output;
    this.output = [];
    if (this.socket.destroyed || this.socket.writableEnded) {
      this.outputBytes = 0;
      return;
    }
    const total = this.outputBytes;
    this.outputBytes = 0;
    // Many small messages in one piece cost less than the system's vector of them.
    if (output.length === 1) this.socket.write(output[0]!);
    else if (total <= OUTPUT_BATCH) this.socket.write(Buffer.concat(output, total));
    else {
      this.socket.cork();
      for (const bytes of output) this.socket.write(bytes);
      this.socket.uncork();
    }
  }

  private drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.socket.off('drain', done);
        this.socket.off('close', done);
        resolve();
      };
      this.socket.on('drain', done);
      this.socket.on('close', done);
    });
  }

  // End ----------------------------------------------------------------------------------------------------------------

  private reportFatal(error: unknown): void {
    const sql = backend.asSqlError(error);
    if (this.signal.aborted) return;
    this.logDefect(error);
    this.write(backend.errorResponse(new SqlError(sql.sqlstate, sql.message, { ...sql.fields, fatal: true })));
  }

  private endSocket(): void {
    if (this.ending) return;
    this.pushOutput();
    this.ending = true;
    this.lost.abort(connectionLost());
    this.wake();
    if (this.socket.destroyed) return;
    this.socket.end();
    this.socket.resume();
    const timer = setTimeout(() => this.socket.destroy(), LINGER_MS);
    this.socket.once('close', () => clearTimeout(timer));
  }

  private async closeSession(): Promise<void> {
    const session = this.session;
    this.session = undefined;
    try {
      await session?.onClose();
    } catch (error) {
      this.options.logger.error({ err: error, pid: this.processId }, 'a session did not close cleanly');
    }
  }
}
