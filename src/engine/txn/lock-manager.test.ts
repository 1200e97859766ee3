import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LockName } from '../../model/log.js';
import { LockManager, type LockMode } from './lock-manager.js';

const on = (name: string, mode: LockMode): LockName => ({ name, mode });
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A request with what became of it. */
function ask(locks: LockManager, owner: string, names: LockName[], options = {}) {
  const request = { state: 'waiting', error: null as { sqlstate?: string; fields?: { detail?: string } } | null };
  locks.acquire(owner, names, options).then(
    () => {
      request.state = 'granted';
    },
    (error) => {
      request.state = 'refused';
      request.error = error;
    },
  );
  return request;
}

describe('lock manager', () => {
  const matrix: [LockMode, LockMode, boolean][] = [
    ['X', 'X', false],
    ['X', 'A', false],
    ['X', 'W', false],
    ['X', 'S', false],
    ['A', 'A', true],
    ['A', 'W', true],
    ['A', 'S', true],
    ['W', 'W', false],
    ['W', 'S', false],
    ['S', 'S', true],
  ];
  it.each(matrix)('%s beside %s: %s', async (first, second, together) => {
    for (const [a, b] of [
      [first, second],
      [second, first],
    ] as const) {
      const locks = new LockManager();
      ask(locks, 'a', [on('k', a)]);
      const other = ask(locks, 'b', [on('k', b)]);
      await turn();
      expect(other.state).toBe(together ? 'granted' : 'waiting');
    }
  });

  it('is fair: a reader who comes later waits behind a writer who waits', async () => {
    const locks = new LockManager();
    ask(locks, 'a', [on('k', 'S')]);
    const writer = ask(locks, 'b', [on('k', 'X')]);
    const reader = ask(locks, 'c', [on('k', 'S')]);
    await turn();
    expect([writer.state, reader.state]).toEqual(['waiting', 'waiting']);
    locks.releaseAll('a');
    await turn();
    expect([writer.state, reader.state]).toEqual(['granted', 'waiting']);
    locks.releaseAll('b');
    await turn();
    expect(reader.state).toBe('granted');
  });

  it('finds a deadlock of three and names the circle', async () => {
    const locks = new LockManager();
    for (const [owner, name] of [
      ['a', 'k1'],
      ['b', 'k2'],
      ['c', 'k3'],
    ] as const)
      ask(locks, owner, [on(name, 'X')]);
    const first = ask(locks, 'a', [on('k2', 'X')]);
    const second = ask(locks, 'b', [on('k3', 'X')]);
    const third = ask(locks, 'c', [on('k1', 'X')]);
    await turn();
    expect([first.state, second.state, third.state]).toEqual(['waiting', 'waiting', 'refused']);
    expect(third.error?.sqlstate).toBe('40P01');
    expect(third.error?.fields?.detail?.split('\n')).toHaveLength(3);
    locks.releaseAll('c');
    await turn();
    expect(second.state).toBe('granted');
  });

  it('two who hold S and both want X: the second is refused', async () => {
    const locks = new LockManager();
    ask(locks, 'a', [on('k', 'S')]);
    ask(locks, 'b', [on('k', 'S')]);
    const first = ask(locks, 'a', [on('k', 'X')]);
    const second = ask(locks, 'b', [on('k', 'X')]);
    await turn();
    expect([first.state, second.state]).toEqual(['waiting', 'refused']);
    locks.releaseAll('b');
    await turn();
    expect(first.state).toBe('granted');
    expect(locks.heldBy('a')).toHaveLength(2);
  });

  it('takes all or none, times out with 55P03, and lets those behind go on', async () => {
    const locks = new LockManager();
    ask(locks, 'a', [on('k2', 'X')]);
    const late = ask(locks, 'b', [on('k2', 'X'), on('k1', 'X')], { timeoutMs: 5 });
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([late.state, late.error?.sqlstate]).toEqual(['refused', '55P03']);
    expect(locks.heldBy('b')).toEqual([]);
    const other = ask(locks, 'c', [on('k1', 'X')]);
    await turn();
    expect(other.state).toBe('granted');
  });

  it('refuses nobody because of one who only tries for a moment', async () => {
    const locks = new LockManager();
    ask(locks, 'writer', [on('k2', 'X')]);
    const mover = ask(locks, 'mover', [on('k1', 'X'), on('k2', 'X')], { timeoutMs: 20, yields: true });
    const writer = ask(locks, 'writer', [on('k1', 'X')]);
    await turn();
    expect([mover.state, writer.state]).toEqual(['waiting', 'waiting']);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect([mover.state, writer.state]).toEqual(['refused', 'granted']);
  });

  it('gives up on cancel with 57014', async () => {
    const locks = new LockManager();
    const cancel = new AbortController();
    ask(locks, 'a', [on('k', 'X')]);
    const waiting = ask(locks, 'b', [on('k', 'S')], { signal: cancel.signal });
    cancel.abort();
    await turn();
    expect([waiting.error?.sqlstate, locks.waiters]).toEqual(['57014', 0]);
  });

  it('says whether a reader would get a lock at once', async () => {
    const locks = new LockManager();
    expect(locks.shared('k')).toBe(true);
    ask(locks, 'a', [on('k', 'S')]);
    ask(locks, 'b', [on('k', 'A')]);
    expect(locks.shared('k')).toBe(true);
    const ddl = ask(locks, 'c', [on('k', 'X')]);
    await turn();
    expect([ddl.state, locks.shared('k')]).toEqual(['waiting', false]);
    locks.releaseAll('a');
    locks.releaseAll('b');
    await turn();
    expect([ddl.state, locks.shared('k')]).toEqual(['granted', false]);
    locks.releaseAll('c');
    expect(locks.shared('k')).toBe(true);
  });

  it('imports the locks of a prepared transaction', async () => {
    const locks = new LockManager();
    locks.import('1.1.1', [on('set:c2_0', 'X')]);
    const writer = ask(locks, 'b', [on('set:c2_0', 'X')]);
    await turn();
    expect(writer.state).toBe('waiting');
    locks.releaseAll('1.1.1');
    await turn();
    expect(writer.state).toBe('granted');
  });

  it('any run of requests: no two owners hold what excludes, and all ends', async () => {
    const step = fc.record({
      owner: fc.constantFrom('a', 'b', 'c', 'd'),
      name: fc.constantFrom('k1', 'k2', 'k3'),
      mode: fc.constantFrom<LockMode>('X', 'A', 'W', 'S'),
      end: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const locks = new LockManager();
        const busy = new Map<string, { state: string }>();
        for (const { owner, name, mode, end } of steps) {
          if (busy.get(owner)?.state === 'waiting') continue;
          if (end || busy.get(owner)?.state === 'refused') locks.releaseAll(owner);
          busy.set(owner, ask(locks, owner, [on(name, mode)]));
          await turn();
          expect(locks.conflicts()).toEqual([]);
        }
        // Whoever does not wait ends; without a circle everybody gets his turn.
        for (let round = 0; round < 10 && locks.waiters > 0; round++) {
          for (const [owner, request] of busy) if (request.state !== 'waiting') locks.releaseAll(owner);
          await turn();
        }
        expect(locks.waiters).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
