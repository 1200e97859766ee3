import { describe, expect, it } from 'vitest';
import { unwrap } from './unwrap.js';

/** format_node_dump as PostgreSQL has it, over bytes. */
function wrap(text: string): Buffer {
  const dump = Buffer.from(text);
  const lines: Buffer[] = [];
  let i = 0;
  for (;;) {
    let end = Math.min(i + 78, dump.length);
    if (end === dump.length) {
      lines.push(dump.subarray(i), Buffer.from('\n'));
      return Buffer.concat(lines);
    }
    let next = end;
    if (dump[end] === 0x20) {
      next = end + 1;
    } else {
      const space = dump.subarray(i + 1, end).lastIndexOf(0x20);
      if (space >= 0) {
        end = i + 1 + space;
        next = end + 1;
      }
    }
    lines.push(dump.subarray(i, end), Buffer.from('\n'));
    i = next;
  }
}

describe('unwrap', () => {
  it('puts spaces back', () => {
    const text = `({QUERY ${':field 12345 '.repeat(40)}:last <>})`;
    expect(unwrap(wrap(text)).trimEnd()).toBe(text);
  });

  it('puts long tokens together, escapes and characters included', () => {
    for (let shift = 0; shift < 90; shift++) {
      const name = `${'x'.repeat(shift)}${'\\(\\)'.repeat(10)}${'€'.repeat(12)}${'\\"'.repeat(8)}`;
      const text = `({A :name ${name} :next 1} {B :names ("${name}" "b") :n 2})`;
      expect(unwrap(wrap(text)).trimEnd()).toBe(text);
    }
  });

  it('keeps escaped spaces', () => {
    for (let shift = 0; shift < 90; shift++) {
      const text = `({A :pad ${'y'.repeat(shift)} :name ${'a\\ b\\ '.repeat(12)}c :next 1})`;
      expect(unwrap(wrap(text)).trimEnd()).toBe(text);
    }
  });
});
