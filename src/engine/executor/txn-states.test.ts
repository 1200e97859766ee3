import { describe, expect, it } from 'vitest';
import { nextPhase, TXN_ROWS } from './txn-states.js';

describe('states of a transaction', () => {
  it('has one row for each pair', () => {
    expect(new Set(TXN_ROWS.map(({ from, event }) => `${from}/${event}`)).size).toBe(TXN_ROWS.length);
  });

  it('reaches every state, and leaves none that is not an end', () => {
    const ends = new Set(['COMMITTED', 'ABORTED', 'LOST']);
    const reached = new Set(['ACTIVE', ...TXN_ROWS.map((row) => row.to)]);
    for (const row of TXN_ROWS) expect(reached).toContain(row.from);
    for (const phase of reached) expect(TXN_ROWS.some((row) => row.from === phase)).toBe(!ends.has(phase));
  });

  it('refuses a pair without a row', () => {
    expect(() => nextPhase('1.1.1', 'COMMITTED', 'abort')).toThrow(/no way from COMMITTED/);
  });
});
