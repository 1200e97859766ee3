/**
 * COPY input to canonical CSV for each shard, in one pass over the bytes. Rows whose every field is in its type's strict canonical
 * form (copy-field.ts) are routed at once; from the first other row of a block on, the rest of the block is handed back ("odd"), to be
 * computed by the front, which gives PostgreSQL's reading or PostgreSQL's error.
 */
import { isUtf8 } from 'node:buffer';
import { internalError, notSupported, SqlError } from '../../core/errors.js';
import { type ColumnDef, rangeIndexOf } from '../../model/table.js';
import { ByteSink, type FieldHash, type FieldWriter, fieldHash, fieldWriter } from './copy-field.js';
import type { CopyOptions } from './copy-options.js';
import { type FieldCheck, fieldCheck, mayBeVerbatim } from './copy-verbatim.js';
import { CanonicalCsvReader } from './csv.js';

export interface CopyRouterConfig {
  /** In the order of COPY's column list. */
  columns: ColumnDef[];
  /** All stored columns, in order: the order of the CSV. */
  tableColumns: ColumnDef[];
  options: CopyOptions;
  /** null: everything goes to index 0. `columnIndex` counts in `tableColumns`. */
  distribution: null | { columnIndex: number; typeOid: number; shardCount: number };
  /** For error texts. */
  tableName: string;
  /** Columns that the list leaves out have no default, so they become NULL. Without it such input is odd. */
  absentAreNull?: boolean;
  /** Every row must be computed by the front (generated columns, CHECK constraints, triggers). */
  needsFront?: boolean;
}

export type CopyBlock =
  /** Rows that were routed. */
  | { kind: 'rows'; rows: number }
  /** Rows as they came, without header and end marker; `firstLine` counts input lines from 1. */
  | { kind: 'odd'; bytes: Buffer; firstLine: number; rows: number };

export interface ShardBuffer {
  /** Range index of the shard. */
  index: number;
  csv: Buffer;
  rows: number;
}

const BLOCK_BYTES = 512 * 1024;
const MAX_ROW_BYTES = 256 * 1024 * 1024;

const BYTE = { newline: 0x0a, carriageReturn: 0x0d, quote: 0x22, comma: 0x2c, backslash: 0x5c };
/** Results of reading a row beside the position after it. */
const INCOMPLETE = -1;
const ODD = -2;
const END_MARKER = -3;

type LineEnd = 'unknown' | 'lf' | 'crlf';

export class CopyRouter {
  private readonly config: CopyRouterConfig;
  private readonly csv: boolean;
  private readonly delimiter: number;
  private readonly quote: number;
  private readonly escape: number;
  private readonly nullBytes: Buffer;
  private readonly writers: FieldWriter[];
  private readonly notNull: boolean[];
  /** Position of each input column among the table's. */
  private readonly target: number[];
  private readonly inOrder: boolean;
  private readonly hash: FieldHash | undefined;
  /** Input column with the distribution value; -1 without. */
  private readonly hashInput: number;
  private readonly alwaysOdd: boolean;
  /** For rows that are taken as they are; empty where the options or the column list change every row. */
  private readonly checks: FieldCheck[];
  /** Bytes at which an unquoted field may end. */
  private readonly stops = new Uint8Array(256);

  private buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  private filled = 0;
  private line = 1;
  private lineEnd: LineEnd = 'unknown';
  private headerPending: boolean;
  private ended = false;

  private readonly row = new ByteSink();
  private readonly decoded = new ByteSink();
  private readonly fieldStart: number[] = [];
  private readonly fieldEnd: number[] = [];
  private hashValue = 0;
  /** Newlines inside quotes of the row that is being read. */
  private quotedLines = 0;
  private readonly shards: (ByteSink & { rows: number })[] = [];
  /** Size that each shard's last buffer grew to. */
  private readonly capacity: number[] = [];

