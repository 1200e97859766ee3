/** Who an instance is, how much of its host it takes, and how it says that it is ready. */
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import { readJson, writeFileAtomic } from '../../core/files.js';
import type { InstanceIdentity } from '../../model/topology.js';

/** How much of the host an instance takes: settings.json of its directory (`damson.segment_memory` in MB, `damson.segment_threads`). */
export function instanceShare(datadir: string): { memoryMb: number; threads: number } {
  const settings = readJson<Record<string, string>>(join(datadir, 'settings.json')) ?? {};
  const memory = Number(settings['damson.segment_memory'] ?? process.env.DAMSON_SEGMENT_MEMORY);
  const threads = Number(settings['damson.segment_threads'] ?? process.env.DAMSON_SEGMENT_THREADS);
  const eighth = Math.floor(totalmem() / 1024 / 1024 / 8);
  return {
    memoryMb: Number.isFinite(memory) && memory >= 64 ? memory : Math.min(4096, Math.max(256, eighth)),
    threads: Number.isInteger(threads) && threads > 0 ? threads : Math.max(1, availableParallelism()),
  };
}

export function readIdentity(datadir: string): InstanceIdentity {
  const identity = readJson<InstanceIdentity>(join(datadir, 'instance.json'));
  if (identity === undefined) {
    throw new DamsonError(`${datadir} is not the data directory of an instance: it has no instance.json`, {
      hint: 'Make a cluster with damson init or damson demo.',
    });
  }
  return identity;
}

/** Marks the instance as ready: `damsond.pid` for tools on this host, one JSON line for whoever started it. */
export function announce(datadir: string, port: number): void {
  const mark = { pid: process.pid, startedAt: new Date().toISOString(), port };
  writeFileAtomic(join(datadir, 'damsond.pid'), `${JSON.stringify(mark)}\n`);
  process.stdout.write(`${JSON.stringify({ ready: true, ...mark })}\n`);
}
