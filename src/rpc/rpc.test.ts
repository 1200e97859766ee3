import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { DamsonError, SqlError } from '../core/errors.js';
import { silentLogger } from '../core/log.js';
import { connectRpc } from './client.js';
import { CallTimeout, ConnectionLost } from './errors.js';
import { encodeFrame, type Frame, FrameReader } from './frames.js';
import { localLink } from './local.js';
import { listenRpc } from './server.js';
import { socketPath } from './sockets.js';
import type { CallContext, Handlers, RpcClient, RpcServer } from './types.js';

const logger = silentLogger();
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'damson-rpc-'));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function pair(handlers: Handlers): Promise<{ server: RpcServer; client: RpcClient }> {
  const server = await listenRpc(join(scratch(), 's'), handlers, { logger });
  cleanups.push(() => server.close());
  const client = await connectRpc(server.path);
  cleanups.push(() => client.close());
  return { server, client };
}

type Link = Pick<RpcClient, 'call' | 'ask' | 'open' | 'closed' | 'onClose'>;
const links: [string, (handlers: Handlers) => Promise<Link>][] = [
  ['socket', async (handlers) => (await pair(handlers)).client],
  ['local', async (handlers) => localLink(handlers)],
];

async function collect(parts: AsyncIterable<unknown>): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const part of parts) all.push(part);
  return all;
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