  constructor(config: CopyRouterConfig) {
    const { options, columns, tableColumns, distribution } = config;
    this.config = config;
    this.csv = options.format === 'csv';
    this.delimiter = options.delimiter.charCodeAt(0);
    this.quote = options.quote.charCodeAt(0);
    this.escape = options.escape.charCodeAt(0);
    this.nullBytes = Buffer.from(options.nullText, 'utf8');
    this.writers = columns.map(fieldWriter);
    this.notNull = columns.map((column) => column.notNull);
    this.target = columns.map((column) => tableColumns.findIndex((other) => other.attnum === column.attnum));
    if (this.target.includes(-1)) throw internalError('a column of COPY is not one of the table');
    this.inOrder = columns.length === tableColumns.length && this.target.every((target, i) => target === i);
    this.hashInput = distribution === null ? -1 : this.target.indexOf(distribution.columnIndex);
    this.hash = distribution === null ? undefined : fieldHash(distribution.typeOid);
    this.alwaysOdd = (config.needsFront ?? false) || !this.absentFit() || unusualOptions(options);
    this.checks = this.inOrder && mayBeVerbatim(options) ? columns.map(fieldCheck) : [];
    this.headerPending = options.header !== false;
    for (const byte of [this.delimiter, BYTE.newline, BYTE.carriageReturn, this.csv ? this.quote : BYTE.backslash])
      this.stops[byte] = 1;
  }

  /** True after the end marker `\.`: the rest of the input is ignored. */
  get finished(): boolean {
    return this.ended;
  }

  push(chunk: Buffer): CopyBlock[] {
    const blocks: CopyBlock[] = [];
    let at = 0;
    while (at < chunk.length && !this.ended) {
      const count = Math.min(chunk.length - at, this.buffer.length - this.filled);
      chunk.copy(this.buffer, this.filled, at, at + count);
      this.filled += count;
      at += count;
      if (this.filled === this.buffer.length) {
        this.process(blocks);
        if (this.filled === this.buffer.length) this.grow();
      }
    }
    return blocks;
  }

  /** After CopyDone: the rows that are left, the last of them perhaps without newline. */
  end(): CopyBlock[] {
    const blocks: CopyBlock[] = [];
    this.process(blocks);
    if (this.filled > 0 && !this.ended) {
      const length = this.filled;
      const terminator = this.lineEnd === 'crlf' ? '\r\n' : '\n';
      if (this.buffer.length < length + 2) this.grow();
      this.filled += this.buffer.write(this.lastLineEnd(length, terminator), length, 'latin1');
      this.process(blocks);
      // A quote or an escape that is never closed: PostgreSQL says what is wrong with it.
      if (this.filled > 0 && !this.ended)
        blocks.push({ kind: 'odd', bytes: Buffer.from(this.buffer.subarray(0, length)), firstLine: this.line, rows: 1 });
    }
    this.filled = 0;
    this.ended = true;
    return blocks;
  }

  /** Routes rows that the front has computed: canonical CSV of all table columns. `lineOf` tells an error where its row stands, if that is known. */
  routeCanonical(csv: Buffer, lineOf: (row: number) => number | undefined = () => undefined): number {
    const { distribution } = this.config;
    const reader = new CanonicalCsvReader(csv);
    let rows = 0;
    for (let start = 0; start < csv.length; start = reader.offset) {
      const row = reader.next()!;
      let index = 0;
      if (distribution !== null) {
        const value = row[distribution.columnIndex];
        if (value === null || value === undefined) throw this.nullKey(lineOf(rows));
        const bytes = Buffer.from(value, 'utf8');
        index = rangeIndexOf(this.hash!(bytes, 0, bytes.length), distribution.shardCount);
      }
      const shard = this.shard(index);
      shard.copy(csv, start, reader.offset);
      shard.rows++;
      rows++;
    }
    return rows;
  }

