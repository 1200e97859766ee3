/**
 * Canonical CSV, the form in which bulk rows travel (CopyPart in model/task.ts): `,` between fields, `\n` after each row,
 * `"` quoted with `""` inside, NULL unquoted and empty, the empty string `""`. A row of one NULL is an empty line.
 */
import { internalError } from '../../core/errors.js';

const COMMA = 0x2c;
const QUOTE = 0x22;
const NEWLINE = 0x0a;

const NEEDS_QUOTES = /[",\n\r]/;

/** One field, without the separator. */
export function writeCanonicalField(value: string | null): string {
  if (value === null) return '';
  if (value === '' || value === '\\.' || NEEDS_QUOTES.test(value)) return `"${value.replaceAll('"', '""')}"`;
  return value;
}

/** One row, with its newline. */
export function writeCanonicalRow(values: readonly (string | null)[]): string {
  let line = '';
  for (let i = 0; i < values.length; i++) line += (i === 0 ? '' : ',') + writeCanonicalField(values[i]!);
  return `${line}\n`;
}

/** Iterates the rows of a buffer of whole rows. A row that is not canonical is a defect (XX000). */
export class CanonicalCsvReader implements Iterable<(string | null)[]> {
  private position = 0;

  constructor(private readonly csv: Buffer) {}

  *[Symbol.iterator](): Generator<(string | null)[]> {
    for (let row = this.next(); row !== undefined; row = this.next()) yield row;
  }

  /** Position of the next row's first byte. */
  get offset(): number {
    return this.position;
  }

  /** The next row; undefined at the end. */
  next(): (string | null)[] | undefined {
    if (this.position >= this.csv.length) return undefined;
    const row: (string | null)[] = [];
    do {
      row.push(this.csv[this.position] === QUOTE ? this.quotedField() : this.plainField());
    } while (this.csv[this.position++] === COMMA);
    return row;
  }

  private plainField(): string | null {
    const { csv } = this;
    const start = this.position;
    let at = start;
    let ascii = true;
    for (; at < csv.length; at++) {
      const byte = csv[at]!;
      if (byte === COMMA || byte === NEWLINE) break;
      if (byte > 127) ascii = false;
    }
    if (at >= csv.length) throw internalError('canonical CSV ends inside a row');
    this.position = at;
    if (at === start) return null;
    return ascii ? csv.toString('latin1', start, at) : csv.toString('utf8', start, at);
  }

  private quotedField(): string {
    const { csv } = this;
    const start = this.position + 1;
    let doubled = false;
    let end = csv.indexOf(QUOTE, start);
    while (end >= 0 && csv[end + 1] === QUOTE) {
      doubled = true;
      end = csv.indexOf(QUOTE, end + 2);
    }
    const after = csv[end + 1];
    if (end < 0 || (after !== COMMA && after !== NEWLINE)) throw internalError('canonical CSV has an open quote');
    this.position = end + 1;
    const text = csv.toString('utf8', start, end);
    return doubled ? text.replaceAll('""', '"') : text;
  }
}
