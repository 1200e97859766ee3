/** Sets that an instance holds though they belong elsewhere: left by a move that failed, or whose row was lost with its expansion. */
import type { Logger } from '../../core/log.js';
import type { SetKey } from '../../model/table.js';
import { COORDINATOR_CONTENT } from '../../model/topology.js';
import type { CatalogView } from '../catalog/types.js';
import type { LockManager } from '../txn/lock-manager.js';
import { placeLock } from '../txn/names.js';
import type { Links } from '../txn/types.js';

export interface OrphanDeps {
  catalog: CatalogView;
  links: Pick<Links, 'of' | 'reads'>;
  locks: LockManager;
  logger: Logger;
}

const LOCK_MS = 10_000;

/** Neither placed on the content, nor coming there, nor about to be cleaned up by its move. */
export function isOrphan(catalog: CatalogView, content: number, setKey: SetKey): boolean {
  if (catalog.row('placement', setKey)?.contents.includes(content) === true) return false;
  return !catalog
    .rowsOf('move')
    .some(
      (move) =>
        move.setKey === setKey &&
        move.phase !== 'CLEANED' &&
        move.phase !== 'FAILED' &&
        (move.source === content || move.target === content),
    );
}

/**
 * Drops what of `sets`, which the primary of `content` has named in its hello, is an orphan (protocols, section 9). Returns their keys.
 * Looked at again under the lock that whoever makes a shard in the set shares, and dropped when no reading is left that began before.
 */
export async function sweepOrphans(deps: OrphanDeps, content: number, sets: readonly SetKey[]): Promise<SetKey[]> {
  const { catalog, links, locks, logger } = deps;
  if (content === COORDINATOR_CONTENT) return [];
  const swept: SetKey[] = [];
  for (const setKey of sets) {
    if (!isOrphan(catalog, content, setKey)) continue;
    const owner = `orphan:${content}:${setKey}`;
    await locks.acquire(owner, [{ name: placeLock(setKey), mode: 'X' }], { timeoutMs: LOCK_MS, yields: true });
    try {
      if (!isOrphan(catalog, content, setKey)) continue;
      await links.reads.drained();
      logger.warn({ content, setKey }, 'a set that belongs to nobody here is dropped');
      await (await links.of(content)).call('dropSet', { setKey });
      swept.push(setKey);
    } finally {
      locks.releaseAll(owner);
    }
  }
  return swept;
}