  /** Takes the CSV of every shard that has at least so many bytes (0: of every shard that has rows). */
  takeShardBuffers(minBytes: number): ShardBuffer[] {
    const taken: ShardBuffer[] = [];
    this.shards.forEach((shard, index) => {
      if (shard.rows === 0 || shard.used < minBytes) return;
      taken.push({ index, csv: shard.bytes.subarray(0, shard.used), rows: shard.rows });
      this.capacity[index] = shard.bytes.length;
      delete this.shards[index];
    });
    return taken;
  }

  // Blocks -------------------------------------------------------------------------------------------------------------

  private absentFit(): boolean {
    const { tableColumns, absentAreNull } = this.config;
    const absent = tableColumns.filter((_, i) => !this.target.includes(i));
    if (absent.length === 0) return true;
    return (
      (absentAreNull ?? false) &&
      absent.every((column) => !column.notNull) &&
      (this.config.distribution === null || this.hashInput >= 0)
    );
  }

  private lastLineEnd(length: number, terminator: string): string {
    return terminator === '\r\n' && this.buffer[length - 1] === BYTE.carriageReturn ? '\n' : terminator;
  }

  private grow(): void {
    if (this.buffer.length >= MAX_ROW_BYTES)
      throw new SqlError('54000', `a line of COPY input is longer than ${MAX_ROW_BYTES} bytes`);
    const grown = Buffer.allocUnsafeSlow(this.buffer.length * 2);
    this.buffer.copy(grown, 0, 0, this.filled);
    this.buffer = grown;
  }

  /** Reads all whole rows in the buffer and moves the rest to its front. */
  private process(blocks: CopyBlock[]): void {
    const { buffer } = this;
    const limit = this.filled;
    let at = this.headerPending ? this.header(limit) : 0;
    const odd = this.alwaysOdd || !isUtf8(buffer.subarray(at, wholeCharacters(buffer, limit)));
    // What holds a NUL is not taken unread.
    const verbatim = this.checks.length > 0 && !odd && !buffer.subarray(at, limit).includes(0);
    let rows = 0;
    while (at < limit && !this.headerPending && !this.ended) {
      const after = verbatim ? this.verbatimRow(at, limit) : ODD;
      if (after >= 0) {
        this.line++;
        rows++;
        at = after;
        continue;
      }
      const next = odd ? this.oddRow(at, limit) : this.csv ? this.csvRow(at, limit) : this.textRow(at, limit);
      if (next === INCOMPLETE) break;
      if (next === END_MARKER) {
        this.ended = true;
        break;
      }
      if (next === ODD) {
        if (rows > 0) blocks.push({ kind: 'rows', rows });
        rows = 0;
        at = this.oddBlock(at, limit, blocks);
        break;
      }
      this.finishRow();
      this.line += 1 + this.quotedLines;
      rows++;
      at = next;
    }
    if (rows > 0) blocks.push({ kind: 'rows', rows });
    if (this.ended) at = limit;
    buffer.copyWithin(0, at, limit);
    this.filled = limit - at;
    if (this.filled === 0 && buffer.length > BLOCK_BYTES) this.buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  }

  private oddRow(at: number, limit: number): number {
    const next = this.skipRow(at, limit);
    return next >= 0 ? ODD : next;
  }

  private oddBlock(from: number, limit: number, blocks: CopyBlock[]): number {
    const firstLine = this.line;
    let at = from;
    let rows = 0;
    for (;;) {
      const next = at < limit ? this.skipRow(at, limit) : INCOMPLETE;
      if (next === END_MARKER) this.ended = true;
      if (next < 0) break;
      this.line += 1 + this.quotedLines;
      rows++;
      at = next;
    }
    if (rows > 0) blocks.push({ kind: 'odd', bytes: Buffer.from(this.buffer.subarray(from, at)), firstLine, rows });
    return at;
  }

