/** What the demo shows: sections, checks and tables, in plain text; colour only on a terminal. */
const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;
const paint = (code: number, text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);

const started = performance.now();
const failures: string[] = [];

export const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
export const number = (n: number) => n.toLocaleString('en-US');

export function section(title: string): void {
  process.stdout.write(`\n${paint(1, `== ${title}`)}  [${seconds(performance.now() - started)}]\n`);
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Bold on a terminal. */
export const emphasis = (text: string) => paint(1, text);

export function indent(text: string, by = '   '): string {
  return text
    .split('\n')
    .map((line) => (by + line).trimEnd())
    .join('\n');
}

/** A check of the demo. Any that fails makes the demo end with exit code 2. */
export function check(what: string, ok: boolean, detail = ''): void {
  say(`${ok ? paint(32, '  ok    ') : paint(31, '  FAILED')} ${what}${detail === '' ? '' : `: ${detail}`}`);
  if (!ok) failures.push(what);
}

export function failedChecks(): readonly string[] {
  return failures;
}

/** One line that is rewritten on a terminal, and printed now and then elsewhere. */
export function liveLine(): { update(text: string): void; done(text: string): void } {
  // The first one only after a while: what ends sooner needs no progress.
  let last = performance.now();
  return {
    update: (text) => {
      if (colour) process.stdout.write(`\r\u001b[K  ${text}`);
      else if (performance.now() - last > 3000) {
        last = performance.now();
        say(`  ${text}`);
      }
    },
    done: (text) => {
      if (colour) process.stdout.write('\r\u001b[K');
      say(`  ${text}`);
    },
  };
}
