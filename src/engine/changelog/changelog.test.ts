import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../core/log.js';
import type { LogBody, LogRecord } from '../../model/log.js';
import { type ChangeLogOptions, openChangeLog } from './changelog.js';
import { FILE_HEADER, listLogFiles, logFileName } from './log-files.js';
import type { ChangeLog } from './types.js';

const logger = silentLogger();
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'damson-log-'));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function open(directory = scratch(), options: Partial<ChangeLogOptions> = {}): Promise<ChangeLog> {
  const log = await openChangeLog({ directory, logger, segmentBytes: 64 * 1024, reserveBytes: 4096, ...options });
  cleanups.push(() => log.close());
  return log;
}

async function collect(records: AsyncIterable<LogRecord>): Promise<LogRecord[]> {
  const all: LogRecord[] = [];
  for await (const record of records) all.push(record);
  return all;
}

const barrier = (id: string): LogBody => ({ k: 'BARRIER', id });
const ids = (records: LogRecord[]): string[] => records.map(({ body }) => (body as { id: string }).id);

function txn(gid: string, batches: string[] = []): LogBody {
  const refs = batches.map((name) => ({ name, format: 'rows' as const, rows: 1, bytes: 1, checksum: '00' }));
  return {
    k: 'TXN',
    gid,
    txn: {
      participants: [0],
      locks: [],
      ddl: [],
      shards: [{ shardId: 1, nextRid: 2, deleted: [2 ** 40], inserted: [[1, 2n ** 60n, 'é', null]], batches: refs }],
    },
  };
}

describe('appending and reading', () => {
  it('gives positions at once, becomes durable, and reads back what was written', async () => {
    const log = await open();
    const bodies = [txn('1.1.1'), barrier('b'), { k: 'COMMIT', gid: '1.1.2', prepareLsn: 0 } as LogBody];
    const places = bodies.map((body) => log.append(body));
    expect(places[0]!.lsn).toBe(0);
    expect(places[1]!.lsn).toBe(places[0]!.end);
    expect(log.end).toBe(places[2]!.end);
    expect(log.durable).toBe(0);
    const records = await collect(log.read(0));
    expect(records.map(({ body }) => body)).toEqual(bodies);
    expect(records.map(({ lsn, end }) => ({ lsn, end }))).toEqual(places);
    await log.waitDurable(log.end);
    expect(log.durable).toBe(log.end);
    expect(ids(await collect(log.read(places[1]!.lsn, places[2]!.lsn)))).toEqual(['b']);
  });

  it('shares one sync among all that waits', async () => {
    const log = await open();
    const before = log.syncs;
    const ends = Array.from({ length: 1000 }, (_, n) => log.append(barrier(`${n}`)).end);
    await Promise.all(ends.map((end) => log.waitDurable(end)));
    expect(log.syncs - before).toBeLessThan(10);
  });

  it('goes on after reopening, over several files', async () => {
    const directory = scratch();
    let end = 0;
    for (let round = 0; round < 4; round++) {
      const log = await open(directory);
      expect(log.end).toBe(end);
      expect(log.durable).toBe(end);
      for (let n = 0; n < 300; n++) log.append(barrier(`${round}-${n}-${'x'.repeat(300)}`));
      end = log.end;
      await log.close();
    }
    expect(listLogFiles(directory).length).toBeGreaterThan(4);
    const log = await open(directory);
    const records = await collect(log.read(0));
    expect(records).toHaveLength(1200);
    expect(ids(records)[599]).toMatch(/^1-299-/);
    for (let n = 1; n < records.length; n++) expect(records[n]!.lsn).toBe(records[n - 1]!.end);
  });

  it('holds records larger than a file', async () => {
    const directory = scratch();
    const log = await open(directory);
    const large = barrier('y'.repeat(3_000_000));
    for (const body of [barrier('a'), large, barrier('b')]) log.append(body);
    await log.waitDurable(log.end);
    await log.close();
    const again = await open(directory);
    expect(ids(await collect(again.read(0))).map((id) => id.length)).toEqual([1, 3_000_000, 1]);
    const { end } = await again.readRaw(0, 100);
    expect((await again.readRaw(end, 100)).bytes.length).toBeGreaterThan(3_000_000);
  });

  it('copies byte for byte, and refuses what does not follow', async () => {
    const from = await open();
    const to = await open();
    for (let n = 0; n < 500; n++) from.append(barrier(`${n}-${'z'.repeat(n)}`));
    await from.waitDurable(from.end);
    let at = 0;
    while (at < from.end) {
      const { bytes, end } = await from.readRaw(at, 10_000);
      to.appendRaw(at, bytes);
      at = end;
    }
    await to.waitDurable(to.end);
    expect(to.end).toBe(from.end);
    expect(await collect(to.read(0))).toEqual(await collect(from.read(0)));
    expect(await to.crcBefore(to.end)).toBe(await from.crcBefore(from.end));
    const { bytes } = await from.readRaw(0, 1);
    expect(() => to.appendRaw(0, bytes)).toThrow(/position 0/);
    const next = Buffer.from(bytes);
    expect(() => to.appendRaw(to.end, next)).toThrow(/no valid record/);
    expect(to.end).toBe(from.end);
  });

  it('knows the CRC before every record, and only there', async () => {
    const log = await open();
    const places = Array.from({ length: 400 }, (_, n) => log.append(barrier(`${n}-${'w'.repeat(300)}`)));
    await log.waitDurable(log.end);
    expect(await log.crcBefore(0)).toBe(0);
    const crcs = new Set<number>();
    for (const { end } of places.filter((_, n) => n % 37 === 0)) crcs.add(await log.crcBefore(end));
    expect(crcs.size).toBe(11);
    await expect(log.crcBefore(places[3]!.lsn + 1)).rejects.toThrow('not between two records');
  });
});

