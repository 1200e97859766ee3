import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Lsn } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';
import type { RpcClient } from '../../rpc/types.js';
import type { ChangeLog } from '../changelog/types.js';
import type { Stores } from '../store/types.js';
import { sendFile } from './send-files.js';
import { callPeer } from './types.js';

export interface ResyncSource {
  stores: Stores;
  /** For the snapshot of one set at a time; emptied before and after. */
  directory: string;
  /** lsn of the oldest PREPARE whose COMMIT is not applied everywhere: its rows are needed on the mirror. */
  oldestPrepare(): Lsn | null;
  /** What the instance holds beside shard stores (the coordinator: its catalog), and the position that it stands at. */
  exportState?(): Promise<{ lsn: Lsn; bytes: Buffer }>;
  /** `total` is an estimate. */
  onProgress?(bytes: number, total: number): void;
}

const PIN = 'full-recovery';

/**
 * Full recovery of a mirror, the primary's side, on a connection that has said hello. The mirror's stores and log are made
 * anew; each set is exported at its own position and sent; then the log is to be streamed from the position that this
 * returns, which is at or below all of these and below every open prepare. The mirror's stores skip what they have.
 */
export async function fullResync(client: RpcClient, log: ChangeLog, source: ResyncSource): Promise<Lsn> {
  const { stores } = source;
  const { timeline, history } = log;
  const state = await source.exportState?.();
  // Exports come later, so none stands below what the stores have applied now.
  const oldest = Math.min(stores.applied(), source.oldestPrepare() ?? Infinity, state?.lsn ?? Infinity);
  const from = Math.max(oldest, log.start);
  log.pin(PIN, from);
  try {
    await callPeer(client, 'replReset', { timeline, history, from, crc: await log.crcBefore(from) });
    let imported = from;
    if (state !== undefined) {
      await callPeer(client, 'replState', { timeline, ...state });
      imported = Math.max(imported, state.lsn);
    }
    const progress = await estimate(source);
    for (const setKey of stores.sets()) {
      // A set may be dropped meanwhile: its drop is in the log behind `from`.
      if (!stores.sets().includes(setKey)) continue;
      imported = Math.max(imported, await sendSet(client, timeline, source, setKey, progress));
    }
    await callPeer(client, 'replDone', { timeline, imported });
    return from;
  } finally {
    log.unpin(PIN);
    rmSync(source.directory, { recursive: true, force: true });
  }
}

async function estimate(source: ResyncSource): Promise<(bytes: number) => void> {
  const total = (await source.stores.sizes()).reduce((sum, { bytes }) => sum + bytes, 0);
  let sent = 0;
  source.onProgress?.(0, total);
  return (bytes) => {
    sent += bytes;
    source.onProgress?.(sent, Math.max(total, sent));
  };
}

/** Exports and sends one set; answers the position that it stands at. */
async function sendSet(
  client: RpcClient,
  timeline: number,
  source: ResyncSource,
  setKey: SetKey,
  progress: (bytes: number) => void,
): Promise<Lsn> {
  rmSync(source.directory, { recursive: true, force: true });
  mkdirSync(source.directory, { recursive: true, mode: 0o700 });
  const { lsn, shards, nextRids, files } = await source.stores.exportSet(setKey, source.directory, 'set');
  const about = { timeline, setKey, applied: lsn, shards: [], nextRids: [], files: [], last: false };
  for (const { name, bytes } of files) {
    await sendFile(join(source.directory, name), bytes, async (part) => {
      await callPeer(client, 'replFile', { ...about, part: { name, offset: part.offset, bytes: part.bytes } });
      progress(part.bytes.length);
    });
  }
  await callPeer(client, 'replFile', { ...about, shards, nextRids, files, part: null, last: true });
  return lsn;
}
