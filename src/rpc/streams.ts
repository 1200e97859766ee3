/**
 * Flow control of streamed parts. The sender may have a window of parts unconsumed at the other side; the receiver tells
 * what its reader has taken, in lots, and the window opens again. A part larger than the window passes alone.
 */
export const WINDOW_PARTS = 16;
export const WINDOW_BYTES = 4 * 1024 * 1024;
/** Consumed parts are told in lots of this share of the window: far below it, so that the sender never waits for a lot. */
const LOT = 4;

/** The sender's side. */
export class SendWindow {
  #parts = 0;
  #bytes = 0;
  #waiting: { resolve: () => void; reject: (reason: unknown) => void }[] = [];
  #failure: { reason: unknown } | undefined;
  #open = false;

  /** Counts a part that was sent; resolves when the next may be sent. */
  sent(bytes: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure.reason);
    if (this.#open) return Promise.resolve();
    this.#parts++;
    this.#bytes += bytes;
    if (this.#hasRoom()) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  consumed(parts: number, bytes: number): void {
    this.#parts -= parts;
    this.#bytes -= bytes;
    if (this.#hasRoom()) this.#release();
  }

  /** No more waiting: the other side has ended, and takes nothing any more. */
  open(): void {
    this.#open = true;
    this.#release();
  }

  fail(reason: unknown): void {
    if (this.#failure !== undefined || this.#open) return;
    this.#failure = { reason };
    for (const waiter of this.#waiting.splice(0)) waiter.reject(reason);
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** False once the other side takes nothing any more. */
  get wanted(): boolean {
    return !this.#open && this.#failure === undefined;
  }

  #hasRoom(): boolean {
    return this.#parts < WINDOW_PARTS && this.#bytes < WINDOW_BYTES;
  }

  #release(): void {
    for (const waiter of this.#waiting.splice(0)) waiter.resolve();
  }
}

/** The receiver's side: parts in order for one reader. */
export class PartQueue implements AsyncIterable<unknown> {
  #queue: { part: unknown; bytes: number }[] = [];
  #waiting: { resolve: (result: IteratorResult<unknown>) => void; reject: (reason: unknown) => void } | undefined;
  #ended: { error?: { reason: unknown } } | undefined;
  #discarding = false;
  #lotParts = 0;
  #lotBytes = 0;
  readonly #tell: (parts: number, bytes: number) => void;

  /** @param tell sends what was consumed to the other side. */
  constructor(tell: (parts: number, bytes: number) => void) {
    this.#tell = tell;
  }

  push(part: unknown, bytes: number): void {
    if (this.#ended !== undefined) return;
    if (this.#discarding) {
      this.#took(bytes);
      return;
    }
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#queue.push({ part, bytes });
      return;
    }
    this.#waiting = undefined;
    this.#took(bytes);
    waiting.resolve({ value: part, done: false });
  }

  end(): void {
    if (this.#ended !== undefined) return;
    this.#ended = {};
    this.#waiting?.resolve({ value: undefined, done: true });
    this.#waiting = undefined;
  }

  /** What has arrived is still read; then the reader gets the error. */
  fail(reason: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error: { reason } };
    this.#waiting?.reject(reason);
    this.#waiting = undefined;
  }

  /** Nobody reads any more: parts are dropped, so that the sender can end. */
  discard(): void {
    this.#discarding = true;
    for (const { bytes } of this.#queue.splice(0)) this.#took(bytes);
  }

  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    return {
      next: () => this.#next(),
      return: () => {
        this.discard();
        return Promise.resolve({ value: undefined, done: true });
      },
    };
  }

  #next(): Promise<IteratorResult<unknown>> {
    const head = this.#queue.shift();
    if (head !== undefined) {
      this.#took(head.bytes);
      return Promise.resolve({ value: head.part, done: false });
    }
    if (this.#ended?.error !== undefined) return Promise.reject(this.#ended.error.reason);
    if (this.#ended !== undefined) return Promise.resolve({ value: undefined, done: true });
    if (this.#waiting !== undefined) return Promise.reject(new Error('the parts of a call have one reader'));
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  #took(bytes: number): void {
    this.#lotParts++;
    this.#lotBytes += bytes;
    if (this.#ended !== undefined) return;
    if (this.#lotParts < WINDOW_PARTS / LOT && this.#lotBytes < WINDOW_BYTES / LOT) return;
    this.#tell(this.#lotParts, this.#lotBytes);
    this.#lotParts = 0;
    this.#lotBytes = 0;
  }
}
