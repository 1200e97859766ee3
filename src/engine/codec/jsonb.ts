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
  const scanner = new Scanner(bytes, start, end);
  return scanner.value(0) && scanner.at === end;
}

class Scanner {
  constructor(
    private readonly bytes: Uint8Array,
    public at: number,
    private readonly end: number,
  ) {}

  value(depth: number): boolean {
    if (this.at >= this.end || depth > MAX_DEPTH) return false;
    switch (this.bytes[this.at]) {
      case 0x7b:
        return this.object(depth);
      case 0x5b:
        return this.array(depth);
      case QUOTE:
        return this.string();
      case 0x74:
        return this.word('true');
      case 0x66:
        return this.word('false');
      case 0x6e:
        return this.word('null');
      default:
        return this.number();
    }
  }

  private word(text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.bytes[this.at + i] !== text.charCodeAt(i)) return false;
    this.at += text.length;
    return this.at <= this.end;
  }

  private eat(byte: number): boolean {
    if (this.at >= this.end || this.bytes[this.at] !== byte) return false;
    this.at++;
    return true;
  }

  private array(depth: number): boolean {
    this.at++;
    if (this.eat(0x5d)) return true;
    for (;;) {
      if (!this.value(depth + 1)) return false;
      if (this.eat(0x5d)) return true;
      if (!this.eat(COMMA) || !this.eat(SPACE)) return false;
    }
  }

  private object(depth: number): boolean {
    this.at++;
    if (this.eat(0x7d)) return true;
    let lastStart = -1;
    let lastEnd = -1;
    for (;;) {
      const keyStart = this.at + 1;
      if (!this.string()) return false;
      const keyEnd = this.at - 1;
      // A key with an escape is another key than its bytes say: its order is not judged here.
      for (let i = keyStart; i < keyEnd; i++) if (this.bytes[i] === BACKSLASH) return false;
      if (lastStart >= 0 && !this.ascends(lastStart, lastEnd, keyStart, keyEnd)) return false;
      lastStart = keyStart;
      lastEnd = keyEnd;
      if (!this.eat(COLON) || !this.eat(SPACE) || !this.value(depth + 1)) return false;
      if (this.eat(0x7d)) return true;
      if (!this.eat(COMMA) || !this.eat(SPACE)) return false;
    }
  }

  private ascends(aStart: number, aEnd: number, bStart: number, bEnd: number): boolean {
    const length = aEnd - aStart;
    if (length !== bEnd - bStart) return length < bEnd - bStart;
    for (let i = 0; i < length; i++) {
      const difference = this.bytes[aStart + i]! - this.bytes[bStart + i]!;
      if (difference !== 0) return difference < 0;
    }
    return false;
  }

  private string(): boolean {
    if (!this.eat(QUOTE)) return false;
    while (this.at < this.end) {
      const byte = this.bytes[this.at++]!;
      if (byte === QUOTE) return true;
      if (byte < 0x20) return false;
      // escape_json writes these and \u00XX for other control characters; the latter is left to PostgreSQL.
      if (byte === BACKSLASH && !isPlainEscape(this.bytes[this.at++])) return false;
    }
    return false;
  }

  private number(): boolean {
    const { bytes } = this;
    const start = this.at;
    const negative = bytes[this.at] === 0x2d;
    if (negative) this.at++;
    const first = this.at;
    if (!this.digits()) return false;
    if (bytes[first] === 0x30 && this.at > first + 1) return false;
    if (this.at < this.end && bytes[this.at] === 0x2e) {
      this.at++;
      if (!this.digits()) return false;
    }
    if (this.at - start > MAX_NUMBER) return false;
    return !negative || this.hasNonZero(first);
  }

  /** -0 is printed as 0. */
  private hasNonZero(from: number): boolean {
    for (let i = from; i < this.at; i++) if (this.bytes[i]! > 0x30) return true;
    return false;
  }

  private digits(): boolean {
    const start = this.at;
    while (this.at < this.end && this.bytes[this.at]! >= 0x30 && this.bytes[this.at]! <= 0x39) this.at++;
    return this.at > start;
  }
}

function isPlainEscape(byte: number | undefined): boolean {
  // \" \\ \b \f \n \r \t
  return (
    byte === QUOTE || byte === BACKSLASH || byte === 0x62 || byte === 0x66 || byte === 0x6e || byte === 0x72 || byte === 0x74
  );
}
