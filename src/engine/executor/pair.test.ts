import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../core/log.js';
import type { HelloResult, ProbeResult } from '../../model/task.js';
import { listenRpc } from '../../rpc/server.js';
import { socketPath } from '../../rpc/sockets.js';
import type { RpcServer } from '../../rpc/types.js';
import { shardDef, TestInstance, temporaryDirectory } from './test-instance.js';

/** An instance that its peer can reach. */
class Member extends TestInstance {
  private server: RpcServer | undefined;

  get peer() {
    return { dbid: this.dbid, address: '127.0.0.1', port: 0, datadir: this.directory };
  }

  async start(): Promise<this> {
    await this.open();
    this.server = await listenRpc(socketPath(this.directory), this.engine.methods, { logger: silentLogger() });
    return this;
  }

  async stop(): Promise<void> {
    await this.server?.close();
    this.server = undefined;
    await this.close('immediate');
  }
}

let directories: ReturnType<typeof temporaryDirectory>[];
let a: Member;
let b: Member;

beforeEach(async () => {
  directories = [temporaryDirectory(), temporaryDirectory()];
  a = await new Member(directories[0]!.path, 2).start();
  b = await new Member(directories[1]!.path, 3).start();
});

afterEach(async () => {
  for (const one of [a, b]) {
    await one.stop();
    expect(one.fatal).toEqual([]);
  }
  for (const directory of directories) directory.remove();
});

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let n = 0; n < 1000; n++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never: ${what}`);
}

function probe(one: Member): Promise<ProbeResult> {
  return one.call<ProbeResult>('probe', {});
}

async function pairUp(): Promise<void> {
  await b.role('m', 'IN_SYNC', a.peer);
  await a.role('p', 'IN_SYNC', b.peer);
  await a.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
}

async function insert(one: Member, id: number): Promise<void> {
  const gid = one.gid();
  await one.insert(gid, 10, [[id, 'a', id]]);
  await one.insert(gid, 11, [[id, 'b', id]]);
  await one.commit1(gid);
}

async function ids(one: Member): Promise<string[][]> {
  return [(await one.rows(10)).map(([id]) => id!), (await one.rows(11, 'duckdb')).map(([id]) => id!)];
}

const upTo = (n: number) => [Array.from({ length: n }, (_, i) => String(i)), Array.from({ length: n }, (_, i) => String(i))];

async function sameChecksums(primary: Member, mirror: Member): Promise<void> {
  const mark = `b${primary.gid()}`;
  await primary.call('barrier', { id: mark });
  const [here, there] = await Promise.all(
    [primary, mirror].map((one) => one.call<{ shards: { shardId: number }[] }>('checksums', { barrier: mark })),
  );
  const sorted = (all: { shards: { shardId: number }[] }) => all.shards.sort((x, y) => x.shardId - y.shardId);
  expect(sorted(there!)).toEqual(sorted(here!));
}

describe('a pair', () => {
  it('answers commits when the mirror has them; the promoted mirror has every one, and the old primary comes back', async () => {
    await pairUp();
    for (let id = 0; id < 20; id++) await insert(a, id);
    await sameChecksums(a, b);
    // Two prepared ones are in flight: one is decided afterwards, one is not.
    const decided = a.gid();
    await a.insert(decided, 10, [[20, 'p', 1]]);
    await a.insert(decided, 11, [[20, 'p', 1]]);
    await a.prepare(decided, [
      { name: 'set:c2_10', mode: 'X' },
      { name: 'shard:11', mode: 'A' },
    ]);
    await a.stop();

    b.timeline = 2;
    const hello = await b.role('p', 'ALONE');
    expect(hello).toMatchObject({ role: 'p', timeline: 2, prepared: [{ gid: decided }] });
    expect(await b.call('commit2', { gid: decided })).toEqual({ known: true });
    expect(await ids(b)).toEqual(upTo(21));
    for (let id = 21; id < 30; id++) await insert(b, id);
    expect(await ids(b)).toEqual(upTo(30));

    // The old primary has a tail of its own that nobody was told of.
    a = await new Member(directories[0]!.path, 2).start();
    a.timeline = 2;
    await a.role('m', 'CATCHUP', b.peer);
    await b.role('p', 'CATCHUP', a.peer);
    await until('caught up', async () => {
      const { mirror, end } = await probe(b);
      return mirror?.connected === true && mirror.durable === end;
    });
    await b.role('p', 'JOINING', a.peer);
    await insert(b, 30);
    await b.role('p', 'IN_SYNC', a.peer);
    await insert(b, 31);
    await sameChecksums(b, a);

    // And back again.
    await b.stop();
    a.timeline = 3;
    await a.role('p', 'ALONE');
    expect(await ids(a)).toEqual(upTo(32));
    b = await new Member(directories[1]!.path, 3).start();
  });

  it('loses no acknowledged write when the primary is stopped under load', async () => {
    await pairUp();
    const acknowledged: number[] = [];
    let next = 0;
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      await a.create(shardDef(100 + writer, 'heap'));
      try {
        for (;;) {
          const id = next++;
          const gid = a.gid();
          await a.insert(gid, 100 + writer, [[id, 'x', null]]);
          await a.commit1(gid);
          acknowledged.push(id);
        }
      } catch {
        // The primary is gone.
      }
    });
    await until('some writes', async () => acknowledged.length > 200);
    await a.stop();
    await Promise.all(writers);
    b.timeline = 2;
    await b.role('p', 'ALONE');
    const found = new Set<string>();
    for (let writer = 0; writer < 4; writer++) for (const [id] of await b.rows(100 + writer)) found.add(id!);
    expect(acknowledged.filter((id) => !found.has(String(id)))).toEqual([]);
    a = await new Member(directories[0]!.path, 2).start();
  });

  it('a primary stalls without its mirror, and goes on when told that it is alone', async () => {
    await pairUp();
    await b.stop();
    const gid = a.gid();
    await a.insert(gid, 10, [[0, 'a', 0]]);
    let answered = false;
    const committed = a.commit1(gid).then(() => {
      answered = true;
    });
    await until('a stall', async () => ((await probe(a)).mirror?.stalledMs ?? 0) > 100);
    expect(answered).toBe(false);
    expect(await a.rows(10)).toEqual([]);
    await a.role('p', 'ALONE');
    await committed;
    expect(await a.rows(10)).toHaveLength(1);
    b = await new Member(directories[1]!.path, 3).start();
  });

  it('a living primary that is told to be a mirror drops what was not safe', async () => {
    await pairUp();
    for (let id = 0; id < 5; id++) await insert(a, id);
    await b.stop();
    const gid = a.gid();
    await a.insert(gid, 10, [[99, 'lost', 0]]);
    const commit = a.commit1(gid);
    commit.catch(() => undefined);
    b = await new Member(directories[1]!.path, 3).start();
    // The mirror is promoted while the old primary still waits for it.
    b.timeline = 2;
    const promoted = await b.role('p', 'ALONE').catch((error: Error) => error);
    expect(promoted).toMatchObject({ timeline: 2 });
    a.timeline = 2;
    await a.role('m', 'CATCHUP', b.peer);
    await expect(commit).rejects.toThrow();
    await b.role('p', 'CATCHUP', a.peer);
    await insert(b, 5);
    await until('caught up', async () => {
      const { mirror, end } = await probe(b);
      return mirror?.connected === true && mirror.durable === end;
    });
    await sameChecksums(b, a);
    const rows = (await ids(b))[0]!;
    const committed = await b.call<{ committed: boolean }>('outcome', { gid });
    expect(rows.includes('99')).toBe(committed.committed);
    expect(rows.filter((id) => id !== '99')).toEqual(['0', '1', '2', '3', '4', '5']);
  });

  it('a new instance is made a mirror in full', async () => {
    await a.role('p', 'ALONE');
    await a.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
    for (let id = 0; id < 10; id++) await insert(a, id);
    await b.role('m', 'CATCHUP', a.peer);
    const body = { role: 'p', timeline: 1, state: 'CATCHUP', peer: b.peer, full: true };
    await a.call<HelloResult>('role', body);
    for (let id = 10; id < 15; id++) await insert(a, id);
    await until('caught up', async () => {
      const { mirror, end } = await probe(a);
      return mirror?.connected === true && mirror.durable === end;
    });
    await a.role('p', 'IN_SYNC', b.peer);
    await insert(a, 15);
    await sameChecksums(a, b);
    await a.stop();
    b.timeline = 2;
    await b.role('p', 'ALONE');
    expect(await ids(b)).toEqual(upTo(16));
    a = await new Member(directories[0]!.path, 2).start();
  });

  it('bulk is on the mirror with its record', async () => {
    await pairUp();
    const gid = a.gid();
    const bulk = Array.from({ length: 20_000 }, (_, i) => [i, `row ${i} ${'z'.repeat(40)}`, i]);
    await a.insert(gid, 10, bulk);
    await a.insert(gid, 11, bulk);
    await a.commit1(gid);
    await sameChecksums(a, b);
    await a.stop();
    b.timeline = 2;
    await b.role('p', 'ALONE');
    expect(await ids(b)).toEqual(upTo(20_000));
    a = await new Member(directories[0]!.path, 2).start();
  });
});
