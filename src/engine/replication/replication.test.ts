import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../core/log.js';
import type { LogBody, Lsn, MoveFile } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';
import { listenRpc } from '../../rpc/server.js';
import { socketPath } from '../../rpc/sockets.js';
import type { Handlers, RpcServer } from '../../rpc/types.js';
import { openChangeLog } from '../changelog/changelog.js';
import { forkOf } from '../changelog/history.js';
import type { ChangeLog } from '../changelog/types.js';
import type { Stores } from '../store/types.js';
import { mirrorHandlers } from './receiver.js';
import { MirrorSender } from './sender.js';

const logger = silentLogger();
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'damson-repl-'));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function openLog(directory: string): Promise<ChangeLog> {
  const log = await openChangeLog({
    directory: join(directory, 'changelog'),
    logger,
    segmentBytes: 64 * 1024,
    reserveBytes: 4096,
  });
  cleanups.push(() => log.close());
  return log;
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let n = 0; n < 2000; n++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never: ${what}`);
}

/** Sets as files of text, each with the position it stands at: enough of Stores for the protocol. */
class TextStores {
  readonly held = new Map<SetKey, { text: string; applied: Lsn }>();
  wipes = 0;

  sets = (): SetKey[] => [...this.held.keys()];
  applied = (): Lsn => Math.min(Number.MAX_SAFE_INTEGER, ...[...this.held.values()].map(({ applied }) => applied));
  highest = (): Lsn => Math.max(0, ...[...this.held.values()].map(({ applied }) => applied));
  sizes = async () => [...this.held].map(([setKey, { text }], n) => ({ shardId: n, setKey, bytes: text.length, rows: 1 }));
  wipe = async (): Promise<void> => {
    this.wipes++;
    this.held.clear();
  };
  exportSet: Stores['exportSet'] = async (setKey, directory, prefix) => {
    const { text, applied } = this.held.get(setKey)!;
    const name = `${prefix}.db`;
    writeFileSync(join(directory, name), text);
    const file: MoveFile = { name, kind: 'heap', bytes: text.length, checksum: sha256(text) };
    return { lsn: applied, shards: [], nextRids: [[1, 5]], files: [file] };
  };
  importSet: Stores['importSet'] = async (lsn, setKey, _shards, _nextRids, files, pathOf) => {
    this.held.set(setKey, { text: files.map(({ name }) => readFileSync(pathOf(name), 'utf8')).join(''), applied: lsn });
  };

  get asStores(): Stores {
    return this as unknown as Stores;
  }
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

interface Mirror {
  datadir: string;
  log: ChangeLog;
  stores: TextStores;
  safe: Lsn[];
  events: string[];
  primary: boolean;
  server: RpcServer;
  stop(): Promise<void>;
}

async function startMirror(
  datadir = scratch(),
  wrap: (handlers: Handlers) => Handlers = (handlers) => handlers,
): Promise<Mirror> {
  mkdirSync(datadir, { recursive: true });
  const log = await openLog(datadir);
  const stores = new TextStores();
  const mirror = { datadir, log, stores, safe: [] as Lsn[], events: [] as string[], primary: false };
  const handlers = mirrorHandlers({
    log,
    logger,
    check: () => {
      if (mirror.primary) throw new Error('this instance is a primary');
    },
    applied: () => stores.highest(),
    onSafe: (lsn) => mirror.safe.push(lsn),
    recovery: {
      stores: stores.asStores,
      directory: join(datadir, 'recovery'),
      beforeReset: async () => {
        mirror.events.push('before');
      },
      afterReset: (from) => {
        mirror.events.push(`after ${from}`);
      },
      importState: async (lsn, bytes) => {
        mirror.events.push(`state ${lsn} ${bytes}`);
      },
    },
  });
  const server = await listenRpc(socketPath(datadir), wrap(handlers), { logger });
  cleanups.push(() => server.close());
  const stop = async (): Promise<void> => {
    await server.close();
    await log.close();
  };
  return Object.assign(mirror, { server, stop });
}

function startSender(log: ChangeLog, mirror: { datadir: string }): MirrorSender {
  const sender = new MirrorSender({ log, logger, dbid: 2, content: 0 });
  cleanups.push(() => sender.close());
  sender.attach({ dbid: 3, address: 'localhost', port: 1, datadir: mirror.datadir });
  return sender;
}

const barrier = (id: string): LogBody => ({ k: 'BARRIER', id });

async function contents(log: ChangeLog): Promise<string[]> {
  const all: string[] = [];
  for await (const { lsn, timeline, body } of log.read(log.start)) all.push(`${lsn} ${timeline} ${JSON.stringify(body)}`);
  return all;
}

async function appendMany(log: ChangeLog, name: string, count: number): Promise<Lsn> {
  for (let n = 0; n < count; n++) log.append(barrier(`${name}-${n}-${'x'.repeat(n % 400)}`));
  await log.waitDurable(log.end);
  return log.end;
}

describe('streaming', () => {
  it('brings records to the mirror, makes them safe, and tells the mirror so', async () => {
    const mirror = await startMirror();
    const log = await openLog(scratch());
    log.setPairState('IN_SYNC');
    const sender = startSender(log, mirror);
    for (let n = 0; n < 300; n++) await log.waitSafe(log.append(barrier(`${n}`)).end);
    expect(mirror.log.durable).toBe(log.end);
    await until('the mirror knows what is safe', () => mirror.log.safe === log.safe);
    expect(mirror.safe.at(-1)).toBe(log.end);
    await appendMany(log, 'bulk', 5000);
    await log.waitSafe(log.end);
    expect(sender.status()).toMatchObject({ dbid: 3, connected: true, durable: log.end, stalledMs: 0 });
    await until('caught up', () => sender.caughtUp());
    expect(await contents(mirror.log)).toEqual(await contents(log));
    expect(mirror.log.syncs).toBeLessThan(400);
  });

  it('connects again after the mirror was away, and goes on where it stopped', async () => {
    const mirror = await startMirror();
    const log = await openLog(scratch());
    log.setPairState('ALONE');
    const sender = startSender(log, mirror);
    await appendMany(log, 'first', 100);
    await until('streamed', () => mirror.log.durable === log.end);
    await mirror.stop();
    await until('noticed', () => !sender.status()!.connected);
    expect(sender.caughtUp()).toBe(false);
    await appendMany(log, 'second', 1000);
    await log.recycle(log.end);
    await until('stalled', () => sender.status()!.stalledMs > 20);
    const again = await startMirror(mirror.datadir);
    await until('streamed', () => again.log.durable === log.end);
    expect(await contents(again.log)).toEqual(await contents(log));
    await until('caught up', () => sender.caughtUp());
    expect(sender.needsFullResync).toBeUndefined();
  });

  it('keeps the log for a mirror that is away, but not for ever', async () => {
    const mirror = await startMirror();
    const log = await openLog(scratch());
    log.setPairState('ALONE');
    const sender = new MirrorSender({ log, logger, dbid: 2, content: 0, retentionBytes: 300_000 });
    cleanups.push(() => sender.close());
    sender.attach({ dbid: 3, address: 'localhost', port: 1, datadir: mirror.datadir });
    await appendMany(log, 'first', 100);
    await until('streamed', () => mirror.log.durable === log.end);
    await mirror.stop();
    await until('noticed', () => !sender.status()!.connected);
    await appendMany(log, 'second', 1000);
    await log.recycle(log.end);
    expect(log.start).toBe(0);
    await appendMany(log, 'third', 1000);
    await log.recycle(log.end);
    expect(log.start).toBeGreaterThan(100_000);
    await startMirror(mirror.datadir);
    await until('refused', () => sender.needsFullResync?.includes("the primary's log begins") ?? false);
  });

  it('sends batch files before the records that refer to them', async () => {
    const mirror = await startMirror();
    const log = await openLog(scratch());
    log.setPairState('IN_SYNC');
    startSender(log, mirror);
    const text = 'q'.repeat(3_000_000);
    writeFileSync(log.batchPath('b1.parquet'), text);
    const batch = { name: 'b1.parquet', format: 'parquet' as const, rows: 3, bytes: text.length, checksum: sha256(text) };
    const shard = { shardId: 1, nextRid: 4, deleted: [], inserted: [], batches: [batch] };
    const record = log.append({ k: 'TXN', gid: '1.1.1', txn: { participants: [0], locks: [], ddl: [], shards: [shard] } });
    const after = log.append(barrier('after'));
    let there = false;
    void mirror.log.waitDurable(1).then(() => {
      there = existsSync(mirror.log.batchPath('b1.parquet'));
    });
    await log.waitSafe(after.end);
    expect(there).toBe(true);
    expect(readFileSync(mirror.log.batchPath('b1.parquet'), 'utf8')).toBe(text);
    expect(record.lsn).toBe(0);
  });

  it('reports a mirror that does not answer', async () => {
    let hang = false;
    const mirror = await startMirror(scratch(), (handlers) => ({
      ...handlers,
      replAppend: ((body, context) => (hang ? new Promise(() => {}) : handlers.replAppend!(body, context))) as Handlers[string],
    }));
    const log = await openLog(scratch());
    log.setPairState('IN_SYNC');
    const sender = startSender(log, mirror);
    await log.waitSafe(log.append(barrier('1')).end);
    await until('quiet', () => sender.status()!.stalledMs === 0);
    hang = true;
    const { end } = log.append(barrier('2'));
    await until('stalled', () => sender.status()!.stalledMs > 50);
    expect(sender.status()!.connected).toBe(true);
    expect(log.safe).toBeLessThan(end);
    log.setPairState('ALONE');
    await log.waitSafe(end);
  });

  it('does not replicate to an instance of a higher timeline, or to a primary', async () => {
    const mirror = await startMirror();
    await mirror.log.startTimeline(4);
    const log = await openLog(scratch());
    log.setPairState('IN_SYNC');
    const sender = startSender(log, mirror);
    const { end } = log.append(barrier('1'));
    await log.waitDurable(end);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(sender.status()!.connected).toBe(false);
    expect(mirror.log.end).toBe(0);
    expect(log.safe).toBe(0);
    const other = await startMirror();
    other.primary = true;
    sender.attach({ dbid: 4, address: 'localhost', port: 1, datadir: other.datadir });
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(sender.status()).toMatchObject({ dbid: 4, connected: false });
  });
});

describe('coming back to a common position', () => {
  it('finds the fork of two histories', () => {
    expect(forkOf([[1, 0]], 500, [[1, 0]], 300)).toBe(300);
    expect(
      forkOf(
        [
          [1, 0],
          [2, 400],
        ],
        900,
        [[1, 0]],
        500,
      ),
    ).toBe(400);
    expect(
      forkOf(
        [
          [1, 0],
          [2, 400],
        ],
        900,
        [
          [1, 0],
          [2, 400],
        ],
        300,
      ),
    ).toBe(300);
    expect(
      forkOf(
        [
          [1, 0],
          [3, 250],
        ],
        900,
        [
          [1, 0],
          [2, 400],
        ],
        700,
      ),
    ).toBe(250);
    expect(forkOf([[2, 0]], 900, [[1, 0]], 700)).toBeUndefined();
  });

  it('cuts what the old primary had and nobody else, and takes over the new history', async () => {
    // A pair in sync; the mirror is promoted while the primary holds a tail that never was safe.
    const old = scratch();
    const oldLog = await openLog(old);
    const mirror = await startMirror();
    oldLog.setPairState('IN_SYNC');
    const sender = startSender(oldLog, mirror);
    await appendMany(oldLog, 'common', 200);
    await oldLog.waitSafe(oldLog.end);
    const fork = oldLog.end;
    await sender.close();
    await appendMany(oldLog, 'lost', 50);
    await oldLog.close();

    mirror.primary = true;
    await mirror.log.startTimeline(2);
    mirror.log.setPairState('ALONE');
    await appendMany(mirror.log, 'new', 30);

    const back = await startMirror(old);
    back.log.raiseSafe(fork);
    const second = startSender(mirror.log, back);
    await until('streamed', () => back.log.durable === mirror.log.end && second.caughtUp());
    expect(back.log.history).toEqual([
      [1, 0],
      [2, fork],
    ]);
    expect(await contents(back.log)).toEqual(await contents(mirror.log));

    // And back again.
    await second.close();
    await back.log.startTimeline(3);
    back.log.setPairState('ALONE');
    back.primary = true;
    mirror.primary = false;
    mirror.log.becomeMirror();
    await appendMany(back.log, 'third', 10);
    startSender(back.log, mirror);
    await until('streamed', () => mirror.log.durable === back.log.end);
    expect(mirror.log.timeline).toBe(3);
  });

  it('asks for a full recovery where the stores or the records differ before the fork', async () => {
    const log = await openLog(scratch());
    log.setPairState('ALONE');
    await appendMany(log, 'mine', 50);
    const other = await startMirror();
    await appendMany(other.log, 'else', 50);
    const sender = startSender(log, other);
    await until('refused', () => sender.needsFullResync !== undefined);
    const ahead = await startMirror();
    ahead.stores.held.set('1:0', { text: 'x', applied: 10_000_000 });
    sender.attach({ dbid: 5, address: 'localhost', port: 1, datadir: ahead.datadir });
    await until('refused', () => sender.needsFullResync?.includes('has applied up to 10000000') ?? false);
  });
});

describe('full recovery', () => {
  it('makes the mirror anew from stores and log, and streams from there', async () => {
    const log = await openLog(scratch());
    log.setPairState('ALONE');
    const lsns = [await appendMany(log, 'a', 400), await appendMany(log, 'b', 400), await appendMany(log, 'c', 10)];
    const stores = new TextStores();
    stores.held.set('1:0', { text: 'a'.repeat(2_500_000), applied: lsns[1]! });
    stores.held.set('1:1', { text: '', applied: lsns[2]! });
    await log.recycle(lsns[0]!);
    expect(log.start).toBeGreaterThan(0);

    const mirror = await startMirror();
    mirror.stores.held.set('9:9', { text: 'old', applied: 0 });
    await appendMany(mirror.log, 'junk', 20);
    const sender = startSender(log, mirror);
    await until('asked for', () => sender.needsFullResync !== undefined);
    const progress: [number, number][] = [];
    const source = {
      stores: stores.asStores,
      directory: join(scratch(), 'export'),
      oldestPrepare: () => lsns[0]!,
      exportState: async () => ({ lsn: lsns[1]!, bytes: Buffer.from('catalog') }),
      onProgress: (bytes: number, total: number) => progress.push([bytes, total]),
    };
    await sender.fullResync(source);
    expect(mirror.events).toEqual(['before', `state ${lsns[1]} catalog`, `after ${lsns[0]}`]);
    expect(Object.fromEntries(mirror.stores.held)).toEqual(Object.fromEntries(stores.held));
    expect(progress.at(-1)).toEqual([2_500_000, 2_500_000]);
    expect(existsSync(source.directory)).toBe(false);

    await appendMany(log, 'later', 10);
    await until('streamed', () => mirror.log.durable === log.end && sender.caughtUp());
    expect(mirror.log.start).toBe(lsns[0]);
    expect(sender.needsFullResync).toBeUndefined();
    expect((await contents(mirror.log)).at(-1)).toBe((await contents(log)).at(-1));
    expect(existsSync(join(mirror.datadir, 'recovery', 'recovery.json'))).toBe(false);

    // The mirror's log is an ordinary one: it is stopped, started, and goes on.
    await mirror.stop();
    await appendMany(log, 'more', 10);
    const again = await startMirror(mirror.datadir);
    await until('streamed', () => again.log.durable === log.end);
  });

  it('begins anew where it was interrupted, and does not go on by log before', async () => {
    const log = await openLog(scratch());
    log.setPairState('ALONE');
    const lsn = await appendMany(log, 'a', 100);
    const stores = new TextStores();
    stores.held.set('1:0', { text: 'text', applied: lsn });
    const mirror = await startMirror();
    const sender = startSender(log, mirror);
    await until('streamed', () => mirror.log.durable === log.end);
    const source = { stores: stores.asStores, directory: join(scratch(), 'export'), oldestPrepare: () => null };
    const broken = Object.assign(new TextStores(), {
      exportSet: async () => {
        throw new Error('the disk is gone');
      },
    });
    broken.held.set('1:0', { text: 'text', applied: lsn });
    await expect(sender.fullResync({ ...source, stores: broken.asStores })).rejects.toThrow('the disk is gone');
    await until('asked for', () => sender.needsFullResync?.includes('not finished') ?? false);
    await mirror.stop();
    const again = await startMirror(mirror.datadir);
    await sender.fullResync(source);
    await until('streamed', () => again.log.durable === log.end && sender.caughtUp());
    expect(again.stores.held.get('1:0')!.text).toBe('text');
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

/** A pair whose members fall and come back; every acknowledged record must survive on whoever is primary. */
class RandomPair {
  readonly acknowledged: string[] = [];
  #primary!: Mirror;
  #mirror!: Mirror;
  #sender!: MirrorSender;
  #timeline = 1;
  #count = 0;
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = random(seed);
  }

  async start(): Promise<void> {
    this.#primary = await startMirror();
    this.#mirror = await startMirror();
    this.#primary.primary = true;
    await this.#join();
  }

  async step(): Promise<void> {
    const what = Math.floor(this.#random() * 8);
    if (what < 4) await this.#commit(1 + Math.floor(this.#random() * 60));
    else if (what === 4) await this.#restartMirror();
    else if (what === 5) await this.#restartPrimary();
    else await this.#failOver();
  }

  async check(): Promise<void> {
    await until('equal', () => this.#mirror.log.durable === this.#primary.log.end);
    const [ours, theirs] = [await contents(this.#primary.log), await contents(this.#mirror.log)];
    expect(theirs).toEqual(ours);
    expect(this.#mirror.log.history).toEqual(this.#primary.log.history);
    const present = new Set(ours.map((line) => JSON.parse(line.split(' ').slice(2).join(' ')).id));
    expect(this.acknowledged.filter((id) => !present.has(id))).toEqual([]);
  }

  async #commit(count: number): Promise<void> {
    const { log } = this.#primary;
    const one = async (): Promise<void> => {
      const id = `r${this.#count++}-${'y'.repeat(Math.floor(this.#random() * 500))}`;
      await log.waitSafe(log.append(barrier(id)).end);
      this.acknowledged.push(id);
    };
    await Promise.all(Array.from({ length: count }, one));
  }

  /** Attaches the mirror, lets it catch up, and waits for both from then on (protocols, section 7). */
  async #join(): Promise<void> {
    const { log } = this.#primary;
    this.#sender = startSender(log, this.#mirror);
    log.setPairState('CATCHUP');
    await this.#commit(5);
    await until('caught up', () => this.#sender.caughtUp());
    log.setPairState('JOINING');
    await this.#commit(5);
    log.setPairState('IN_SYNC');
  }

  async #restart(member: Mirror): Promise<Mirror> {
    const { safe } = member.log;
    await member.stop();
    const again = await startMirror(member.datadir);
    again.primary = member.primary;
    again.log.raiseSafe(Math.floor(this.#random() * 2) === 0 ? 0 : safe);
    return again;
  }

  async #restartMirror(): Promise<void> {
    const waiting = this.#commit(20);
    this.#mirror = await this.#restart(this.#mirror);
    await waiting;
  }

  async #restartPrimary(): Promise<void> {
    // Records of which nobody knows whether they are on the mirror.
    for (let n = 0; n < 5; n++) this.#primary.log.append(barrier(`open${this.#count++}`));
    await this.#sender.close();
    this.#primary = await this.#restart(this.#primary);
    this.#primary.log.setPairState('IN_SYNC');
    this.#sender = startSender(this.#primary.log, this.#mirror);
    await this.#primary.log.waitSafe(this.#primary.log.end);
  }

  async #failOver(): Promise<void> {
    const old = this.#primary;
    if (this.#random() < 0.5) for (let n = 0; n < 5; n++) old.log.append(barrier(`early${this.#count++}`));
    await this.#sender.close();
    for (let n = 0; n < 5; n++) old.log.append(barrier(`late${this.#count++}`));
    old.primary = false;
    const back = await this.#restart(old);
    this.#primary = this.#mirror;
    this.#primary.primary = true;
    await this.#primary.log.startTimeline(++this.#timeline);
    this.#primary.log.setPairState('ALONE');
    await this.#commit(10);
    this.#mirror = back;
    await this.#join();
  }
}

it('loses no acknowledged record while members of a pair fall and come back', async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`pair, random failures: SEED=${seed}`);
  const pair = new RandomPair(seed);
  await pair.start();
  for (let n = 0; n < 40; n++) {
    await pair.step();
    if (n % 8 === 7) await pair.check();
  }
  await pair.check();
  expect(pair.acknowledged.length).toBeGreaterThan(100);
});
