import { describe, expect, it } from 'vitest';
import { Publisher } from './publisher.js';

class FakeSafe {
  private safe = 0;
  private waiters: { end: number; resolve: () => void }[] = [];
  waitSafe(end: number): Promise<void> {
    if (end <= this.safe) return Promise.resolve();
    return new Promise((resolve) => this.waiters.push({ end, resolve }));
  }
  raise(lsn: number): void {
    this.safe = lsn;
    for (const waiter of this.waiters) if (waiter.end <= lsn) waiter.resolve();
  }
}

function setUp() {
  const log = new FakeSafe();
  const order: string[] = [];
  const publisher = new Publisher(log, (error) => order.push(`fatal ${error.message}`));
  const add = (name: string, lsn: number, options: { set?: string; decided?: boolean } = {}) =>
    publisher.add({
      lsn,
      end: lsn + 10,
      heapSets: new Set([options.set ?? 's1']),
      columnar: false,
      decided: options.decided ?? false,
      publish: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        order.push(name);
      },
    });
  const open = (name: string, set = 's1') =>
    publisher.reading({ heapSets: [set], columnar: false }, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      order.push(name);
    });
  return { log, order, publisher, add, open };
}

describe('publication and readings', () => {
  it('publishes nothing before it is safe, and then in lsn order', async () => {
    const { log, order, add } = setUp();
    const a = add('a', 0);
    const b = add('b', 10);
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual([]);
    log.raise(10);
    await a;
    expect(order).toEqual(['a']);
    log.raise(20);
    await b;
    expect(order).toEqual(['a', 'b']);
  });

  it('opens a reading behind every second phase received before it and ahead of every commit received after', async () => {
    const { log, order, add, open, publisher } = setUp();
    const a = add('commit2', 0, { decided: true });
    expect(publisher.free({ heapSets: ['s1'], columnar: false })).toBe(false);
    const reading = open('open');
    const b = add('later', 10);
    log.raise(20);
    await Promise.all([a, reading, b]);
    expect(order).toEqual(['commit2', 'open', 'later']);
  });

  it('does not wait for a first phase, nor for other stores, and holds back what comes later', async () => {
    const { log, order, add, open } = setUp();
    void add('commit1', 0);
    void add('other', 10, { set: 's2', decided: true });
    const reading = open('open');
    log.raise(20);
    await reading;
    expect(order[0]).toBe('open');
  });

  it('drops what is not safe, and the readings behind it', async () => {
    const { publisher, add, open } = setUp();
    const a = add('a', 0, { decided: true });
    const reading = open('open');
    const settled = Promise.allSettled([a, reading]);
    await publisher.drop(new Error('role lost'));
    expect((await settled).map((one) => one.status)).toEqual(['rejected', 'rejected']);
  });

  it('gives the turn in which a record is safe to onSafe; a reading after it waits', async () => {
    const { log, order, publisher, open } = setUp();
    let reading: Promise<void> | undefined;
    const published = publisher.add({
      lsn: 0,
      end: 10,
      heapSets: new Set(['s1']),
      columnar: false,
      decided: false,
      onSafe: (entry) => {
        entry.decided = true;
        reading = open('open');
      },
      publish: async () => {
        order.push('decision');
      },
    });
    log.raise(10);
    await published;
    await reading;
    expect(order).toEqual(['decision', 'open']);
  });
});
