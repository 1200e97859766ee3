import { describe, expect, it } from 'vitest';
import { PublishLock } from './publish-lock.js';

describe('the publish lock', () => {
  it('lets one side in together and keeps the other out, in order', async () => {
    const lock = new PublishLock();
    const seen: string[] = [];
    expect(lock.tryAcquire('publish')).toBe(true);
    expect(lock.tryAcquire('publish')).toBe(true);
    expect(lock.tryAcquire('open')).toBe(false);
    const opened = lock.acquire('open').then(() => seen.push('open 1'));
    const second = lock.acquire('open').then(() => seen.push('open 2'));
    expect(lock.tryAcquire('publish')).toBe(false);
    const publish = lock.acquire('publish').then(() => seen.push('publish'));
    lock.release();
    await Promise.resolve();
    expect(seen).toEqual([]);
    lock.release();
    await Promise.all([opened, second]);
    expect(seen).toEqual(['open 1', 'open 2']);
    lock.release();
    lock.release();
    await publish;
    lock.release();
    expect(lock.tryAcquire('open')).toBe(true);
  });
});