  /** Passes over the header line; gives the position after it, or 0 while it is incomplete. */
  private header(limit: number): number {
    const next = this.skipRow(0, limit);
    if (next < 0) return 0;
    this.headerPending = false;
    if (this.config.options.header === 'match') this.matchHeader(this.buffer.subarray(0, next));
    this.line += 1 + this.quotedLines;
    return next;
  }

  private matchHeader(line: Buffer): void {
    const names = headerNames(line.toString('utf8').replace(/\r?\n$/, ''), this.config.options);
    const { columns } = this.config;
    const where = { where: `COPY ${this.config.tableName}, line 1` };
    if (names.length !== columns.length) {
      throw new SqlError(
        '22P04',
        `wrong number of fields in header line: got ${names.length}, expected ${columns.length}`,
        where,
      );
    }
    columns.forEach((column, i) => {
      if (names[i] === null) {
        throw new SqlError(
          '22P04',
          `column name mismatch in header line field ${i + 1}: got null value ("${this.config.options.nullText}"), expected "${column.name}"`,
          where,
        );
      }
      if (names[i] !== column.name) {
        throw new SqlError(
          '22P04',
          `column name mismatch in header line field ${i + 1}: got "${names[i]}", expected "${column.name}"`,
          where,
        );
      }
    });
  }

  // Rows ---------------------------------------------------------------------------------------------------------------

  /** Takes a row as it is; gives the position after it, or ODD where the general way has to look at it. */
  private verbatimRow(from: number, limit: number): number {
    const src = this.buffer;
    const { checks } = this;
    const last = checks.length - 1;
    let at = from;
    for (let field = 0; field <= last; field++) {
      const first = src[at];
      let end = at;
      if (first === BYTE.comma || first === BYTE.newline) {
        if (field === this.hashInput || this.notNull[field]) return ODD;
      } else {
        end = checks[field]!(src, at, limit);
        if (end < 0) return ODD;
        if (field === this.hashInput) {
          if (first === BYTE.quote) return ODD;
          this.hashValue = this.hash!(src, at, end);
        }
      }
      if (end >= limit || src[end] !== (field === last ? BYTE.newline : BYTE.comma)) return ODD;
      at = end + 1;
    }
    if (this.lineEnd === 'crlf') return ODD;
    this.lineEnd = 'lf';
    const shard = this.shardOfRow();
    shard.rows++;
    shard.copy(src, from, at);
    return at;
  }

  /** Reads a row in text format from `from` on into `row`. */
  private textRow(from: number, limit: number): number {
    const src = this.buffer;
    const { stops, delimiter } = this;
    const columns = this.writers.length;
    this.beginRow();
    let at = from;
    for (let field = 0; field < columns; field++) {
      const start = at;
      while (at < limit && stops[src[at]!] === 0) at++;
      if (at === limit) return INCOMPLETE;
      if (src[at] === BYTE.backslash) {
        at = this.escapedField(field, start, limit);
        if (at < 0) return at;
      } else if (!this.plainField(field, src, start, at)) return ODD;
      const last = field === columns - 1;
      if (src[at] === delimiter) {
        if (last) return ODD;
        at++;
      } else {
        return last ? this.afterLine(at, limit) : ODD;
      }
    }
    return ODD;
  }

  /** A field with backslashes; gives the position of what ends it, or INCOMPLETE, ODD, END_MARKER. */
  private escapedField(field: number, start: number, limit: number): number {
    const src = this.buffer;
    const { decoded, delimiter, stops } = this;
    decoded.used = 0;
    let at = start;
    while (at < limit) {
      const byte = src[at]!;
      if (byte === BYTE.backslash) {
        if (at + 1 >= limit) return INCOMPLETE;
        const escaped = ESCAPES[src[at + 1]!]!;
        // Octal, hexadecimal and the end marker, and an escaped newline, are left to the slow way; so is the NULL mark if it is not all.
        if (escaped === 0 && !(src[at + 1] === 0x4e)) return field === 0 && at === start ? this.markerOr(start, limit) : ODD;
        decoded.reserve(1);
        decoded.bytes[decoded.used++] = escaped === 0 ? 0x4e : escaped;
        at += 2;
      } else if (byte === delimiter || byte === BYTE.newline || byte === BYTE.carriageReturn) {
        if (this.isNullText(src, start, at)) return this.nullField(field) ? at : ODD;
        return this.value(field, decoded.bytes, 0, decoded.used) ? at : ODD;
      } else {
        const run = at;
        while (at < limit && stops[src[at]!] === 0) at++;
        decoded.copy(src, run, at);
      }
    }
    return INCOMPLETE;
  }