describe('safe', () => {
  it('is what is durable alone, waits for the mirror in sync, and never goes back', async () => {
    const log = await open();
    const first = log.append(barrier('1'));
    await log.waitDurable(first.end);
    expect(log.safe).toBe(0);
    log.setPairState('ALONE');
    expect(log.safe).toBe(first.end);
    log.setPairState('IN_SYNC');
    const second = log.append(barrier('2'));
    await log.waitDurable(second.end);
    expect(log.safe).toBe(first.end);
    log.mirrorDurable(0);
    expect(log.safe).toBe(first.end);
    let safe = false;
    const waiting = log.waitSafe(second.end).then(() => {
      safe = true;
    });
    log.mirrorDurable(second.end - 1);
    await Promise.resolve();
    expect(safe).toBe(false);
    log.mirrorDurable(second.end);
    await waiting;
    expect(log.safe).toBe(second.end);
  });

  it('goes up in order, for all who wait', async () => {
    const log = await open();
    log.setPairState('ALONE');
    const order: number[] = [];
    const ends = Array.from({ length: 50 }, (_, n) => log.append(barrier(`${n}`)).end);
    await Promise.all(
      ends
        .map((end, n) => [end, n] as const)
        .reverse()
        .map(([end, n]) => log.waitSafe(end).then(() => order.push(n))),
    );
    expect(order).toEqual(Array.from({ length: 50 }, (_, n) => n));
  });

  it("is the primary's word on a mirror, as far as it is durable here", async () => {
    const log = await open();
    const { end } = log.append(barrier('1'));
    log.raiseSafe(end + 1000);
    expect(log.safe).toBe(0);
    await log.waitDurable(end);
    expect(log.safe).toBe(end);
  });

  it('rejects who waits when the role is lost or the log closed', async () => {
    const log = await open();
    log.setPairState('IN_SYNC');
    const { end } = log.append(barrier('1'));
    const waiting = log.waitSafe(end);
    log.becomeMirror();
    await expect(waiting).rejects.toMatchObject({ sqlstate: '57P01' });
    const again = log.waitSafe(end);
    const rejected = expect(again).rejects.toMatchObject({ sqlstate: '57P01' });
    await log.close();
    await rejected;
    expect(() => log.append(barrier('2'))).toThrow('closed');
  });
});

