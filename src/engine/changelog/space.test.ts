import { mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../core/log.js';
import type { LogBody } from '../../model/log.js';
import { type ChangeLogOptions, openChangeLog } from './changelog.js';
import type { ChangeLog } from './types.js';

const logger = silentLogger();
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function open(options: Partial<ChangeLogOptions> & { directory?: string } = {}): Promise<ChangeLog> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'damson-space-'));
  const log = await openChangeLog({ segmentBytes: 64 * 1024, reserveBytes: 4096, logger, ...options, directory });
  cleanups.push(
    () => rmSync(directory, { recursive: true, force: true }),
    () => log.close(),
  );
  log.setPairState('ALONE');
  return log;
}

/** A record that is short, whatever the size of its batch file. */
function withBatch(name: string, bytes: number): LogBody {
  const batches = [{ name, format: 'parquet' as const, rows: 1, bytes, checksum: '00' }];
  return {
    k: 'TXN',
    gid: name,
    txn: { participants: [0], locks: [], ddl: [], shards: [{ shardId: 1, nextRid: 2, deleted: [], inserted: [], batches }] },
  };
}

const deleting: LogBody = {
  k: 'TXN',
  gid: 'deleting',
  txn: { participants: [0], locks: [], ddl: [], shards: [{ shardId: 1, nextRid: 2, deleted: [1], inserted: [], batches: [] }] },
};

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error('it did not come to that within 20 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function refuses(log: ChangeLog): boolean {
  try {
    log.refuseFull();
    return false;
  } catch {
    return true;
  }
}

describe('batch files', () => {
  it('close a file of the log, so that they can be recycled though their records are short', async () => {
    const log = await open();
    const size = 128 * 1024;
    let end = 0;
    for (let n = 0; n < 12; n++) {
      writeFileSync(log.batchPath(`b${n}`), 'x');
      end = log.append(withBatch(`b${n}`, size)).end;
    }
    await log.waitDurable(end);
    expect(log.batchBytes).toBe(12 * size);
    const from = log.newest(1024 * 1024, 6 * size);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThan(end);
    await log.recycle(from);
    expect(log.start).toBe(from);
    const left = readdirSync(join(log.batchPath('x'), '..'));
    expect(left.length).toBeLessThanOrEqual(6);
    expect(left).toContain('b11');
  });

  it('are weighed again after a restart', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'damson-space-'));
    const log = await open({ directory });
    writeFileSync(log.batchPath('b'), 'x');
    await log.waitDurable(log.append(withBatch('b', 5000)).end);
    await log.close();
    expect((await open({ directory })).batchBytes).toBe(5000);
  });
});

describe('a disk with little room', () => {
  it('takes deletes and outcomes, but no new rows', async () => {
    const { bavail, bsize } = statfsSync(tmpdir());
    const log = await open({ minFreeBytes: 2 * bavail * bsize });
    await until(() => refuses(log));
    expect(() => log.append(withBatch('b', 1))).toThrow(expect.objectContaining({ sqlstate: '53100' }));
    await log.waitDurable(log.append(deleting).end);
    await log.waitDurable(log.append({ k: 'ABORT', gid: 'x' }).end);
  });

  it('takes outcomes alone where there is next to none', async () => {
    const { bavail, bsize } = statfsSync(tmpdir());
    const log = await open({ minFreeBytes: 16 * bavail * bsize });
    await until(() => refuses(log));
    expect(() => log.append(deleting)).toThrow(expect.objectContaining({ sqlstate: '53100' }));
    await log.waitDurable(log.append({ k: 'ABORT', gid: 'x' }).end);
  });

  it('refuses a batch file that the stores could not take as well', async () => {
    const { bavail, bsize } = statfsSync(tmpdir());
    const log = await open({ minFreeBytes: 1 });
    log.refuseFull(1000);
    expect(() => log.refuseFull(bavail * bsize)).toThrow(expect.objectContaining({ sqlstate: '53100' }));
  });
});
