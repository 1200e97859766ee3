import { PartQueue, SendWindow } from './streams.js';
import type { OpenCall } from './types.js';

/** What a pending call says to its handler. */
export interface ToHandler {
  /** Sends a part of the request; returns its size. */
  part(body: unknown): number;
  end(): void;
  cancel(): void;
  credit(parts: number, bytes: number): void;
}

/** What a connection tells a call that is waiting for its answer. */
export interface WaitingCall {
  receivePart(part: unknown, bytes: number): void;
  receiveCredit(parts: number, bytes: number): void;
  receiveResult(value: unknown): void;
  fail(reason: unknown): void;
}

/** One question, one answer, without a promise. */
export class AskedCall implements WaitingCall {
  readonly #done: (error: unknown, value: unknown) => void;

  constructor(done: (error: unknown, value: unknown) => void) {
    this.#done = done;
  }

  receivePart(): void {}

  receiveCredit(): void {}

  receiveResult(value: unknown): void {
    this.#done(undefined, value);
  }

  fail(reason: unknown): void {
    this.#done(reason, undefined);
  }
}

/** A call at the side of its caller. */
export class PendingCall implements OpenCall<unknown>, WaitingCall {
  readonly result: Promise<unknown>;
  readonly #handler: ToHandler;
  readonly #window = new SendWindow();
  readonly #parts: PartQueue;
  #resolve!: (value: unknown) => void;
  #reject!: (reason: unknown) => void;
  #settled = false;
  #ended = false;
  #cancelled = false;

  /** @param streaming false: parts of the reply are dropped. */
  constructor(handler: ToHandler, streaming: boolean) {
    this.#handler = handler;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A caller that only reads parts, or only pushes, learns of the failure there.
    this.result.catch(() => {});
    this.#parts = new PartQueue((parts, bytes) => handler.credit(parts, bytes));
    if (!streaming) this.#parts.discard();
  }

  get parts(): AsyncIterable<unknown> {
    return this.#parts;
  }

  get settled(): boolean {
    return this.#settled;
  }

  push(part: unknown): Promise<void> {
    if (this.#ended) return Promise.reject(new Error('a part was pushed after the end'));
    // After the answer parts are not wanted; after a failure the window says why.
    if (this.#settled || !this.#window.wanted) return this.#window.sent(0);
    return this.#window.sent(this.#handler.part(part));
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.#settled) this.#handler.end();
  }

  cancel(): void {
    if (this.#cancelled || this.#settled) return;
    this.#cancelled = true;
    this.#parts.discard();
    this.#handler.cancel();
  }

  // What the handler says.

  receivePart(part: unknown, bytes: number): void {
    this.#parts.push(part, bytes);
  }

  receiveCredit(parts: number, bytes: number): void {
    this.#window.consumed(parts, bytes);
  }

  receiveResult(value: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#parts.end();
    this.#window.open();
    this.#resolve(value);
  }

  fail(reason: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#parts.fail(reason);
    this.#window.fail(reason);
    this.#reject(reason);
  }
}