describe('damage', () => {
  async function threeRecords(): Promise<{ directory: string; last: { lsn: number; end: number } }> {
    const directory = scratch();
    const log = await open(directory);
    log.append(barrier('one'));
    log.append(barrier('two'));
    const last = log.append(barrier('three'));
    await log.close();
    return { directory, last };
  }

  it('cuts a tail that was torn at any byte', async () => {
    const { directory, last } = await threeRecords();
    const path = join(directory, logFileName(0));
    const whole = readFileSync(path);
    for (let cut = last.lsn; cut < last.end; cut++) {
      const torn = Buffer.from(whole);
      torn.fill(0, FILE_HEADER + cut, FILE_HEADER + last.end);
      writeFileSync(path, torn);
      rmSync(join(directory, 'mark'));
      const log = await openChangeLog({ directory, logger, segmentBytes: 64 * 1024, reserveBytes: 4096 });
      expect(log.end).toBe(last.lsn);
      expect(ids(await collect(log.read(0)))).toEqual(['one', 'two']);
      log.append(barrier('four'));
      await log.close();
      const again = await openChangeLog({ directory, logger, segmentBytes: 64 * 1024, reserveBytes: 4096 });
      expect(ids(await collect(again.read(0)))).toEqual(['one', 'two', 'four']);
      await again.close();
    }
  });

  it('does not take damage of what was durable for a torn tail', async () => {
    const { directory, last } = await threeRecords();
    const path = join(directory, logFileName(0));
    const bytes = readFileSync(path);
    bytes[FILE_HEADER + last.end - 1]! ^= 1;
    writeFileSync(path, bytes);
    await expect(open(directory)).rejects.toThrow(new RegExp(`${logFileName(0)} .* offset ${FILE_HEADER + last.lsn}`));
  });

  it('names file and offset of a bad record that valid ones follow', async () => {
    const { directory } = await threeRecords();
    const path = join(directory, logFileName(0));
    const bytes = readFileSync(path);
    bytes[FILE_HEADER + 30]! ^= 1;
    writeFileSync(path, bytes);
    await expect(open(directory)).rejects.toThrow(`offset ${FILE_HEADER}`);
    rmSync(join(directory, 'mark'));
    await expect(open(directory)).rejects.toThrow(`offset ${FILE_HEADER}`);
  });

  it('does not open without the files that it had', async () => {
    const { directory } = await threeRecords();
    rmSync(join(directory, logFileName(0)));
    await expect(open(directory)).rejects.toThrow('damaged');
  });

  it('reads a damaged record of an older file as an error', async () => {
    const directory = scratch();
    const log = await open(directory);
    for (let n = 0; n < 600; n++) log.append(barrier(`${n}-${'x'.repeat(300)}`));
    await log.close();
    const path = join(directory, logFileName(0));
    const bytes = readFileSync(path);
    bytes[FILE_HEADER + 20_000]! ^= 1;
    writeFileSync(path, bytes);
    const again = await open(directory);
    await expect(collect(again.read(0))).rejects.toThrow(logFileName(0));
  });
});

