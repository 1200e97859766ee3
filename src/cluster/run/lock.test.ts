import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withLock } from './lock.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'damson-lock-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('withLock', () => {
  it('lets one command work at a time, and names it to the second', async () => {
    const inner = await withLock(directory, 'damson start', async () =>
      withLock(directory, 'damson stop', async () => 'never').catch((error: Error) => error.message),
    );
    expect(inner).toBe(`another operation is running: damson start (process ${process.pid})`);
    expect(existsSync(join(directory, 'admin.lock'))).toBe(false);
    expect(await withLock(directory, 'damson stop', async () => 'now')).toBe('now');
  });

  it('is free again after a failure, and takes over what a process left that has ended', async () => {
    await expect(withLock(directory, 'a', () => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    // This process is alive, but it began at another time.
    writeFileSync(join(directory, 'admin.lock'), JSON.stringify({ pid: process.pid, began: '1', command: 'old' }));
    expect(await withLock(directory, 'b', async () => 'done')).toBe('done');
  });
});
