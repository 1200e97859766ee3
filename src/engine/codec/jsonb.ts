/** Is a text already what PostgreSQL prints for the jsonb of it? */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const SPACE = 0x20;
const MAX_DEPTH = 200;
/** Above this a number's or string's length is left to PostgreSQL to judge. */
const MAX_NUMBER = 100;

/**
 * Strict scanner: `{"k": v, "k2": v2}` with keys ascending by (length, bytes), one blank after `:` and `,`, plain numbers, the escapes that
 * PostgreSQL writes and no others. False says nothing but that this could not be proved. The bytes must be valid UTF-8.
 */
export function isCanonicalJsonb(bytes: Uint8Array, start: number, end: number): boolean {
  return canonicalJsonbEnd(bytes, start, end, 1) === end;
}

/**
 * The position behind the canonical document that begins at `start`; -1 where it is not provably one, or does not end before `end`.
 * @param quoteBytes 2: every quotation mark stands twice, as inside of a CSV field in quotes.
 */
export function canonicalJsonbEnd(bytes: Uint8Array, start: number, end: number, quoteBytes: 1 | 2): number {
  return valueEnd(bytes, start, end, quoteBytes, 0);
}

/** Bytes at which the scan of a string stops: control characters, quotation mark, backslash. */
const STRING_STOP = new Uint8Array(256);
STRING_STOP.fill(1, 0, 0x20);
STRING_STOP[QUOTE] = STRING_STOP[BACKSLASH] = 1;

function valueEnd(bytes: Uint8Array, at: number, end: number, quoteBytes: number, depth: number): number {
  if (at >= end || depth > MAX_DEPTH) return -1;
  switch (bytes[at]) {
    case 0x7b:
      return objectEnd(bytes, at, end, quoteBytes, depth);
    case 0x5b:
      return arrayEnd(bytes, at, end, quoteBytes, depth);
    case QUOTE:
      return stringEnd(bytes, at, end, quoteBytes);
    case 0x74:
      return wordEnd(bytes, at, end, 'true');
    case 0x66:
      return wordEnd(bytes, at, end, 'false');
    case 0x6e:
      return wordEnd(bytes, at, end, 'null');
    default:
      return numberEnd(bytes, at, end);
  }
}

function wordEnd(bytes: Uint8Array, at: number, end: number, text: string): number {
  if (at + text.length > end) return -1;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return -1;
  return at + text.length;
}

function arrayEnd(bytes: Uint8Array, start: number, end: number, quoteBytes: number, depth: number): number {
  let at = start + 1;
  if (at < end && bytes[at] === 0x5d) return at + 1;
  for (;;) {
    at = valueEnd(bytes, at, end, quoteBytes, depth + 1);
    if (at < 0 || at >= end) return -1;
    if (bytes[at] === 0x5d) return at + 1;
    if (bytes[at] !== COMMA || bytes[at + 1] !== SPACE) return -1;
    at += 2;
  }
}

function objectEnd(bytes: Uint8Array, start: number, end: number, quoteBytes: number, depth: number): number {
  let at = start + 1;
  if (at < end && bytes[at] === 0x7d) return at + 1;
  let lastStart = -1;
  let lastEnd = -1;
  for (;;) {
    const keyStart = at + quoteBytes;
    const keyEnd = plainStringEnd(bytes, at, end, quoteBytes);
    if (keyEnd < 0 || (lastStart >= 0 && !ascends(bytes, lastStart, lastEnd, keyStart, keyEnd))) return -1;
    lastStart = keyStart;
    lastEnd = keyEnd;
    at = keyEnd + quoteBytes;
    if (bytes[at] !== COLON || bytes[at + 1] !== SPACE) return -1;
    at = valueEnd(bytes, at + 2, end, quoteBytes, depth + 1);
    if (at < 0 || at >= end) return -1;
    if (bytes[at] === 0x7d) return at + 1;
    if (bytes[at] !== COMMA || bytes[at + 1] !== SPACE) return -1;
    at += 2;
  }
}

function ascends(bytes: Uint8Array, aStart: number, aEnd: number, bStart: number, bEnd: number): boolean {
  const length = aEnd - aStart;
  if (length !== bEnd - bStart) return length < bEnd - bStart;
  for (let i = 0; i < length; i++) {
    const difference = bytes[aStart + i]! - bytes[bStart + i]!;
    if (difference !== 0) return difference < 0;
  }
  return false;
}

/** Is there a (doubled, for 2) quotation mark at a position? */
function isQuote(bytes: Uint8Array, at: number, end: number, quoteBytes: number): boolean {
  return at + quoteBytes <= end && bytes[at] === QUOTE && (quoteBytes === 1 || bytes[at + 1] === QUOTE);
}

/** A key: the position of its closing quotation mark. One with an escape is another key than its bytes say: its order is not judged here. */
function plainStringEnd(bytes: Uint8Array, start: number, end: number, quoteBytes: number): number {
  if (!isQuote(bytes, start, end, quoteBytes)) return -1;
  let at = start + quoteBytes;
  while (at < end && STRING_STOP[bytes[at]!] === 0) at++;
  return isQuote(bytes, at, end, quoteBytes) ? at : -1;
}

function stringEnd(bytes: Uint8Array, start: number, end: number, quoteBytes: number): number {
  if (!isQuote(bytes, start, end, quoteBytes)) return -1;
  let at = start + quoteBytes;
  for (;;) {
    while (at < end && STRING_STOP[bytes[at]!] === 0) at++;
    if (at >= end) return -1;
    if (bytes[at] !== BACKSLASH) return isQuote(bytes, at, end, quoteBytes) ? at + quoteBytes : -1;
    // escape_json writes these and \u00XX for other control characters; the latter is left to PostgreSQL.
    at++;
    if (isQuote(bytes, at, end, quoteBytes)) at += quoteBytes;
    else if (at < end && isPlainEscape(bytes[at]!)) at++;
    else return -1;
  }
}

function numberEnd(bytes: Uint8Array, start: number, end: number): number {
  const negative = bytes[start] === 0x2d;
  const first = negative ? start + 1 : start;
  let at = digitsEnd(bytes, first, end);
  if (at === first || (bytes[first] === 0x30 && at > first + 1)) return -1;
  if (at < end && bytes[at] === 0x2e) {
    const fraction = at + 1;
    at = digitsEnd(bytes, fraction, end);
    if (at === fraction) return -1;
  }
  if (at - start > MAX_NUMBER) return -1;
  // -0 is printed as 0.
  return !negative || hasNonZero(bytes, first, at) ? at : -1;
}

function hasNonZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i]! > 0x30) return true;
  return false;
}

function digitsEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && bytes[at]! >= 0x30 && bytes[at]! <= 0x39) at++;
  return at;
}

function isPlainEscape(byte: number): boolean {
  // \\ \b \f \n \r \t; \" is looked at by its own width
  return byte === BACKSLASH || byte === 0x62 || byte === 0x66 || byte === 0x6e || byte === 0x72 || byte === 0x74;
}