describe('cutting, timelines, recycling', () => {
  it('cuts a tail for good, also over files, and never below safe', async () => {
    const directory = scratch();
    const log = await open(directory);
    const places = Array.from({ length: 600 }, (_, n) => log.append(barrier(`${n}-${'x'.repeat(300)}`)));
    await log.waitDurable(log.end);
    log.raiseSafe(places[9]!.end);
    await expect(log.truncateTail(places[5]!.end)).rejects.toThrow('safe');
    await log.truncateTail(places[399]!.end);
    await log.truncateTail(places[9]!.end);
    expect(log.end).toBe(places[9]!.end);
    // The same bytes as before would fit the records behind them, were these still there.
    log.append(barrier(`10-${'x'.repeat(300)}`));
    await log.waitDurable(log.end);
    const crashed = scratch();
    cpSync(directory, crashed, { recursive: true });
    for (const place of [directory, crashed]) {
      if (place === directory) await log.close();
      const again = await open(place);
      const records = await collect(again.read(0));
      expect(records).toHaveLength(11);
      expect(again.end).toBe(places[10]!.end);
      expect(listLogFiles(place)).toEqual([0]);
    }
  });

  it('keeps its history of timelines', async () => {
    const directory = scratch();
    const log = await open(directory, { startTimeline: 3 });
    const first = log.append(barrier('1'));
    await log.startTimeline(5);
    expect(log.durable).toBe(first.end);
    log.append(barrier('2'));
    await log.close();
    const again = await open(directory);
    expect(again.timeline).toBe(5);
    expect(again.history).toEqual([
      [3, 0],
      [5, first.end],
    ]);
    expect((await collect(again.read(0))).map(({ timeline }) => timeline)).toEqual([3, 5]);
    await expect(again.startTimeline(4)).rejects.toThrow('not above');
    await again.truncateTail(0);
    expect(again.timeline).toBe(3);
  });

  it('is made anew at a position, also when a crash interrupts that', async () => {
    const directory = scratch();
    const log = await open(directory);
    for (let n = 0; n < 300; n++) log.append(barrier(`${n}-${'x'.repeat(300)}`));
    writeFileSync(log.batchPath('b1'), 'x');
    const crashed = scratch();
    await log.waitDurable(log.end);
    cpSync(directory, crashed, { recursive: true });
    const history: [number, number][] = [
      [1, 0],
      [2, 500],
    ];
    await log.reset(history, 70_000, 77);
    expect([log.start, log.end, log.durable, log.safe]).toEqual([70_000, 70_000, 70_000, 70_000]);
    expect(await log.crcBefore(70_000)).toBe(77);
    expect(existsSync(log.batchPath('b1'))).toBe(false);
    log.append(barrier('next'));
    await log.close();
    const again = await open(directory);
    expect(again.history).toEqual(history);
    expect(ids(await collect(again.read(70_000)))).toEqual(['next']);
    writeFileSync(join(crashed, 'history.json'), JSON.stringify({ history, from: 70_000, crc: 77, resetting: true }));
    const resumed = await open(crashed);
    expect([resumed.start, resumed.end]).toEqual([70_000, 70_000]);
  });

  it('drops old files and their batches, as far as pins and safe allow', async () => {
    const directory = scratch();
    const log = await open(directory);
    log.setPairState('ALONE');
    for (const name of ['old', 'new']) writeFileSync(log.batchPath(name), name);
    log.append(txn('1.1.1', ['old']));
    for (let n = 0; n < 600; n++) log.append(barrier(`${n}-${'x'.repeat(300)}`));
    log.append(txn('1.1.2', ['new']));
    await log.waitSafe(log.end);
    const files = listLogFiles(directory);
    expect(files.length).toBeGreaterThan(2);
    log.pin('move', 10);
    await log.recycle(log.end);
    expect(log.start).toBe(0);
    log.pin('move', files[1]! + 10);
    await log.recycle(log.end);
    expect(log.start).toBe(files[1]);
    expect(existsSync(log.batchPath('old'))).toBe(false);
    log.unpin('move');
    await log.recycle(log.end);
    expect(log.start).toBe(files.at(-1));
    expect(existsSync(log.batchPath('new'))).toBe(true);
    expect(() => log.pin('move', 0)).toThrow('gone');
    const crc = await log.crcBefore(log.start);
    await expect(collect(log.read(0))).rejects.toThrow('gone');
    await log.close();
    const again = await open(directory);
    expect(again.start).toBe(files.at(-1));
    expect(await again.crcBefore(again.start)).toBe(crc);
  });
});

it('sweeps batch files without a record when it opens', async () => {
  const directory = scratch();
  const log = await open(directory);
  for (const name of ['kept', 'orphan']) writeFileSync(log.batchPath(name), name);
  log.append(txn('1.1.1', ['kept']));
  await log.close();
  const again = await open(directory);
  expect([existsSync(again.batchPath('kept')), existsSync(again.batchPath('orphan'))]).toEqual([true, false]);
});

