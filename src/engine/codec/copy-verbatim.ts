/**
 * The fast way through CSV input: fields that stand in the input exactly as canonical CSV may have them are only looked at, and their row is
 * copied as it is. One pass over the bytes, no decoding. Whatever is otherwise is left to the general way (copy-in.ts).
 */
import { Oid, storageOf } from '../../model/storage.js';
import type { ColumnDef } from '../../model/table.js';
import { ByteSink, type FieldWriter, fieldWriter, isInt8, isTimestamp } from './copy-field.js';
import type { CopyOptions } from './copy-options.js';
import { canonicalJsonbEnd } from './jsonb.js';

/**
 * Looks at the field that begins at `at`: the position behind it (at its comma or line end), or -1 where it is not provably verbatim or does not
 * end before `limit`. The field is not empty, and the bytes hold no NUL and are UTF-8.
 */
export type FieldCheck = (src: Buffer, at: number, limit: number) => number;

const QUOTE = 0x22;
const COMMA = 0x2c;
const NEWLINE = 0x0a;

/** Bytes at which the scan of an unquoted field stops. */
const STOP = new Uint8Array(256);
STOP[COMMA] = STOP[NEWLINE] = STOP[QUOTE] = STOP[0x0d] = 1;

/** Is the CSV read with the very signs in which canonical CSV is written? */
export function mayBeVerbatim(options: CopyOptions): boolean {
  const { format, delimiter, quote, nullText, defaultText, forceNull, forceNotNull } = options;
  const signs = format === 'csv' && delimiter === ',' && quote === '"' && options.escape === '"' && nullText === '';
  return signs && defaultText === null && forceNull.length === 0 && forceNotNull.length === 0;
}

/** The check for a column's type. */
export function fieldCheck(column: ColumnDef): FieldCheck {
  const { typeOid, typmod } = column;
  const ofBase = column.typtype === undefined || column.typtype === 'b';
  const storage = storageOf(typeOid, typmod);
  if (ofBase && typeOid === Oid.int8) return unquoted(isInt8);
  if (ofBase && storage.class === 'bool') return checkBool;
  if (ofBase && storage.class === 'text' && typeOid === Oid.text) return checkText;
  if (ofBase && storage.class === 'timestamp')
    return unquoted((src, start, end) => src[start + 10] === 0x20 && isTimestamp(src, start, end, typmod));
  if (ofBase && typeOid === Oid.jsonb) return checkJsonb;
  return written(fieldWriter(column));
}

/** End of an unquoted field; -1 where it does not end, or is not plain. */
function unquotedEnd(src: Buffer, at: number, limit: number): number {
  let i = at;
  while (i < limit && STOP[src[i]!] === 0) i++;
  if (i >= limit) return -1;
  const byte = src[i]!;
  return byte === COMMA || byte === NEWLINE ? i : -1;
}

function unquoted(accepts: (src: Buffer, start: number, end: number) => boolean): FieldCheck {
  return (src, at, limit) => {
    const end = unquotedEnd(src, at, limit);
    return end >= 0 && accepts(src, at, end) ? end : -1;
  };
}

/** Any other type: verbatim is what its writer would write no different. */
function written(writer: FieldWriter): FieldCheck {
  const out = new ByteSink();
  return (src, at, limit) => {
    const end = unquotedEnd(src, at, limit);
    if (end < 0) return -1;
    out.used = 0;
    if (!writer(src, at, end, out) || out.used !== end - at) return -1;
    for (let i = 0; i < out.used; i++) if (out.bytes[i] !== src[at + i]) return -1;
    return end;
  };
}

const checkBool: FieldCheck = (src, at, limit) => {
  const first = src[at];
  if ((first !== 0x74 && first !== 0x66) || at + 1 >= limit) return -1;
  const after = src[at + 1];
  return after === COMMA || after === NEWLINE ? at + 1 : -1;
};

/** In quotes or not. Line ends inside of quotes are counted by the general way. */
const checkText: FieldCheck = (src, at, limit) => {
  if (src[at] !== QUOTE) {
    const end = unquotedEnd(src, at, limit);
    // `\.` is written in quotes.
    return end === at + 2 && src[at] === 0x5c && src[at + 1] === 0x2e ? -1 : end;
  }
  let i = at + 1;
  for (; i < limit; i++) {
    const byte = src[i]!;
    if (byte === NEWLINE || byte === 0x0d) return -1;
    if (byte !== QUOTE) continue;
    if (i + 1 >= limit) return -1;
    if (src[i + 1] !== QUOTE) return fieldEnd(src, i + 1);
    i++;
  }
  return -1;
};

/** In quotes, as a document with blanks and commas must be; others are short and rare. */
const checkJsonb: FieldCheck = (src, at, limit) => {
  if (src[at] === QUOTE) {
    const end = canonicalJsonbEnd(src, at + 1, limit, 2);
    return end < 0 || end + 1 >= limit || src[end] !== QUOTE ? -1 : fieldEnd(src, end + 1);
  }
  const end = unquotedEnd(src, at, limit);
  return end >= 0 && canonicalJsonbEnd(src, at, end, 1) === end ? end : -1;
};

function fieldEnd(src: Buffer, at: number): number {
  return src[at] === COMMA || src[at] === NEWLINE ? at : -1;
}
