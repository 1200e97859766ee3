/** Bytes of a line in PostgreSQL's format_node_dump (src/backend/nodes/print.c). */
const LINE = 78;
const NEWLINE = 0x0a;
const BACKSLASH = 0x5c;

/**
 * Undoes the wrapping of a printed tree: format_node_dump breaks a line at the last space within 78 bytes, which the newline replaces; a line
 * without a space is cut after 78 bytes, in the middle of a token or of a character. A name that was so cut can, in rare cases, be put together
 * wrongly: where a cut and a space look alike, the choice below is the one that keeps the structure of the tree.
 *
 * @param bytes the text as it came: lines are counted in bytes.
 */
export function unwrap(bytes: Buffer): string {
  const out = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  let start = 0;
  let copied = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) {
    if (isContent(bytes, start, at)) continue;
    length += bytes.copy(out, length, copied, at);
    if (!isCut(bytes, start, at)) out[length++] = 0x20;
    copied = at + 1;
    start = at + 1;
  }
  length += bytes.copy(out, length, copied);
  return out.toString('utf8', 0, length);
}

/** A newline that belongs to a name: it is escaped, and the line goes on behind it. */
function isContent(bytes: Buffer, start: number, at: number): boolean {
  if (!isEscaped(bytes, at) || at - start >= LINE) return false;
  const next = bytes.indexOf(NEWLINE, at + 1);
  return next >= 0 && next - start <= LINE;
}

/** Nothing stood where the newline is: the line is full and had no space to break at, and what follows continues its token. */
function isCut(bytes: Buffer, start: number, at: number): boolean {
  if (at - start !== LINE || bytes.lastIndexOf(0x20, at - 1) > start) return false;
  if (isEscaped(bytes, at)) return true;
  const next = String.fromCharCode(bytes[at + 1] ?? 0x20);
  const closesString = bytes[at - 1] === 0x22 && !isEscaped(bytes, at - 1);
  return !(next === ':' || (next === '"' && closesString));
}

function isEscaped(bytes: Buffer, at: number): boolean {
  let backslashes = 0;
  while (bytes[at - 1 - backslashes] === BACKSLASH) backslashes += 1;
  return backslashes % 2 === 1;
}