describe('the disk', () => {
  it('cuts off what could not be written, tells who waits, and goes on', async () => {
    const body = barrier('x'.repeat(10_000));
    const directory = scratch();
    const log = await open(directory);
    let next = 0;
    while (log.end + 10_100 < 64 * 1024) next = log.append(body).end;
    await log.waitDurable(log.end);
    // A file cannot be renamed to a directory: the next file of the log cannot be made.
    mkdirSync(join(directory, logFileName(next)));
    const failing = [log.append(body), log.append(barrier('after'))];
    expect(failing[0]!.lsn).toBe(next);
    const outcomes = await Promise.allSettled(failing.map(({ end }) => log.waitDurable(end)));
    for (const outcome of outcomes) expect((outcome as PromiseRejectedResult).reason).toMatchObject({ sqlstate: '58030' });
    expect(log.end).toBe(next);
    expect(log.durable).toBe(next);
    rmdirSync(join(directory, logFileName(next)));
    const again = log.append(body);
    expect(again.lsn).toBe(next);
    await log.waitDurable(again.end);
    await log.close();
    expect(listLogFiles(directory)).toEqual([0, next]);
    const reopened = await open(directory);
    expect(await collect(reopened.read(next))).toHaveLength(1);
  });

  it('syncs batch files, checks the disk, and refuses strange names', async () => {
    const log = await open();
    writeFileSync(log.batchPath('b'), 'x');
    await log.syncBatch('b');
    await expect(log.syncBatch('absent')).rejects.toMatchObject({ sqlstate: '58030' });
    expect(await log.checkDisk()).toBeGreaterThan(0);
    log.removeBatch('b');
    await log.checkDisk();
    expect(existsSync(log.batchPath('b'))).toBe(false);
    expect(() => log.batchPath('../x')).toThrow('not a name');
  });
});

/** Small, fast generator of random numbers (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

it('agrees with a list of records under random operations', async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`change log, random operations: SEED=${seed}`);
  const next = random(seed);
  const pick = (n: number): number => Math.floor(next() * n);
  let directory = scratch();
  let log = await open(directory, { segmentBytes: 8192 });
  let model: { id: string; lsn: number; end: number }[] = [];
  let start = 0;
  for (let step = 0; step < 250; step++) {
    const what = pick(10);
    if (what < 5) {
      for (let n = pick(20); n >= 0; n--) {
        const id = `${step}-${n}-${'r'.repeat(pick(pick(20) === 0 ? 20_000 : 300))}`;
        model.push({ id, ...log.append(barrier(id)) });
      }
    } else if (what === 5) {
      await log.waitDurable(log.end);
      if (next() < 0.5 && model.length > 0) log.raiseSafe(model[pick(model.length)]!.end);
    } else if (what === 6) {
      const cuttable = model.filter(({ end }) => end >= log.safe);
      if (cuttable.length > 0) {
        const { end } = cuttable[pick(cuttable.length)]!;
        await log.truncateTail(end);
        model = model.filter((record) => record.end <= end);
      }
    } else if (what === 7) {
      await log.recycle(model[pick(model.length)]?.lsn ?? 0);
      start = log.start;
      model = model.filter(({ lsn }) => lsn >= start);
    } else if (what === 8) {
      const safe = log.safe;
      if (next() < 0.5) await log.close();
      else {
        // As after a crash: what is durable, and perhaps more, in another directory.
        await log.waitDurable(log.end);
        const copy = scratch();
        for (const name of listLogFiles(directory).map(logFileName)) copyFileSync(join(directory, name), join(copy, name));
        for (const name of ['history.json', 'mark']) copyFileSync(join(directory, name), join(copy, name));
        await log.close();
        directory = copy;
      }
      log = await open(directory, { segmentBytes: 8192 });
      log.raiseSafe(safe);
    } else {
      const from = model[pick(model.length)];
      if (from !== undefined) {
        const expected = model.filter(({ lsn }) => lsn >= from.lsn).map(({ id }) => id);
        expect(ids(await collect(log.read(from.lsn)))).toEqual(expected);
      }
    }
    expect(log.end).toBe(model.at(-1)?.end ?? log.end);
    expect(log.start).toBe(start);
  }
  const records = await collect(log.read(log.start));
  expect(records.map(({ lsn, end, body }) => ({ id: (body as { id: string }).id, lsn, end }))).toEqual(model);
});
