import type { Lsn } from '../../model/log.js';
import { lengthAt } from './record.js';

interface Chunk {
  lsn: Lsn;
  end: Lsn;
  bytes: Buffer;
}

/** The newest bytes of the log, so that what streams to a mirror is not read from files. Whole records only. */
export class TailCache {
  #chunks: Chunk[] = [];
  #bytes = 0;
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(lsn: Lsn, bytes: Buffer): void {
    this.#chunks.push({ lsn, end: lsn + bytes.length, bytes });
    this.#bytes += bytes.length;
  }

  /** Drops the oldest above the limit; what is not written yet stays, for it is nowhere else. */
  trim(written: Lsn): void {
    let drop = 0;
    while (drop < this.#chunks.length && this.#bytes > this.#limit && this.#chunks[drop]!.end <= written) {
      this.#bytes -= this.#chunks[drop++]!.bytes.length;
    }
    if (drop > 0) this.#chunks.splice(0, drop);
  }

  /** Forgets everything from `end` on; `end` may fall inside a chunk, between two records. */
  cut(end: Lsn): void {
    while (this.#chunks.length > 0 && this.#chunks.at(-1)!.end > end) {
      const last = this.#chunks.pop()!;
      this.#bytes -= last.bytes.length;
      if (last.lsn < end) this.add(last.lsn, last.bytes.subarray(0, end - last.lsn));
    }
  }

  clear(): void {
    this.#chunks = [];
    this.#bytes = 0;
  }

  /**
   * Whole records from `from` (a record's lsn) on and below `bound`, at most `limit` bytes unless the first is longer;
   * undefined where `from` is not in the cache.
   */
  read(from: Lsn, limit: number, bound: Lsn): Buffer | undefined {
    let at = this.#find(from);
    if (at === undefined) return undefined;
    const pieces: Buffer[] = [];
    let taken = 0;
    for (; at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at]!;
      const begin = Math.max(0, from - chunk.lsn);
      const whole = wholeRecords(chunk.bytes, begin, Math.min(chunk.bytes.length, bound - chunk.lsn), limit - taken, taken === 0);
      if (whole > begin) pieces.push(chunk.bytes.subarray(begin, whole));
      taken += Math.max(0, whole - begin);
      if (whole < chunk.bytes.length) break;
    }
    return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, taken);
  }

  #find(lsn: Lsn): number | undefined {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#chunks[middle]!.end <= lsn) low = middle + 1;
      else high = middle;
    }
    return low < this.#chunks.length && this.#chunks[low]!.lsn <= lsn ? low : undefined;
  }
}

/** Offset behind the last whole record that begins at or after `begin` and fits `limit` bytes; at least one when `force`. */
export function wholeRecords(bytes: Buffer, begin: number, end: number, limit: number, force: boolean): number {
  let offset = begin;
  while (offset < end) {
    const length = lengthAt(bytes, offset);
    if (length === undefined || offset + length > end) break;
    if (offset + length - begin > limit && !(force && offset === begin)) break;
    offset += length;
  }
  return offset;
}