describe.each(links)('calls over a %s link', (_name, link) => {
  it('asks without a promise: in order, once each, errors included', async () => {
    const client = await link({
      add: ({ a, b }: { a: number; b: number }) => a + b,
      bad: () => {
        throw new SqlError('22012', 'division by zero');
      },
    });
    const seen: unknown[] = [];
    client.ask('add', { a: 1, b: 2 }, (error, value) => seen.push([error, value]));
    client.ask('bad', {}, (error, value) => seen.push([(error as SqlError).sqlstate, value]));
    const last = new Promise<void>((resolve) => {
      client.ask('add', { a: 3, b: 4 }, (error, value) => {
        seen.push([error, value]);
        resolve();
      });
    });
    expect(seen).toEqual([]);
    await last;
    expect(seen).toEqual([
      [undefined, 3],
      ['22012', undefined],
      [undefined, 7],
    ]);
  });

  it('answers, from plain and asynchronous handlers', async () => {
    const client = await link({
      add: ({ a, b }: { a: number; b: number }) => a + b,
      later: async ({ a }: { a: string }) => {
        await turn();
        return { got: a };
      },
      nothing: () => undefined,
    });
    expect(await client.call('add', { a: 1, b: 2 })).toBe(3);
    expect(await client.call('later', { a: 'x' })).toEqual({ got: 'x' });
    expect(await client.call('nothing', {})).toBeUndefined();
  });

  it('begins handlers in the order of the calls', async () => {
    const seen: number[] = [];
    const client = await link({
      note: (n: number) => {
        seen.push(n);
        return n % 3 === 0 ? new Promise((resolve) => setImmediate(() => resolve(n))) : n;
      },
    });
    const answers = await Promise.all(Array.from({ length: 500 }, (_, n) => client.call('note', n)));
    expect(seen).toEqual(Array.from({ length: 500 }, (_, n) => n));
    expect(answers).toEqual(seen);
  });

  it('carries errors with their class and fields', async () => {
    const client = await link({
      sql: () => {
        throw new SqlError('23505', 'duplicate', { detail: 'Key (a)=(1)', constraint: 'k', hint: 'do not' });
      },
      admin: async () => {
        throw new DamsonError('no', { hint: 'so' });
      },
    });
    const sql = await client.call('sql', null).catch((error) => error);
    expect(sql).toBeInstanceOf(SqlError);
    expect(sql).toMatchObject({ sqlstate: '23505', message: 'duplicate', fields: { constraint: 'k' }, hint: 'do not' });
    const admin = (await client.call('admin', null).catch((error) => error)) as DamsonError;
    expect(admin).toBeInstanceOf(DamsonError);
    expect(admin.hint).toBe('so');
    await expect(client.call('absent', null)).rejects.toMatchObject({ sqlstate: 'XX000' });
  });

  it('streams a reply, and a reader that does not read stops the sender', async () => {
    let sent = 0;
    const client = await link({
      many: async (_: unknown, context: CallContext) => {
        for (; sent < 200; sent++) await context.send({ n: sent, bytes: Buffer.alloc(1000, sent) });
        return sent;
      },
    });
    const call = client.open<number>('many', null);
    await turn();
    expect(sent).toBeLessThan(20);
    const parts = (await collect(call.parts)) as { n: number; bytes: Buffer }[];
    expect(parts.map(({ n }) => n)).toEqual(Array.from({ length: 200 }, (_, n) => n));
    expect(parts[77]!.bytes.equals(Buffer.alloc(1000, 77))).toBe(true);
    expect(await call.result).toBe(200);
  });

  it('lets parts larger than the window pass one by one', async () => {
    let sent = 0;
    const client = await link({
      large: async (_: unknown, context: CallContext) => {
        for (; sent < 4; sent++) await context.send(Buffer.alloc(9_000_000, sent));
      },
    });
    const call = client.open('large', null);
    await turn();
    expect(sent).toBeLessThan(2);
    expect((await collect(call.parts)).map((part) => (part as Buffer).length)).toEqual([9e6, 9e6, 9e6, 9e6]);
  });

  it('streams a request with backpressure', async () => {
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const client = await link({
      sum: async (start: number, context: CallContext) => {
        await gate;
        let total = start;
        for await (const part of context.parts) total += part as number;
        return total;
      },
    });
    const call = client.open<number>('sum', 5);
    let pushed = 0;
    const pushing = (async () => {
      for (; pushed < 100; pushed++) await call.push(1);
      call.end();
    })();
    await turn();
    expect(pushed).toBeLessThan(20);
    go();
    await pushing;
    expect(await call.result).toBe(105);
  });

  it('drops what is pushed after the answer, and says why after a failure', async () => {
    const client = await link({
      early: () => 'done',
      fails: async () => {
        throw new SqlError('22000', 'bad');
      },
    });
    const early = client.open('early', null);
    for (let n = 0; n < 50; n++) await early.push(n);
    expect(await early.result).toBe('done');
    const fails = client.open('fails', null);
    await expect(
      (async () => {
        for (let n = 0; n < 50; n++) await fails.push(n);
      })(),
    ).rejects.toMatchObject({ sqlstate: '22000' });
    await expect(collect(fails.parts)).rejects.toMatchObject({ sqlstate: '22000' });
  });

  it('cancels: the signal is aborted, a waiting send is rejected, the answer still comes', async () => {
    let reason: unknown;
    const client = await link({
      endless: async (_: unknown, context: CallContext) => {
        try {
          for (;;) await context.send('x');
        } catch (error) {
          reason = error;
        }
        return context.signal.aborted;
      },
    });
    const call = client.open('endless', null);
    await turn();
    call.cancel();
    expect(await call.result).toBe(true);
    expect(reason).toMatchObject({ name: 'CallCancelled' });
  });

  it('gives up at a time limit and when a signal is aborted, and cancels', async () => {
    let aborted = 0;
    const client = await link({
      wait: (_: unknown, context: CallContext) =>
        new Promise((resolve) => {
          context.signal.addEventListener('abort', () => {
            aborted++;
            resolve(null);
          });
        }),
    });
    await expect(client.call('wait', null, { timeoutMs: 10 })).rejects.toBeInstanceOf(CallTimeout);
    const abort = new AbortController();
    const call = client.call('wait', null, { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    await turn();
    expect(aborted).toBe(2);
    await expect(client.call('wait', null, { signal: abort.signal })).rejects.toThrow('enough');
  });

  it('lets the handler end when the reader stops early', async () => {
    const client = await link({
      many: async (_: unknown, context: CallContext) => {
        for (let n = 0; n < 100; n++) await context.send(n);
        return 'all';
      },
    });
    const call = client.open('many', null);
    for await (const part of call.parts) if (part === 3) break;
    expect(await call.result).toBe('all');
    expect(await client.call('many', null)).toBe('all');
  });
});

describe('sockets', () => {
  it('carries big frames and exact values', async () => {
    const { client } = await pair({ echo: (body: unknown) => body });
    const big = Buffer.alloc(30_000_000);
    for (let n = 0; n < big.length; n += 4096) big[n] = n % 251;
    const body = { big, i: 2n ** 60n, n: -5e12, x: 0.1, s: 'é', none: null, list: [1, [2]], safe: 7n };
    const [answer, small] = (await Promise.all([client.call('echo', body), client.call('echo', 1)])) as [typeof body, number];
    expect(answer.big.equals(big)).toBe(true);
    expect({ ...answer, big: null }).toEqual({ ...body, big: null, safe: 7 });
    expect(small).toBe(1);
  });

  it('rejects what is pending when the connection goes, and aborts the handlers', async () => {
    const reasons: unknown[] = [];
    const { server, client } = await pair({
      hang: (_: unknown, context: CallContext) =>
        new Promise(() => context.signal.addEventListener('abort', () => reasons.push(context.signal.reason))),
    });
    const closed = new Promise((resolve) => client.onClose(resolve));
    const pending = [client.call('hang', 1), client.call('hang', 2)];
    const open = client.open('hang', 3);
    await turn();
    const outcomes = Promise.allSettled([...pending, open.result, collect(open.parts)]);
    await server.close();
    for (const outcome of await outcomes) expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(ConnectionLost);
    expect(await closed).toBeInstanceOf(ConnectionLost);
    expect(client.closed).toBe(true);
    expect(reasons).toHaveLength(3);
    expect(reasons[0]).toBeInstanceOf(ConnectionLost);
    await expect(client.call('hang', 4)).rejects.toBeInstanceOf(ConnectionLost);
  });

  it('tells the server of a client that has gone', async () => {
    let gone = 0;
    const server = await listenRpc(
      join(scratch(), 's'),
      (connection) => {
        connection.onClose(() => gone++);
        return { ping: () => 'pong' };
      },
      { logger },
    );
    cleanups.push(() => server.close());
    const client = await connectRpc(server.path);
    expect(await client.call('ping', null)).toBe('pong');
    client.close();
    await turn();
    expect(gone).toBe(1);
  });

  it('drops a peer that breaks the format', async () => {
    const { server } = await pair({});
    const raw = connect(server.path);
    const closed = new Promise((resolve) => raw.once('close', resolve));
    raw.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 0]));
    await closed;
  });

  it('replaces the file of a dead process, and respects a living one', async () => {
    const path = join(scratch(), 's');
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    expect(statSync(path).isSocket()).toBe(true);
    await expect(connectRpc(path)).rejects.toBeInstanceOf(ConnectionLost);
    const server = await listenRpc(path, { ping: () => 'pong' }, { logger });
    cleanups.push(() => server.close());
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const client = await connectRpc(path);
    expect(await client.call('ping', null)).toBe('pong');
    await expect(listenRpc(path, {}, { logger })).rejects.toThrow('another process listens');
    expect(await client.call('ping', null)).toBe('pong');
    client.close();
  });

  it('gives long data directories a short name in a private directory', () => {
    expect(socketPath('/d')).toBe('/d/.s.damson');
    const long = socketPath(`/${'x'.repeat(120)}`);
    expect(long.length).toBeLessThan(100);
    expect(long).not.toBe(socketPath(`/${'x'.repeat(121)}`));
    expect(statSync(join(long, '..')).mode & 0o777).toBe(0o700);
  });

  it('connects within a time limit', async () => {
    const path = join(scratch(), 's');
    const raw = createServer();
    await new Promise<void>((resolve) => raw.listen(path, resolve));
    cleanups.push(() => raw.close());
    const client = await connectRpc(path, { timeoutMs: 1000 });
    await expect(client.call('x', null, { timeoutMs: 20 })).rejects.toBeInstanceOf(CallTimeout);
    client.close();
  });
});

it('cuts frames at every split of the bytes', () => {
  const bodies = [undefined, 1, 'abc', { a: Buffer.alloc(40, 7) }];
  const bytes = Buffer.concat(bodies.map((body, n) => encodeFrame(5, n, body)));
  for (let first = 0; first <= bytes.length; first++) {
    for (const second of [first, first + 1, first + 9, bytes.length]) {
      const frames: Frame[] = [];
      const reader = new FrameReader((frame) => frames.push(frame));
      reader.push(bytes.subarray(0, first));
      reader.push(bytes.subarray(first, second));
      reader.push(bytes.subarray(Math.min(second, bytes.length)));
      expect(frames.map(({ body }) => body)).toEqual(bodies);
    }
  }
});
