import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { DamsonError, errorToWire } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { Channel } from './channel.js';
import { type Frame, FrameKind } from './frames.js';
import { ServedCall, type ToCaller } from './served.js';
import type { Handlers, RpcServer, ServerConnection } from './types.js';

type HandlersOf = Handlers | ((connection: ServerConnection) => Handlers);

/**
 * Serves calls on a Unix socket that only this user can reach. A socket file that a dead process has left is replaced;
 * a living one's is an error.
 */
export async function listenRpc(path: string, handlers: HandlersOf, options: { logger: Logger }): Promise<RpcServer> {
  const connections = new Set<Connection>();
  const server = createServer((socket) => {
    const connection = new Connection(socket, handlers, options.logger, () => connections.delete(connection));
    connections.add(connection);
  });
  await bind(server, path);
  server.on('error', (error) => options.logger.error({ err: error, path }, 'rpc server'));
  let closing: Promise<void> | undefined;
  return {
    path,
    close: () => {
      closing ??= new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const connection of connections) connection.close();
      });
      return closing;
    },
  };
}

async function bind(server: Server, path: string): Promise<void> {
  try {
    await listen(server, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    if (await answers(path)) {
      throw new DamsonError(`another process listens on ${path}`, { hint: 'The instance is running already.' });
    }
    rmSync(path, { force: true });
    await listen(server, path);
  }
  chmodSync(path, 0o600);
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => reject(error);
    server.once('error', onError);
    // The file is made inside `listen`, so that the mask holds for it and for nothing else.
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', onError);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

let nextConnection = 1;

/** The caller of one call, at the other end of the channel. */
class Caller implements ToCaller {
  readonly #channel: Channel;
  readonly #id: number;
  readonly #method: string;
  readonly #connection: Connection;
  readonly answered = (): void => this.#connection.ended(this.#id);

  constructor(channel: Channel, id: number, method: string, connection: Connection) {
    this.#channel = channel;
    this.#id = id;
    this.#method = method;
    this.#connection = connection;
  }

  part(body: unknown): number {
    return this.#channel.send(FrameKind.replyPart, this.#id, body);
  }

  credit(parts: number, bytes: number): void {
    this.#channel.send(FrameKind.credit, this.#id, [parts, bytes]);
  }

  result(body: unknown): void {
    this.#channel.send(FrameKind.result, this.#id, body);
  }

  error(error: unknown): void {
    this.#connection.sendError(this.#id, this.#method, error);
  }
}

class Connection implements ServerConnection {
  readonly id = nextConnection++;
  readonly state = new Map<string, unknown>();
  readonly #channel: Channel;
  readonly #handlers: Handlers;
  readonly #logger: Logger;
  readonly #calls = new Map<number, ServedCall>();
  #listeners: (() => void)[] = [];

  constructor(socket: Socket, handlers: HandlersOf, logger: Logger, onGone: () => void) {
    this.#logger = logger;
    this.#listeners.push(onGone);
    this.#channel = new Channel(
      socket,
      (frame) => this.#onFrame(frame),
      (reason) => this.#onLost(reason),
    );
    this.#handlers = typeof handlers === 'function' ? handlers(this) : handlers;
  }

  onClose(listener: () => void): void {
    if (this.#channel.lost !== undefined) queueMicrotask(listener);
    else this.#listeners.push(listener);
  }

  close(): void {
    this.#channel.close();
  }

  #onFrame(frame: Frame): void {
    if (this.#channel.lost !== undefined) return;
    if (frame.kind === FrameKind.call) {
      this.#begin(frame);
      return;
    }
    // What comes after the answer was sent before the caller saw it.
    const call = this.#calls.get(frame.call);
    if (call === undefined) return;
    switch (frame.kind) {
      case FrameKind.requestPart:
        call.receivePart(frame.body, frame.bytes);
        break;
      case FrameKind.requestEnd:
        call.receiveEnd();
        break;
      case FrameKind.cancel:
        call.abort();
        break;
      case FrameKind.credit: {
        const [parts, bytes] = frame.body as [number, number];
        call.receiveCredit(parts, bytes);
        break;
      }
      default:
        throw new RangeError(`a frame of kind ${frame.kind} from a client`);
    }
  }

  #begin(frame: Frame): void {
    const id = frame.call;
    const [method, body] = frame.body as [string, unknown];
    const caller = new Caller(this.#channel, id, method, this);
    const call = new ServedCall(this, caller, caller.answered);
    this.#calls.set(id, call);
    call.begin(this.#handlers, method, body);
  }

  /** For Caller. */
  ended(id: number): void {
    this.#calls.delete(id);
  }

  /** For Caller. */
  sendError(id: number, method: string, error: unknown): void {
    const wire = errorToWire(error);
    // An error of another class is a defect here: its stack stays in this log.
    if (wire.name === 'Error' && this.#channel.lost === undefined) this.#logger.debug({ err: error, method }, 'a call failed');
    this.#channel.send(FrameKind.error, id, wire);
  }

  #onLost(reason: Error): void {
    for (const call of [...this.#calls.values()]) call.abort(reason);
    for (const listener of this.#listeners.splice(0)) {
      try {
        listener();
      } catch (error) {
        this.#logger.error({ err: error }, 'after a lost connection');
      }
    }
  }
}