  private markerOr(start: number, limit: number): number {
    if (this.buffer[start + 1] !== 0x2e) return ODD;
    if (start + 2 >= limit) return INCOMPLETE;
    const next = this.buffer[start + 2];
    return next === BYTE.newline || next === BYTE.carriageReturn ? END_MARKER : ODD;
  }

  private csvRow(from: number, limit: number): number {
    const src = this.buffer;
    const { stops, delimiter, quote } = this;
    const columns = this.writers.length;
    this.beginRow();
    let at = from;
    for (let field = 0; field < columns; field++) {
      const start = at;
      if (src[at] === quote) {
        at = this.quotedField(field, start + 1, limit);
        if (at < 0) return at;
        if (at === limit) return INCOMPLETE;
        const after = src[at]!;
        if (after !== delimiter && after !== BYTE.newline && after !== BYTE.carriageReturn) return ODD;
      } else {
        while (at < limit && stops[src[at]!] === 0) at++;
        if (at === limit) return INCOMPLETE;
        if (src[at] === quote) return ODD;
        if (field === 0 && columns > 1 && this.isOldMarker(start, at)) return END_MARKER;
        if (!this.plainField(field, src, start, at)) return ODD;
      }
      const last = field === columns - 1;
      if (src[at] === delimiter) {
        if (last) return ODD;
        at++;
      } else {
        return last ? this.afterLine(at, limit) : ODD;
      }
    }
    return ODD;
  }

  /** psql before version 18 sends the line `\.` of an inline CSV on; no row of several columns looks like it. */
  private isOldMarker(start: number, end: number): boolean {
    const src = this.buffer;
    return end - start === 2 && src[start] === BYTE.backslash && src[start + 1] === 0x2e && src[end] !== this.delimiter;
  }

  /** The inside of quotes, from behind the opening one; gives the position behind the closing one. */
  private quotedField(field: number, start: number, limit: number): number {
    const src = this.buffer;
    const { quote, decoded } = this;
    const escapeByte = this.escape;
    let plain = true;
    let run = start;
    let at = start;
    decoded.used = 0;
    for (; ; at++) {
      if (at >= limit) return INCOMPLETE;
      const byte = src[at]!;
      if (byte === BYTE.newline) this.quotedLines++;
      if (byte !== quote && byte !== escapeByte) continue;
      if (at + 1 >= limit) return INCOMPLETE;
      const next = src[at + 1]!;
      if (byte === escapeByte && (next === escapeByte || next === quote)) {
        plain = false;
        decoded.copy(src, run, at);
        run = at + 1;
        at++;
      } else if (byte === quote) break;
    }
    if (plain) return this.value(field, src, start, at) ? at + 1 : ODD;
    decoded.copy(src, run, at);
    return this.value(field, decoded.bytes, 0, decoded.used) ? at + 1 : ODD;
  }

  private plainField(field: number, src: Buffer, start: number, end: number): boolean {
    return this.isNullText(src, start, end) ? this.nullField(field) : this.value(field, src, start, end);
  }

  private isNullText(src: Buffer, start: number, end: number): boolean {
    const { nullBytes } = this;
    if (end - start !== nullBytes.length) return false;
    for (let i = 0; i < nullBytes.length; i++) if (src[start + i] !== nullBytes[i]) return false;
    return true;
  }

