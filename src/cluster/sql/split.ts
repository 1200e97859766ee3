/**
 * Cuts a script into statements at semicolons outside of quotes, comments and parentheses, by PostgreSQL's lexical rules
 * (standard_conforming_strings on): '…' with '' inside, E'…' with backslashes, "…", $tag$…$tag$, -- to the end of the line,
 * nested slash-star comments. What stands after the last semicolon is `rest`.
 */
export function splitStatements(script: string): { statements: string[]; rest: string } {
  const statements: string[] = [];
  let start = 0;
  let depth = 0;
  let at = 0;
  while (at < script.length) {
    const skipped = skipToken(script, at);
    if (skipped > at) {
      at = skipped;
      continue;
    }
    const c = script[at];
    if (c === '(') depth++;
    else if (c === ')') depth = Math.max(0, depth - 1);
    else if (c === ';' && depth === 0) {
      const text = script.slice(start, at).trim();
      if (text !== '') statements.push(text);
      start = at + 1;
    }
    at++;
  }
  return { statements, rest: script.slice(start) };
}

/** End of the quoted text or comment that begins at `at`; `at` itself when none does. An unclosed one reaches to the end. */
function skipToken(script: string, at: number): number {
  const c = script[at];
  if (c === "'") return skipQuoted(script, at, "'", /[eE]/.test(script[at - 1] ?? '') && !/[\w$]/.test(script[at - 2] ?? ''));
  if (c === '"') return skipQuoted(script, at, '"', false);
  if (c === '-' && script[at + 1] === '-') {
    const end = script.indexOf('\n', at);
    return end === -1 ? script.length : end;
  }
  if (c === '/' && script[at + 1] === '*') return skipComment(script, at);
  if (c === '$' && !/[\w$]/.test(script[at - 1] ?? '')) {
    const tag = /^\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/.exec(script.slice(at, at + 70))?.[0];
    if (tag === undefined) return at;
    const end = script.indexOf(tag, at + tag.length);
    return end === -1 ? script.length : end + tag.length;
  }
  return at;
}

function skipQuoted(script: string, at: number, quote: string, backslash: boolean): number {
  for (let i = at + 1; i < script.length; i++) {
    if (backslash && script[i] === '\\') i++;
    else if (script[i] === quote) {
      if (script[i + 1] === quote) i++;
      else return i + 1;
    }
  }
  return script.length;
}

function skipComment(script: string, at: number): number {
  let depth = 0;
  for (let i = at; i < script.length - 1; i++) {
    const two = script.slice(i, i + 2);
    if (two === '/*') {
      depth++;
      i++;
    } else if (two === '*/') {
      depth--;
      i++;
      if (depth === 0) return i + 1;
    }
  }
  return script.length;
}
