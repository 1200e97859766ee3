/** Writes DataRow messages of the PostgreSQL protocol one after another into one growing buffer. */
import { notSupported } from '../../core/errors.js';

const INITIAL_BYTES = 16 * 1024;
/** As PostgreSQL's MaxAllocSize: no field and no buffer grows beyond. */
const MAX_BYTES = 1024 * 1024 * 1024 - 1;
/** Below this length copying characters one by one is faster than a call into Node. */
const SHORT = 24;

/** Rows are begun, filled with exactly the announced fields in order, and ended. */
export class RowWriter {
  private buffer: Buffer;
  private position = 0;
  private rowStart = 0;
  private rowCount = 0;

  constructor(initialBytes = INITIAL_BYTES) {
    this.buffer = Buffer.allocUnsafeSlow(initialBytes);
  }

  /** Bytes written and not taken. */
  get length(): number {
    return this.position;
  }

  /** Rows ended and not taken. */
  get rows(): number {
    return this.rowCount;
  }

  beginRow(fields: number): void {
    this.reserve(7);
    this.rowStart = this.position;
    this.buffer[this.position] = 0x44;
    this.buffer.writeInt16BE(fields, this.position + 5);
    this.position += 7;
  }

  endRow(): void {
    this.buffer.writeInt32BE(this.position - this.rowStart - 1, this.rowStart + 1);
    this.rowCount++;
  }

  nullField(): void {
    this.reserve(4);
    this.buffer.writeInt32BE(-1, this.position);
    this.position += 4;
  }

  textField(text: string): void {
    const length = text.length;
    this.reserve(4 + length * 3);
    const { buffer } = this;
    const start = this.position + 4;
    if (length <= SHORT) {
      let i = 0;
      for (; i < length; i++) {
        const unit = text.charCodeAt(i);
        if (unit > 127) break;
        buffer[start + i] = unit;
      }
      if (i === length) {
        this.finishField(length);
        return;
      }
    }
    this.finishField(buffer.write(text, start, 'utf8'));
  }

  /** Text known to be ASCII. */
  asciiField(text: string): void {
    const length = text.length;
    this.reserve(4 + length);
    const { buffer } = this;
    const start = this.position + 4;
    if (length <= SHORT) {
      for (let i = 0; i < length; i++) buffer[start + i] = text.charCodeAt(i);
    } else {
      buffer.write(text, start, length, 'latin1');
    }
    this.finishField(length);
  }

  /** A 32-bit (or other small) integer as decimal text, without making a string. */
  intField(value: number): void {
    if (value > 2147483647 || value < -2147483647) {
      this.asciiField(String(value));
      return;
    }
    this.reserve(16);
    const { buffer } = this;
    const start = this.position + 4;
    let at = start;
    let rest = value | 0;
    if (rest < 0) {
      buffer[at++] = 0x2d;
      rest = -rest;
    }
    let width = 1;
    for (let limit = 10; width < 10 && rest >= limit; limit *= 10) width++;
    for (let i = at + width - 1; i >= at; i--) {
      const next = (rest / 10) | 0;
      buffer[i] = 48 + rest - next * 10;
      rest = next;
    }
    this.finishField(at + width - start);
  }

  bytesField(bytes: Uint8Array): void {
    this.reserve(4 + bytes.length);
    this.buffer.set(bytes, this.position + 4);
    this.finishField(bytes.length);
  }

  /** What was written so far, as a buffer that the writer no longer touches. */
  take(): Buffer {
    const taken = this.buffer.subarray(0, this.position);
    this.buffer = Buffer.allocUnsafeSlow(Math.max(INITIAL_BYTES, Math.min(this.buffer.length, 1024 * 1024)));
    this.position = 0;
    this.rowCount = 0;
    return taken;
  }

  /** The same as `take`, as a copy of its own: for few bytes, so that the writer keeps its buffer. Does not empty it: see `drop`. */
  copy(): Buffer {
    const copied = Buffer.allocUnsafe(this.position);
    this.buffer.copy(copied, 0, 0, this.position);
    return copied;
  }

  /** Forgets what was written. */
  drop(): void {
    this.position = 0;
    this.rowCount = 0;
  }

  private finishField(bytes: number): void {
    this.buffer.writeInt32BE(bytes, this.position);
    this.position += 4 + bytes;
  }

  private reserve(bytes: number): void {
    const needed = this.position + bytes;
    if (needed <= this.buffer.length) return;
    if (needed > MAX_BYTES) throw notSupported('a result row is longer than 1 GB', 'Select fewer or shorter columns.');
    const grown = Buffer.allocUnsafeSlow(Math.min(MAX_BYTES, Math.max(needed, this.buffer.length * 2)));
    this.buffer.copy(grown, 0, 0, this.position);
    this.buffer = grown;
  }
}