  private beginRow(): void {
    this.row.used = 0;
    this.quotedLines = 0;
  }

  private nullField(field: number): boolean {
    if (field === this.hashInput) throw this.nullKey(this.line + this.quotedLines);
    if (this.notNull[field]) return false;
    const { row } = this;
    this.fieldStart[field] = this.fieldEnd[field] = row.used;
    row.reserve(1);
    row.bytes[row.used++] = 0x2c;
    return true;
  }

  private value(field: number, src: Buffer, start: number, end: number): boolean {
    const { row } = this;
    this.fieldStart[field] = row.used;
    if (!this.writers[field]!(src, start, end, row)) return false;
    this.fieldEnd[field] = row.used;
    row.reserve(1);
    row.bytes[row.used++] = 0x2c;
    if (field === this.hashInput) this.hashValue = this.hash!(src, start, end);
    return true;
  }

  /** Appends the row that was read to its shard. */
  private finishRow(): void {
    const { row } = this;
    const { tableColumns } = this.config;
    const shard = this.shardOfRow();
    shard.rows++;
    if (this.inOrder) {
      row.bytes[row.used - 1] = BYTE.newline;
      shard.copy(row.bytes, 0, row.used);
      return;
    }
    for (let i = 0; i < tableColumns.length; i++) {
      const field = this.target.indexOf(i);
      if (i > 0) shard.ascii(',');
      if (field >= 0) shard.copy(row.bytes, this.fieldStart[field]!, this.fieldEnd[field]!);
    }
    shard.ascii('\n');
  }

  private shardOfRow(): ByteSink & { rows: number } {
    const { distribution } = this.config;
    return this.shard(distribution === null ? 0 : rangeIndexOf(this.hashValue, distribution.shardCount));
  }

  private shard(index: number): ByteSink & { rows: number } {
    this.shards[index] ??= Object.assign(new ByteSink(this.capacity[index]), { rows: 0 });
    return this.shards[index]!;
  }

  private nullKey(line: number | undefined): SqlError {
    const { tableName, tableColumns, distribution } = this.config;
    const column = distribution === null ? undefined : tableColumns[distribution.columnIndex];
    const message =
      column?.notNull === true
        ? `null value in column "${column.name}" of relation "${tableName}" violates not-null constraint`
        : `the distribution column "${column?.name}" of relation "${tableName}" cannot be NULL`;
    const where = line === undefined ? undefined : `COPY ${tableName}, line ${line}`;
    return new SqlError('23502', message, { table: tableName, column: column?.name, where });
  }

  // Lines --------------------------------------------------------------------------------------------------------------

  /** `at` is on a newline or carriage return: the position after the line end. All lines must end alike. */
  private afterLine(at: number, limit: number): number {
    if (this.buffer[at] === BYTE.newline) {
      if (this.lineEnd === 'crlf') throw this.wrongLineEnd('newline', '\\n');
      this.lineEnd = 'lf';
      return at + 1;
    }
    if (at + 1 >= limit) return INCOMPLETE;
    if (this.buffer[at + 1] !== BYTE.newline) {
      if (this.lineEnd === 'unknown')
        throw notSupported('COPY input with carriage returns as line ends is not supported', 'End lines with newlines.');
      throw this.wrongLineEnd('carriage return', '\\r');
    }
    if (this.lineEnd === 'lf') throw this.wrongLineEnd('carriage return', '\\r');
    this.lineEnd = 'crlf';
    return at + 2;
  }

  private wrongLineEnd(name: string, escaped: string): SqlError {
    const hint = this.csv ? `Use quoted CSV field to represent ${name}.` : `Use "${escaped}" to represent ${name}.`;
    const where = `COPY ${this.config.tableName}, line ${this.line + this.quotedLines}`;
    return new SqlError('22P04', `${this.csv ? 'unquoted' : 'literal'} ${name} found in data`, { hint, where });
  }

