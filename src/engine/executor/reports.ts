/** What an instance says of itself: checksums at a barrier, sizes, the disk. */
import { SqlError } from '../../core/errors.js';
import type { Lsn } from '../../model/log.js';
import type { ShardChecksum, ShardSize } from '../../model/task.js';
import type { Stores } from '../store/types.js';
import { appendAndPublish, type Core } from './core.js';

/** Barriers whose checksums are kept until somebody asks for them. */
const KEPT_BARRIERS = 8;
const BARRIER_WAIT_MS = 10 * 60 * 1000;

export interface Checksums {
  shards: ShardChecksum[];
  applied: Lsn;
}

/** Checksums taken when the stores stood exactly at a BARRIER record. */
export class Barriers {
  private readonly taken = new Map<string, Checksums>();
  private readonly waiting = new Map<string, ((found: Checksums) => void)[]>();

  constructor(private readonly stores: Stores) {}

  /** Called with everything before the barrier applied and nothing behind it. */
  async reach(id: string): Promise<void> {
    await this.stores.flush();
    const found = await this.stores.checksums();
    this.taken.set(id, found);
    if (this.taken.size > KEPT_BARRIERS) this.taken.delete(this.taken.keys().next().value as string);
    for (const resolve of this.waiting.get(id) ?? []) resolve(found);
    this.waiting.delete(id);
  }

  /** Waits for a barrier that is still on its way here. */
  at(id: string): Promise<Checksums> {
    const found = this.taken.get(id);
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new SqlError('57014', `barrier ${id} was not reached in time`));
      }, BARRIER_WAIT_MS);
      timer.unref();
      const done = (checksums: Checksums): void => {
        clearTimeout(timer);
        resolve(checksums);
      };
      this.waiting.set(id, [...(this.waiting.get(id) ?? []), done]);
    });
  }
}

export async function logBarrier(core: Core, barriers: Barriers, id: string): Promise<{ lsn: Lsn }> {
  const { lsn, published } = appendAndPublish(
    core,
    { k: 'BARRIER', id },
    { heapSets: new Set(), columnar: false, publish: () => barriers.reach(id) },
  );
  await published;
  return { lsn };
}

export async function checksumsOf(core: Core, barriers: Barriers, barrier: string | null): Promise<Checksums> {
  if (barrier !== null) return barriers.at(barrier);
  await core.stores.flush();
  return core.stores.checksums();
}

export async function sizesOf(core: Core): Promise<{ shards: ShardSize[] }> {
  return { shards: await core.stores.sizes() };
}
