import { connect, type Socket } from 'node:net';
import { errorFromWire, type WireError } from '../core/errors.js';
import { Channel } from './channel.js';
import { ConnectionLost } from './errors.js';
import { type Frame, FrameKind } from './frames.js';
import { limited } from './limits.js';
import { AskedCall, PendingCall, type WaitingCall } from './pending.js';
import type { RpcClient } from './types.js';

/**
 * Connects to the daemon that listens on a Unix socket.
 * @param options.timeoutMs for connecting (default 5000).
 * @param options.name of the other side, for error messages.
 * Rejects with ConnectionLost where nobody listens.
 */
export function connectRpc(path: string, options: { timeoutMs?: number; name?: string } = {}): Promise<RpcClient> {
  const who = options.name ?? path;
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new ConnectionLost(`${who} did not accept a connection in time`));
    }, options.timeoutMs ?? 5000);
    const onError = (error: Error): void => {
      clearTimeout(timer);
      reject(new ConnectionLost(`cannot connect to ${who}: ${error.message}`, { cause: error }));
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', onError);
      resolve(new SocketClient(socket));
    });
  });
}

class SocketClient implements RpcClient {
  readonly #channel: Channel;
  readonly #calls = new Map<number, WaitingCall>();
  #listeners: ((reason: Error) => void)[] = [];
  #nextCall = 1;

  constructor(socket: Socket) {
    this.#channel = new Channel(
      socket,
      (frame) => this.#onFrame(frame),
      (reason) => this.#onLost(reason),
    );
  }

  get closed(): boolean {
    return this.#channel.lost !== undefined;
  }

  call<Out>(method: string, body: unknown, options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<Out> {
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    return limited<Out>(this.#begin(method, body, false), method, options);
  }

  ask(method: string, body: unknown, done: (error: unknown, value: unknown) => void): void {
    const channel = this.#channel;
    if (channel.lost !== undefined) {
      const reason = channel.lost;
      queueMicrotask(() => done(reason, undefined));
      return;
    }
    const id = this.#freeNumber();
    this.#calls.set(id, new AskedCall(done));
    try {
      channel.send(FrameKind.call, id, [method, body]);
    } catch (error) {
      // The body cannot be encoded: nothing was sent.
      this.#calls.delete(id);
      queueMicrotask(() => done(error, undefined));
    }
  }

  open<Out>(method: string, body: unknown): PendingCall & { result: Promise<Out> } {
    return this.#begin(method, body, true) as PendingCall & { result: Promise<Out> };
  }

  onClose(listener: (reason: Error) => void): void {
    const lost = this.#channel.lost;
    if (lost !== undefined) queueMicrotask(() => listener(lost));
    else this.#listeners.push(listener);
  }

  close(): void {
    this.#channel.close();
  }

  #begin(method: string, body: unknown, streaming: boolean): PendingCall {
    const id = this.#freeNumber();
    const channel = this.#channel;
    const call = new PendingCall(
      {
        part: (part) => channel.send(FrameKind.requestPart, id, part),
        end: () => channel.send(FrameKind.requestEnd, id, undefined),
        cancel: () => channel.send(FrameKind.cancel, id, undefined),
        credit: (parts, bytes) => channel.send(FrameKind.credit, id, [parts, bytes]),
      },
      streaming,
    );
    if (channel.lost !== undefined) {
      call.fail(channel.lost);
      return call;
    }
    try {
      this.#calls.set(id, call);
      channel.send(FrameKind.call, id, [method, body]);
    } catch (error) {
      // The body cannot be encoded: nothing was sent.
      this.#calls.delete(id);
      call.fail(error);
    }
    return call;
  }

  #freeNumber(): number {
    while (this.#calls.has(this.#nextCall)) this.#nextCall = (this.#nextCall + 1) >>> 0;
    const id = this.#nextCall;
    this.#nextCall = (this.#nextCall + 1) >>> 0;
    return id;
  }

  #onFrame(frame: Frame): void {
    const call = this.#calls.get(frame.call);
    if (call === undefined) return;
    switch (frame.kind) {
      case FrameKind.replyPart:
        call.receivePart(frame.body, frame.bytes);
        break;
      case FrameKind.credit: {
        const [parts, bytes] = frame.body as [number, number];
        call.receiveCredit(parts, bytes);
        break;
      }
      case FrameKind.result:
        this.#calls.delete(frame.call);
        call.receiveResult(frame.body);
        break;
      case FrameKind.error:
        this.#calls.delete(frame.call);
        call.fail(errorFromWire(frame.body as WireError));
        break;
      default:
        throw new RangeError(`a frame of kind ${frame.kind} from a server`);
    }
  }

  #onLost(reason: ConnectionLost): void {
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.fail(reason);
    for (const listener of this.#listeners.splice(0)) listener(reason);
  }
}
