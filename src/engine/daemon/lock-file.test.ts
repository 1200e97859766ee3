import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockDirectory } from './lock-file.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'damson-lock-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('the lock of a data directory', () => {
  it('is held once, and can be taken again after release', () => {
    const lock = lockDirectory(directory);
    expect(() => lockDirectory(directory)).toThrow(/already serves/);
    lock.release();
    expect(existsSync(join(directory, 'damsond.lock'))).toBe(false);
    lockDirectory(directory).release();
  });

  it('replaces what a process left that has ended', async () => {
    const child = spawn(process.execPath, ['-e', '0']);
    await once(child, 'exit');
    writeFileSync(join(directory, 'damsond.lock'), JSON.stringify({ pid: child.pid, began: 'boot/1' }));
    lockDirectory(directory).release();
  });

  it('replaces a lock whose pid was given to another process', () => {
    writeFileSync(join(directory, 'damsond.lock'), JSON.stringify({ pid: process.pid, began: 'boot/1' }));
    lockDirectory(directory).release();
  });

  it('replaces a damaged file', () => {
    writeFileSync(join(directory, 'damsond.lock'), '');
    lockDirectory(directory).release();
  });
});
