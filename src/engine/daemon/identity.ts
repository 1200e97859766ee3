/** Who an instance is, how much of its host it takes, and how it says that it is ready. */
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import { readJson, writeFileAtomic } from '../../core/files.js';
import type { InstanceIdentity } from '../../model/topology.js';

/** Smaller files of the log would be little but headers. */
const MIN_LOG_FILE_MB = 0.0625;

/**
 * How much of the host an instance takes: settings.json of its directory (`damson.segment_memory` in MB, `damson.segment_threads`,
 * `damson.log_file_size` in MB).
 */
export function instanceShare(datadir: string): { memoryMb: number; threads: number; logFileBytes?: number } {
  const settings = readJson<Record<string, string>>(join(datadir, 'settings.json')) ?? {};
  const memory = Number(settings['damson.segment_memory'] ?? process.env.DAMSON_SEGMENT_MEMORY);
  const threads = Number(settings['damson.segment_threads'] ?? process.env.DAMSON_SEGMENT_THREADS);
  const logFile = Number(settings['damson.log_file_size'] ?? process.env.DAMSON_LOG_FILE_SIZE);
  const eighth = Math.floor(totalmem() / 1024 / 1024 / 8);
  return {
    memoryMb: Number.isFinite(memory) && memory >= 64 ? memory : Math.min(4096, Math.max(256, eighth)),
    threads: Number.isInteger(threads) && threads > 0 ? threads : Math.max(1, availableParallelism()),
    ...(logFile >= MIN_LOG_FILE_MB && logFile <= 1024 ? { logFileBytes: Math.round(logFile * 1024 * 1024) } : {}),
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
