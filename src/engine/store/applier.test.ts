import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Applier } from './applier.js';
import { ColumnarStore, type ColumnarWork } from './columnar.js';
import { testDirectory } from './harness.test-util.js';
import { PublishLock } from './publish-lock.js';

let directory: string;
let store: ColumnarStore;
let failures: unknown[];

beforeEach(async () => {
  directory = testDirectory();
  failures = [];
  store = await ColumnarStore.open({
    path: join(directory, 'columnar.db'),
    temporaryDirectory: directory,
    memoryMb: 128,
    threads: 1,
    tempLimitMb: 100,
  });
});

afterEach(() => {
  store.close();
  rmSync(directory, { recursive: true, force: true });
  expect(failures).toEqual([]);
});

const nothing = (lsn: number): ColumnarWork => ({ lsn, ddl: [], changes: [], src: null });

/** Microtasks, which is what lies between the end of one group and the next work of whoever waited for it. */
async function ticks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await null;
}

describe('the columnar applier', () => {
  it('takes a work at whatever moment after the last group it comes', async () => {
    const applier = new Applier(
      store,
      new PublishLock(),
      (name) => name,
      (error) => failures.push(error),
    );
    let lsn = 10;
    for (let depth = 0; depth < 24; depth++) {
      await applier.publish(nothing(lsn++));
      await ticks(depth);
      let others = false;
      await applier.publish(nothing(lsn++), () => {
        others = true;
      });
      expect(others).toBe(true);
      expect(applier.oldestPending).toBeNull();
    }
    expect(store.applied).toBe(lsn - 1);
  });
});
