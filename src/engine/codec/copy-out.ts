/** DataRow messages (text format) to lines of COPY TO, as PostgreSQL writes them. */
import { internalError, SqlError } from '../../core/errors.js';
import type { CopyOptions } from './copy-options.js';

const BACKSLASH = 0x5c;
/** Type and length of a message. */
const COPY_DATA_HEADER = 5;

/** Bytes that text format writes as a backslash and a letter: the letter. */
const TEXT_ESCAPES = new Map<number, number>([
  [0x08, 0x62],
  [0x09, 0x74],
  [0x0a, 0x6e],
  [0x0b, 0x76],
  [0x0c, 0x66],
  [0x0d, 0x72],
  [BACKSLASH, BACKSLASH],
]);

/** Writes the lines of one COPY TO. */
export class CopyOutWriter {
  private readonly delimiter: number;
  private readonly nullBytes: Buffer;
  private readonly forced: boolean[];
  private readonly csv: boolean;
  /** Bytes that need an escape (text) or quotes (CSV). */
  private readonly special = new Uint8Array(256);
  private out = Buffer.allocUnsafeSlow(64 * 1024);
  private used = 0;

  /** @param columns names of the output columns, for HEADER and FORCE_QUOTE. */
  constructor(
    private readonly columns: string[],
    private readonly options: CopyOptions,
  ) {
    this.csv = options.format === 'csv';
    this.delimiter = options.delimiter.charCodeAt(0);
    this.nullBytes = Buffer.from(options.nullText, 'utf8');
    const { forceQuote } = options;
    if (forceQuote !== '*') {
      const unknown = forceQuote.find((name) => !columns.includes(name));
      if (unknown !== undefined) throw new SqlError('42P10', `FORCE_QUOTE column "${unknown}" not referenced by COPY`);
    }
    this.forced = columns.map((name) => forceQuote === '*' || forceQuote.includes(name));
    const quoteBytes = [0x0a, 0x0d, options.quote.charCodeAt(0), this.delimiter];
    for (const byte of this.csv ? quoteBytes : [...TEXT_ESCAPES.keys(), this.delimiter]) this.special[byte] = 1;
  }

  /** The header line; empty where none was asked for. */
  header(): Buffer {
    if (this.options.header === false) return Buffer.alloc(0);
    this.columns.forEach((name, i) => {
      if (i > 0) this.byte(this.delimiter);
      const bytes = Buffer.from(name, 'utf8');
      // PostgreSQL quotes header names only where they need it, whatever FORCE_QUOTE says.
      if (this.csv) this.csvValue(bytes, 0, bytes.length, false);
      else this.textValue(bytes, 0, bytes.length);
    });
    this.byte(0x0a);
    return this.take();
  }

  /** Lines of whole, concatenated DataRow messages. */
  lines(dataRows: Buffer): Buffer {
    this.each(dataRows, (start, end) => this.line(dataRows, start, end));
    return this.take();
  }

  /** The same lines as CopyData messages, one for each row: the protocol promises so, and some clients rely on it. */
  messages(dataRows: Buffer): Buffer {
    this.each(dataRows, (start, end) => {
      const at = this.used;
      this.reserve(COPY_DATA_HEADER);
      this.used += COPY_DATA_HEADER;
      this.line(dataRows, start, end);
      this.out[at] = 0x64;
      this.out.writeInt32BE(this.used - at - 1, at + 1);
    });
    return this.take();
  }

  private each(dataRows: Buffer, row: (start: number, end: number) => void): void {
    let at = 0;
    while (at < dataRows.length) {
      if (dataRows[at] !== 0x44) throw internalError('a message in a COPY result is no DataRow');
      const end = at + 1 + dataRows.readInt32BE(at + 1);
      row(at + 5, end);
      at = end;
    }
  }

  private line(src: Buffer, start: number, end: number): void {
    const count = src.readInt16BE(start);
    let at = start + 2;
    for (let i = 0; i < count; i++) {
      if (i > 0) this.byte(this.delimiter);
      const length = src.readInt32BE(at);
      at += 4;
      if (length < 0) this.raw(this.nullBytes, 0, this.nullBytes.length);
      else {
        if (this.csv) this.csvValue(src, at, at + length, this.forced[i] ?? false, count === 1);
        else this.textValue(src, at, at + length);
        at += length;
      }
    }
    if (at !== end) throw internalError('a DataRow in a COPY result is longer than its fields');
    this.byte(0x0a);
  }

  private textValue(src: Buffer, start: number, end: number): void {
    let run = start;
    for (let at = start; at < end; at++) {
      const byte = src[at]!;
      if (this.special[byte] === 0) continue;
      this.raw(src, run, at);
      run = at + 1;
      this.byte(BACKSLASH);
      this.byte(TEXT_ESCAPES.get(byte) ?? byte);
    }
    this.raw(src, run, end);
  }

  /** Quoted where it is forced, looks like NULL, holds a special byte, or is `\.` alone on its line (CopyAttributeOutCSV). */
  private csvValue(src: Buffer, start: number, end: number, forced: boolean, single = false): void {
    let quoted = forced || this.isNullText(src, start, end);
    for (let at = start; at < end && !quoted; at++) quoted = this.special[src[at]!] === 1;
    if (!quoted && single && end - start === 2 && src[start] === BACKSLASH && src[start + 1] === 0x2e) quoted = true;
    if (!quoted) {
      this.raw(src, start, end);
      return;
    }
    const quote = this.options.quote.charCodeAt(0);
    const escapeByte = this.options.escape.charCodeAt(0);
    this.byte(quote);
    for (let at = start; at < end; at++) {
      const byte = src[at]!;
      if (byte === quote || byte === escapeByte) this.byte(escapeByte);
      this.byte(byte);
    }
    this.byte(quote);
  }

  private isNullText(src: Buffer, start: number, end: number): boolean {
    return end - start === this.nullBytes.length && src.compare(this.nullBytes, 0, this.nullBytes.length, start, end) === 0;
  }

  private byte(value: number): void {
    this.reserve(1);
    this.out[this.used++] = value;
  }

  private raw(src: Buffer, start: number, end: number): void {
    if (end <= start) return;
    this.reserve(end - start);
    src.copy(this.out, this.used, start, end);
    this.used += end - start;
  }

  private reserve(count: number): void {
    const needed = this.used + count;
    if (needed <= this.out.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.out.length * 2));
    this.out.copy(grown, 0, 0, this.used);
    this.out = grown;
  }

  private take(): Buffer {
    const taken = Buffer.from(this.out.subarray(0, this.used));
    this.used = 0;
    return taken;
  }
}
