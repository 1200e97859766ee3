/** Rows on their way to the caller: encoded, cut into parts, and never more of them than the caller has room for. */
import type { RunPart, RunResult } from '../../model/task.js';
import type { CallContext } from '../../rpc/types.js';
import { RowWriter } from '../codec/rowwriter.js';
import { cancelled } from './errors.js';

/** A part is sent when it has grown to this. */
export const PART_BYTES = 256 * 1024;
/** Longest time in which rows are read without letting others in, milliseconds. */
const TURN_MS = 8;
/** Rows between two looks at the clock. */
const CLOCK_ROWS = 128;

export class Output {
  readonly writer = new RowWriter();
  private rowsInPart = 0;
  private rows = 0;
  private bytes = 0;
  private turnBegan = performance.now();
  private readonly began = performance.now();

  constructor(private readonly context: Pick<CallContext, 'send' | 'signal'>) {}

  /** Counts rows that were written to `writer`. True when `pause` is due. */
  wrote(rows: number): boolean {
    this.rowsInPart += rows;
    if (this.writer.length >= PART_BYTES) return true;
    return this.rowsInPart % CLOCK_ROWS === 0 && performance.now() - this.turnBegan > TURN_MS;
  }

  /** Sends what is due and lets others in. */
  async pause(): Promise<void> {
    if (this.writer.length >= PART_BYTES) await this.flush();
    if (performance.now() - this.turnBegan > TURN_MS) await new Promise((resolve) => setImmediate(resolve));
    this.turnBegan = performance.now();
    if (this.context.signal.aborted) throw cancelled();
  }

  /** Sends bytes that are no rows of `writer`. */
  async raw(bytes: Buffer, rows: number): Promise<void> {
    await this.part({ bytes, rows });
    if (this.context.signal.aborted) throw cancelled();
  }

  async flush(): Promise<void> {
    if (this.rowsInPart === 0) return;
    const rows = this.rowsInPart;
    this.rowsInPart = 0;
    await this.part({ bytes: this.writer.take(), rows });
  }

  /** The last part and the figures, in this turn: at most one part is left then, and the window has room for one. */
  finish(): RunResult {
    if (this.rowsInPart > 0) {
      const part = { bytes: this.writer.take(), rows: this.rowsInPart };
      // Rejects only when the caller has gone, who then needs no answer either.
      this.part(part).catch(() => undefined);
    }
    return { rows: this.rows, bytes: this.bytes, ms: performance.now() - this.began };
  }

  private part(part: RunPart): Promise<void> {
    this.rows += part.rows;
    this.bytes += part.bytes.length;
    return this.context.send(part);
  }
}
