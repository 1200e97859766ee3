/**
 * Reads what PostgreSQL prints under `debug_print_rewritten` (nodeToString: src/backend/nodes/outfuncs.c, read.c) into nodes.
 *
 * The text was wrapped inside long tokens too (unwrap.ts): a name can be damaged, everything else cannot. So names in the result are good
 * for nothing but being compared with each other (`ctename`), blanks counting as equal. The reader keeps its own stack: trees can be
 * deeper than JavaScript's.
 */
import { internalError } from '../../core/errors.js';
import type { Datum, TreeNode, TreeValue } from './tree.js';

/** Fields that hold a name: kept as text whatever they look like. */
const NAME_FIELDS = new Set(['ctename', 'resname', 'aliasname', 'refname', 'eref', 'enrname', 'cursor_name', 'name']);
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

interface Token {
  text: string;
  /** It had a backslash or stood in quotes: a string, never a number, NULL or keyword. */
  literal: boolean;
}

type Open =
  | { kind: 'node'; node: TreeNode; field: string | null }
  | { kind: 'list'; items: TreeValue[]; mark: '' | 'i' | 'o' | 'b' | 'x' };

/**
 * @param text `detail` of the notice `rewritten parse tree:`, unwrapped: one list of queries.
 * @returns its items, one QUERY for each statement that the rewriter made.
 */
export function readTree(text: string): TreeNode[] {
  const value = new Reader(text).read();
  if (!Array.isArray(value)) throw internalError('the query tree is not a list');
  return value.map((item) => {
    if (!isNode(item)) throw internalError('the query tree holds something that is not a node');
    return item;
  });
}

/** Tells nodes from datums, lists and plain values. */
export function isNode(value: TreeValue | undefined): value is TreeNode {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value as Datum).datum;
}

/** Visits every node of a tree, parents before children, without recursion. */
export function visitNodes(roots: readonly TreeValue[], visit: (node: TreeNode) => void): void {
  const stack: TreeValue[] = [...roots].reverse();
  while (stack.length > 0) {
    const value = stack.pop();
    if (Array.isArray(value)) {
      for (let i = value.length - 1; i >= 0; i--) stack.push(value[i] as TreeValue);
    } else if (isNode(value)) {
      visit(value);
      const children = Object.values(value);
      for (let i = children.length - 1; i >= 0; i--) {
        const child = children[i];
        if (typeof child === 'object' && child !== null) stack.push(child);
      }
    }
  }
}

class Reader {
  private at = 0;
  private readonly open: Open[] = [];
  private result: TreeValue | undefined;

  constructor(private readonly text: string) {}

  read(): TreeValue {
    while (this.result === undefined) {
      this.skipSpace();
      if (this.at >= this.text.length) throw internalError('the query tree ends too early');
      this.step();
    }
    return this.result;
  }

  private step(): void {
    const char = this.text[this.at];
    const top = this.open.at(-1);
    if (char === '{') {
      this.openNode();
    } else if (char === '(') {
      this.openList();
    } else if (char === '}' || char === ')') {
      this.close(char);
    } else if (char === ':' && top?.kind === 'node') {
      this.at += 1;
      top.field = this.token().text;
    } else {
      this.plain(top);
    }
  }

  private openNode(): void {
    this.at += 1;
    this.skipSpace();
    this.open.push({ kind: 'node', node: { node: this.token().text }, field: null });
  }

  private openList(): void {
    this.at += 1;
    this.skipSpace();
    const mark = this.text[this.at];
    const next = this.text[this.at + 1];
    const isMark =
      (mark === 'i' || mark === 'o' || mark === 'b' || mark === 'x') && (next === ' ' || next === '\n' || next === ')');
    if (isMark) this.at += 1;
    this.open.push({ kind: 'list', items: [], mark: isMark ? mark : '' });
  }

  private close(char: string): void {
    this.at += 1;
    const top = this.open.pop();
    if (top === undefined || (top.kind === 'node') !== (char === '}'))
      throw internalError(`unexpected ${char} in the query tree`);
    if (top.kind === 'node') this.put(top.node);
    else this.put(top.items);
  }

  private plain(top: Open | undefined): void {
    const token = this.token();
    // A datum is `length [ b b … ]`; the length is that of the value, or of its word where the type is passed by value.
    if (!token.literal && top?.kind === 'node' && NUMBER.test(token.text) && this.peek() === '[') {
      this.put({ datum: this.datum() });
      return;
    }
    const isName = top?.kind === 'node' && top.field !== null && NAME_FIELDS.has(top.field);
    this.put(convert(token, isName));
  }

  private datum(): Uint8Array {
    const end = this.text.indexOf(']', this.at);
    if (end < 0) throw internalError('a constant of the query tree has no end');
    const inner = this.text.slice(this.at + 1, end).trim();
    this.at = end + 1;
    if (inner === '') return new Uint8Array(0);
    return Uint8Array.from(inner.split(/\s+/), (byte) => Number(byte) & 255);
  }

  private put(value: TreeValue): void {
    const top = this.open.at(-1);
    if (top === undefined) {
      this.result = value;
    } else if (top.kind === 'list') {
      top.items.push(value);
    } else {
      this.putField(top, value);
    }
  }

  private putField(top: Open & { kind: 'node' }, value: TreeValue): void {
    if (top.field !== null) {
      top.node[top.field] = value;
      top.field = null;
      return;
    }
    // A further value of the last field: raw nodes of utility statements print such (A_CONST's value). Kept as `value`.
    top.node.value = value;
  }

  private skipSpace(): void {
    while (this.at < this.text.length && isSpace(this.text.charCodeAt(this.at))) this.at += 1;
  }

  /** The next significant character, not consumed. */
  private peek(): string | undefined {
    this.skipSpace();
    return this.text[this.at];
  }

  /** Up to the next white space or bracket that is not escaped, as pg_strtok; a string of a list has quotes around it, and may have some within. */
  private token(): Token {
    const start = this.at;
    let escaped = false;
    while (this.at < this.text.length) {
      const code = this.text.charCodeAt(this.at);
      if (code === BACKSLASH) {
        escaped = true;
        this.at += 2;
      } else if (isSpace(code) || isBracket(code)) {
        break;
      } else {
        this.at += 1;
      }
    }
    if (this.at === start) throw internalError(`unexpected text in the query tree at ${start}`);
    const raw = this.text.slice(start, this.at);
    if (raw.length > 1 && raw.startsWith('"') && raw.endsWith('"'))
      return { text: withoutBackslashes(raw.slice(1, -1)), literal: true };
    return escaped ? { text: withoutBackslashes(raw), literal: true } : { text: raw, literal: false };
  }
}

const BACKSLASH = 0x5c;

function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 0x09 && code <= 0x0d);
}

function isBracket(code: number): boolean {
  return code === 0x28 || code === 0x29 || code === 0x7b || code === 0x7d;
}

function withoutBackslashes(raw: string): string {
  return raw.includes('\\') ? raw.replace(/\\([\s\S])/g, '$1') : raw;
}

function convert(token: Token, isName: boolean): TreeValue {
  const { text, literal } = token;
  if (literal) return isName ? text.replace(/\s/g, ' ') : text;
  if (text === '<>') return null;
  if (isName) return text;
  if (text === 'true') return true;
  if (text === 'false') return false;
  return NUMBER.test(text) ? Number(text) : text;
}
