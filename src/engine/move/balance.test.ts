import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balanceMoves, type PlacedSet } from './balance.js';

const spread = (colocationId: number, counts: Record<number, number>): PlacedSet[] => {
  let index = 0;
  return Object.entries(counts).flatMap(([content, count]) =>
    Array.from({ length: count }, () => ({
      setKey: `c${colocationId}_${index++}`,
      colocationId,
      content: Number(content),
      bytes: 100 + index,
    })),
  );
};
const after = (sets: PlacedSet[], contents: number[]) => {
  const moves = balanceMoves(sets, contents);
  const target = new Map(moves.map((move) => [move.setKey, move.target]));
  const counts = new Map(contents.map((content) => [content, 0]));
  for (const set of sets) {
    const at = target.get(set.setKey) ?? set.content;
    counts.set(at, (counts.get(at) ?? 0) + 1);
  }
  return { moves, counts };
};

describe('balance', () => {
  it('from two segments to four moves half, each set once', () => {
    const { moves, counts } = after(spread(2, { 0: 16, 1: 16 }), [0, 1, 2, 3]);
    expect(moves).toHaveLength(16);
    expect([...counts.values()]).toEqual([8, 8, 8, 8]);
  });

  it('does nothing where all is even, and one set too many may stay where it is', () => {
    expect(balanceMoves(spread(2, { 0: 11, 1: 11, 2: 10 }), [0, 1, 2])).toEqual([]);
  });

  it('empties segments that are to go', () => {
    const { moves, counts } = after(spread(2, { 0: 4, 1: 4, 2: 4 }), [0, 1]);
    expect(moves.every((move) => move.source === 2)).toBe(true);
    expect([...counts.values()]).toEqual([6, 6]);
  });

  it('moves the smallest sets', () => {
    const sets = spread(2, { 0: 4 });
    expect(balanceMoves(sets, [0, 1]).map((move) => move.setKey)).toEqual(['c2_0', 'c2_1']);
  });

  it('is even and needs the fewest moves, whatever the start', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 8 }),
        (counts, nodes) => {
          const sets = spread(2, Object.fromEntries(counts.map((count, content) => [content, count])));
          const contents = Array.from({ length: nodes }, (_, i) => i);
          const { moves, counts: result } = after(sets, contents);
          const values = contents.map((content) => result.get(content) ?? 0);
          expect(Math.max(...values) - Math.min(...values)).toBeLessThanOrEqual(1);
          // Fewest: what lies above the evenest quotas that favour the fullest, and all that must leave.
          const n = sets.length;
          const base = Math.floor(n / nodes);
          const sorted = contents.map((content) => counts[content] ?? 0).sort((a, b) => b - a);
          const kept = sorted.reduce((sum, have, i) => sum + Math.min(have, base + (i < n - base * nodes ? 1 : 0)), 0);
          expect(moves).toHaveLength(n - kept);
        },
      ),
    );
  });
});
