/** `damsond --datadir DIR`: the daemon of one instance. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { DamsonError } from '../core/errors.js';
import { COORDINATOR_CONTENT } from '../model/topology.js';
import { readIdentity } from './daemon/identity.js';

/** Below it DuckDB's tasks can fill the pool, and files and snapshots wait behind them (protocols, section 1). */
const MIN_THREADPOOL = 24;

async function main(): Promise<void> {
  const datadir = readArguments();
  if (Number(process.env.UV_THREADPOOL_SIZE ?? 4) < MIN_THREADPOOL) {
    process.stderr.write(
      `Warning: UV_THREADPOOL_SIZE is below ${MIN_THREADPOOL}; long queries can delay commits. damson start sets it.\n`,
    );
  }
  // Each kind of daemon loads only what it needs: an idle segment's memory counts.
  if (readIdentity(datadir).content === COORDINATOR_CONTENT) {
    const { runCoordinator } = await import('./daemon/coordinator.js');
    await runCoordinator(datadir);
  } else {
    const { runSegment } = await import('./daemon/segment.js');
    await runSegment(datadir);
  }
}

function readArguments(): string {
  let datadir: string | undefined;
  try {
    datadir = parseArgs({ options: { datadir: { type: 'string', short: 'D' } } }).values.datadir;
  } catch (error) {
    throw new DamsonError(error instanceof Error ? error.message : String(error), { hint: 'damsond --datadir DIR' });
  }
  if (datadir === undefined) throw new DamsonError('--datadir is missing', { hint: 'damsond --datadir DIR' });
  return resolve(datadir);
}

main().catch((error: unknown) => {
  const hint = error instanceof DamsonError && error.hint !== undefined ? `Hint: ${error.hint}\n` : '';
  const unexpected = !(error instanceof DamsonError) && error instanceof Error ? `${error.stack}\n` : '';
  process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n${hint}${unexpected}`);
  process.exit(2);
});
