import { ConnectionLost } from './errors.js';
import { packedSize } from './frames.js';
import { limited } from './limits.js';
import { PendingCall } from './pending.js';
import { ServedCall } from './served.js';
import type { Handlers, OpenCall, RpcClient, ServerConnection } from './types.js';

/**
 * The same calls within one process. Handlers begin inside `call` and `open`, so in the order of the calls. Bodies, parts
 * and errors are handed over as they are, not copied: neither side may change them afterwards.
 */
export function localLink(
  handlers: Handlers,
): Pick<RpcClient, 'call' | 'ask' | 'open' | 'closed' | 'onClose'> & { close(): void } {
  return new LocalLink(handlers);
}

class LocalLink {
  readonly #handlers: Handlers;
  readonly #connection: LocalConnection;
  readonly #calls = new Set<{ served: ServedCall; pending: PendingCall }>();

  constructor(handlers: Handlers) {
    this.#handlers = handlers;
    this.#connection = new LocalConnection(() => this.close());
  }

  get closed(): boolean {
    return this.#connection.lost !== undefined;
  }

  call<Out>(method: string, body: unknown, options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<Out> {
    if (options?.signal?.aborted) return Promise.reject(options.signal.reason);
    return limited<Out>(this.#begin(method, body, false), method, options);
  }

  ask(method: string, body: unknown, done: (error: unknown, value: unknown) => void): void {
    this.#begin(method, body, false).result.then(
      (value) => done(undefined, value),
      (error: unknown) => done(error, undefined),
    );
  }

  open<Out>(method: string, body: unknown): OpenCall<Out> {
    return this.#begin(method, body, true) as OpenCall<Out>;
  }

  onClose(listener: (reason: Error) => void): void {
    this.#connection.onClose(() => listener(this.#connection.lost!));
  }

  close(): void {
    if (this.closed) return;
    const reason = new ConnectionLost('connection closed');
    this.#connection.lost = reason;
    for (const { served, pending } of [...this.#calls]) {
      served.abort(reason);
      pending.fail(reason);
    }
    this.#connection.notify();
  }

  #begin(method: string, body: unknown, streaming: boolean): PendingCall {
    const pending: PendingCall = new PendingCall(
      {
        part: (part) => {
          const bytes = packedSize(part);
          served.receivePart(part, bytes);
          return bytes;
        },
        end: () => served.receiveEnd(),
        cancel: () => served.abort(),
        credit: (parts, bytes) => served.receiveCredit(parts, bytes),
      },
      streaming,
    );
    const entry = { pending } as { served: ServedCall; pending: PendingCall };
    const served: ServedCall = new ServedCall(
      this.#connection,
      {
        part: (part) => {
          const bytes = packedSize(part);
          pending.receivePart(part, bytes);
          return bytes;
        },
        credit: (parts, bytes) => pending.receiveCredit(parts, bytes),
        result: (value) => pending.receiveResult(value),
        error: (error) => pending.fail(error),
      },
      () => this.#calls.delete(entry),
    );
    entry.served = served;
    if (this.#connection.lost !== undefined) {
      pending.fail(this.#connection.lost);
      return pending;
    }
    this.#calls.add(entry);
    served.begin(this.#handlers, method, body);
    return pending;
  }
}

class LocalConnection implements ServerConnection {
  /** Socket connections are numbered from 1. */
  readonly id = 0;
  readonly state = new Map<string, unknown>();
  lost: ConnectionLost | undefined;
  readonly close: () => void;
  #listeners: (() => void)[] = [];

  constructor(close: () => void) {
    this.close = close;
  }

  onClose(listener: () => void): void {
    if (this.lost !== undefined) queueMicrotask(listener);
    else this.#listeners.push(listener);
  }

  notify(): void {
    for (const listener of this.#listeners.splice(0)) listener();
  }
}