  /** Position after the row that begins at `from`, found as PostgreSQL finds it (CopyReadLineText), whatever its fields are. */
  private skipRow(from: number, limit: number): number {
    this.quotedLines = 0;
    return this.csv ? this.skipCsvRow(from, limit) : this.skipTextRow(from, limit);
  }

  private skipTextRow(from: number, limit: number): number {
    const src = this.buffer;
    for (let at = from; at < limit; at++) {
      const byte = src[at]!;
      if (byte === BYTE.backslash) {
        if (at === from && src[at + 1] === 0x2e) {
          const marker = this.markerOr(at, limit);
          if (marker !== ODD) return marker;
        }
        at++;
      } else if (byte === BYTE.newline || byte === BYTE.carriageReturn) return this.afterLine(at, limit);
    }
    return INCOMPLETE;
  }

  private skipCsvRow(from: number, limit: number): number {
    const src = this.buffer;
    const { quote } = this;
    const escapeByte = this.escape === quote ? -1 : this.escape;
    let inQuotes = false;
    let escaped = false;
    for (let at = from; at < limit; at++) {
      const byte = src[at]!;
      if (inQuotes && byte === escapeByte) escaped = !escaped;
      if (byte === quote && !escaped) inQuotes = !inQuotes;
      if (byte !== escapeByte) escaped = false;
      if (byte !== BYTE.newline && byte !== BYTE.carriageReturn) continue;
      if (!inQuotes) {
        if (this.writers.length > 1 && this.isOldMarker(from, at)) return END_MARKER;
        return this.afterLine(at, limit);
      }
      if (byte === BYTE.newline) this.quotedLines++;
    }
    return INCOMPLETE;
  }
}

/** What follows a backslash in text format, as the byte it stands for; 0: something else. */
const ESCAPES = new Uint8Array(256);
for (let byte = 1; byte < 256; byte++) if (byte !== BYTE.newline && byte !== BYTE.carriageReturn) ESCAPES[byte] = byte;
for (let digit = 0x30; digit <= 0x37; digit++) ESCAPES[digit] = 0;
for (const letter of 'xN.') ESCAPES[letter.charCodeAt(0)] = 0;
for (const [letter, byte] of Object.entries({ b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 })) ESCAPES[letter.charCodeAt(0)] = byte;

/** Options that change how single fields are read. */
function unusualOptions(options: CopyOptions): boolean {
  return options.defaultText !== null || options.forceNull.length > 0 || options.forceNotNull.length > 0;
}

/** The end of the last whole UTF-8 character in `bytes[0, limit)`, as far as the last four bytes tell. */
function wholeCharacters(bytes: Buffer, limit: number): number {
  for (let back = 1; back <= 3 && back <= limit; back++) {
    const byte = bytes[limit - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? limit - back : limit;
  }
  return limit;
}

/** Fields of a header line; null where a field is the NULL text. */
function headerNames(line: string, options: CopyOptions): (string | null)[] {
  const { format, delimiter, quote, nullText } = options;
  const escapes = (char: string | undefined) => char === quote || char === options.escape;
  const names: (string | null)[] = [];
  let at = 0;
  for (;;) {
    const start = at;
    let name = '';
    let quoted = false;
    for (let inQuotes = false; at < line.length; at++) {
      const char = line[at]!;
      if (format === 'text' && char === '\\') name += line[++at] ?? '';
      else if (inQuotes && char === options.escape && escapes(line[at + 1])) name += line[++at]!;
      else if (format === 'csv' && char === quote) {
        inQuotes = !inQuotes;
        quoted = true;
      } else if (char === delimiter && !inQuotes) break;
      else name += char;
    }
    names.push(!quoted && line.slice(start, at) === nullText ? null : name);
    if (at >= line.length) return names;
    at++;
  }
}
