import { offsetOfRow } from '../dispatch/datarow.js';
import type { RowSink } from '../dispatch/types.js';
import type { WireConnection } from '../wire/connection.js';
import type { StatementScope } from './scope.js';

/** After this many bytes the client must have taken some before more are written. */
const FLUSH_EVERY = 256 * 1024;

/** Writes rows to the client, at most as many as Execute allows; the producer waits meanwhile. */
export class PortalSink implements RowSink {
  private allowed = 0;
  private written = 0;
  private unflushed = 0;
  private abandoned = false;
  private waiting: { messages: Buffer; count: number; resolve: () => void } | undefined;
  private onSuspend: (() => void) | undefined;

  constructor(private readonly connection: Pick<WireConnection, 'write' | 'flush'>) {}

  /** Rows since the last `allow`. */
  get count(): number {
    return this.written;
  }

  /**
   * Lets so many rows more through.
   * @returns resolves when the limit is reached and more rows wait; never, where they all fit.
   */
  allow(limit: number): Promise<void> {
    this.allowed = limit;
    this.written = 0;
    const suspended = new Promise<void>((resolve) => {
      this.onSuspend = resolve;
    });
    const { waiting } = this;
    if (waiting !== undefined) {
      this.waiting = undefined;
      const more = this.rows(waiting.messages, waiting.count);
      if (more === undefined) waiting.resolve();
      else more.then(waiting.resolve, waiting.resolve);
    }
    return suspended;
  }

  /** Nobody asks for more: what comes is dropped, so that the producer ends. */
  abandon(): void {
    this.abandoned = true;
    this.waiting?.resolve();
    this.waiting = undefined;
  }

  rows(messages: Buffer, count: number): Promise<void> | undefined {
    if (this.abandoned) return undefined;
    if (count <= this.allowed) {
      this.allowed -= count;
      this.written += count;
      return this.put(messages);
    }
    const cut = offsetOfRow(messages, this.allowed);
    if (cut > 0) this.connection.write(messages.subarray(0, cut));
    this.written += this.allowed;
    const rest = { messages: messages.subarray(cut), count: count - this.allowed };
    this.allowed = 0;
    return new Promise((resolve) => {
      this.waiting = { ...rest, resolve };
      this.onSuspend?.();
    });
  }

  private put(messages: Buffer): Promise<void> | undefined {
    this.connection.write(messages);
    this.unflushed += messages.length;
    if (this.unflushed < FLUSH_EVERY) return undefined;
    this.unflushed = 0;
    return this.connection.flush();
  }
}

/** A run that Execute began and that may wait for the next Execute. */
export interface PortalRun {
  /** The command tag, when it is done. */
  done: Promise<string | null>;
  sink: PortalSink;
  scope: StatementScope;
}
