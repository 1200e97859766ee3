import { describe, expect, it } from 'vitest';
import { bytesText, durationText, renderTable } from './table.js';

describe('renderTable', () => {
  it('lines up wide letters, aligns numbers right, keeps empty rows', () => {
    expect(
      renderTable(
        ['naïve', '数'],
        [
          ['漢字', '5'],
          ['', null],
          ['abc', '1234'],
        ],
        { numeric: [false, true] },
      ).split('\n'),
    ).toEqual([' naïve |   数', ' ------+-----', ' 漢字  |    5', '       |', ' abc   | 1234']);
  });

  it('shows a header without rows, a row with several lines, and control characters as escapes', () => {
    expect(renderTable(['a', 'b'], [])).toBe(' a | b\n --+--');
    expect(renderTable(['a', 'b'], [['x\ny', '1']]).split('\n')).toEqual([' a | b', ' --+--', ' x | 1', ' y |']);
    expect(renderTable(['a'], [['\u001b[31m']])).toContain('\\x1b[31m');
    expect(renderTable(['a'], [['']]).split('\n')).toEqual([' a', ' -', '']);
  });
});

describe('texts of numbers', () => {
  it('names bytes and durations', () => {
    expect([0, 1536, 5 * 1024 ** 3].map(bytesText)).toEqual(['0 bytes', '1.5 kB', '5.0 GB']);
    expect([null, 59_400, 3_723_000].map(durationText)).toEqual(['-', '59s', '1h 02m 03s']);
  });
});
