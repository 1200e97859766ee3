import { internalError } from '../core/errors.js';
import { CallCancelled } from './errors.js';
import { PartQueue, SendWindow } from './streams.js';
import type { CallContext, Handler, Handlers, ServerConnection } from './types.js';

/** What a call that is being served says to its caller. */
export interface ToCaller {
  /** Sends a part of the reply; returns its size. */
  part(body: unknown): number;
  credit(parts: number, bytes: number): void;
  result(body: unknown): void;
  error(error: unknown): void;
}

/** A call at the side of its handler. */
export class ServedCall implements CallContext {
  readonly connection: ServerConnection;
  readonly #caller: ToCaller;
  readonly #onAnswered: () => void;
  #sending: SendWindow | undefined;
  #parts: PartQueue | undefined;
  #abort: AbortController | undefined;
  #aborted: { reason: Error } | undefined;
  #answered = false;

  constructor(connection: ServerConnection, caller: ToCaller, onAnswered: () => void) {
    this.connection = connection;
    this.#caller = caller;
    this.#onAnswered = onAnswered;
  }

  /** Begins the handler, synchronously. */
  begin(handlers: Handlers, method: string, body: unknown): void {
    const handler = Object.hasOwn(handlers, method) ? (handlers[method] as Handler) : undefined;
    if (handler === undefined) {
      this.#fail(internalError(`there is no method "${method}" here`));
      return;
    }
    let out: unknown;
    try {
      out = handler(body as never, this);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (out instanceof Promise) {
      out.then(
        (value) => this.#succeed(value),
        (error: unknown) => this.#fail(error),
      );
    } else {
      this.#succeed(out);
    }
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#aborted !== undefined) this.#abort.abort(this.#aborted.reason);
    }
    return this.#abort.signal;
  }

  get parts(): AsyncIterable<unknown> {
    return this.#queue();
  }

  send(part: unknown): Promise<void> {
    if (this.#aborted !== undefined) return Promise.reject(this.#aborted.reason);
    if (this.#answered) return Promise.reject(internalError('a part was sent after the answer'));
    return this.#window().sent(this.#caller.part(part));
  }

  // What the caller says.

  receivePart(part: unknown, bytes: number): void {
    this.#queue().push(part, bytes);
  }

  receiveEnd(): void {
    this.#queue().end();
  }

  receiveCredit(parts: number, bytes: number): void {
    this.#window().consumed(parts, bytes);
  }

  /** The caller cancels, or is gone. */
  abort(reason: Error = new CallCancelled()): void {
    if (this.#aborted !== undefined || this.#answered) return;
    this.#aborted = { reason };
    this.#sending?.fail(reason);
    this.#queue().fail(reason);
    this.#abort?.abort(reason);
  }

  #window(): SendWindow {
    this.#sending ??= new SendWindow();
    return this.#sending;
  }

  #queue(): PartQueue {
    this.#parts ??= new PartQueue((parts, bytes) => {
      if (!this.#answered) this.#caller.credit(parts, bytes);
    });
    return this.#parts;
  }

  #succeed(value: unknown): void {
    this.#end();
    try {
      this.#caller.result(value);
    } catch (error) {
      // The answer cannot be encoded.
      this.#caller.error(error);
    }
  }

  #fail(error: unknown): void {
    this.#end();
    this.#caller.error(error);
  }

  #end(): void {
    this.#answered = true;
    this.#sending?.open();
    this.#parts?.end();
    this.#onAnswered();
  }
}
