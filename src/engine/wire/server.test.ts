import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { afterEach, describe, expect, it } from 'vitest';
import { notSupported, SqlError } from '../../core/errors.js';
import { silentLogger } from '../../core/log.js';
import { type AuthDecision, authenticateBy } from './auth.js';
import type { WireConnection, WireSession } from './connection.js';
import * as backend from './messages.js';
import type { SessionMessage } from './parser.js';
import { listenRefusing } from './refuse.js';
import { scramVerifier } from './scram.js';
import { listenWire, type WireServer } from './server.js';

const FIELD = { name: 'v', relationOid: 0, attnum: 0, typeOid: 25, typeSize: -1, typmod: -1 };

/** A session over no database: answers a few commands, so that the protocol can be seen at work. */
class EchoSession implements WireSession {
  static copied: Buffer[] = [];
  static closed = 0;
  static log: string[] = [];
  private readonly statements = new Map<string, string>();
  private params: (Buffer | null)[] = [];
  private portal = '';
  cancel: (() => void) | undefined;

  constructor(private readonly connection: WireConnection) {}

  transactionStatus(): backend.TransactionStatus {
    return 'I';
  }

  onClose(): void {
    EchoSession.closed++;
  }

  async onMessage(message: SessionMessage): Promise<void> {
    EchoSession.log.push(message.type);
    switch (message.type) {
      case 'query':
        return this.run(message.sql, [], true);
      case 'parse':
        if (message.sql === 'bad') throw new SqlError('42601', 'syntax error at or near "bad"', { position: 1, hint: 'no' });
        this.statements.set(message.name, message.sql);
        this.connection.write(backend.PARSE_COMPLETE);
        return;
      case 'bind':
        this.portal = this.statements.get(message.statement)!;
        this.params = message.params;
        this.connection.write(backend.BIND_COMPLETE);
        return;
      case 'describe':
        if (message.kind === 'S') this.connection.write(backend.parameterDescription([25]));
        this.connection.write(backend.rowDescription([FIELD]));
        return;
      case 'execute':
        return this.run(this.portal, this.params, false);
      case 'close':
        this.connection.write(backend.CLOSE_COMPLETE);
        return;
      default:
        return;
    }
  }

  private async run(sql: string, params: (Buffer | null)[], describe: boolean): Promise<void> {
    const { connection } = this;
    if (sql.startsWith('copy')) return this.copy(sql);
    if (sql === 'fail') throw notSupported('not this', 'try that');
    if (sql === 'crash') throw new TypeError('a defect');
    if (sql === 'fatal') throw new SqlError('57P01', 'goodbye', { fatal: true });
    if (sql === 'wait') {
      await new Promise<void>((resolve) => {
        this.cancel = resolve;
      });
      throw new SqlError('57014', 'canceling statement due to user request');
    }
    if (describe) connection.write(backend.rowDescription([FIELD]));
    const count = /^many (\d+)$/.exec(sql);
    const rows = count === null ? 1 : Number(count[1]);
    const text = params.length > 0 ? (params[0]?.toString() ?? null) : sql;
    for (let i = 0; i < rows; i++) {
      connection.write(backend.dataRow([count === null ? text : 'x'.repeat(1000)]));
      if (i % 100 === 99) await connection.flush();
    }
    connection.write(backend.noticeResponse('NOTICE', new SqlError('00000', 'noted')));
    connection.write(backend.commandComplete(`SELECT ${rows}`));
  }

  private async copy(sql: string): Promise<void> {
    EchoSession.copied = [];
    for await (const bytes of this.connection.copyIn(2)) {
      if (sql === 'copy broken') throw new SqlError('22P04', 'bad data');
      EchoSession.copied.push(Buffer.from(bytes));
    }
    this.connection.write(backend.commandComplete('COPY 1'));
  }
}

let server: WireServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(
  decide: (user: string) => AuthDecision | undefined = () => ({ method: 'trust' }),
  extra = {},
): Promise<WireServer> {
  const sessions = new Map<WireConnection, EchoSession>();
  EchoSession.log = [];
  server = await listenWire({
    host: '127.0.0.1',
    port: 0,
    logger: silentLogger(),
    authenticate: authenticateBy((startup) => decide(startup.user), Buffer.from('server secret')),
    async onSession(startup, connection) {
      connection.write(backend.parameterStatus('server_version', '18.0'));
      connection.write(backend.parameterStatus('session_authorization', startup.user));
      const session = new EchoSession(connection);
      sessions.set(connection, session);
      return session;
    },
    onCancel: (connection) => sessions.get(connection)?.cancel?.(),
    ...extra,
  });
  return server;
}

async function client(options: pg.ClientConfig = {}): Promise<pg.Client> {
  const made = new pg.Client({ host: '127.0.0.1', port: server!.port, user: 'ann', database: 'shop', ...options });
  made.on('error', () => {});
  await made.connect();
  return made;
}

async function failure(promise: Promise<unknown>): Promise<{ code: string; message: string; severity?: string; hint?: string }> {
  return promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error) => error as never,
  );
}

/** A bare connection that collects what the server sends; bytes outside of printable ASCII read as `·`. */
async function raw(): Promise<{ socket: Socket; read(pattern: RegExp): Promise<string> }> {
  const socket = connect(server!.port, '127.0.0.1');
  let received = '';
  let wake: () => void = () => {};
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1').replace(/[^ -~]/g, '·');
    wake();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    received += '<closed>';
    wake();
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  return {
    socket,
    async read(pattern) {
      while (!pattern.test(received)) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const taken = received;
      received = '';
      return taken;
    },
  };
}

const query = (sql: string) => {
  const head = Buffer.alloc(5);
  head.write('Q');
  head.writeInt32BE(5 + Buffer.byteLength(sql), 1);
  return Buffer.concat([head, Buffer.from(`${sql}\0`)]);
};

describe('with node-postgres', () => {
  it('runs simple and extended queries', async () => {
    await start();
    const c = await client();
    const notices: string[] = [];
    c.on('notice', (notice) => notices.push(`${notice.severity} ${notice.message}`));
    expect((await c.query('hello äöü')).rows).toEqual([{ v: 'hello äöü' }]);
    expect((await c.query('select $1', ['äöü'])).rows).toEqual([{ v: 'äöü' }]);
    expect((await c.query('select $1', [null])).rows).toEqual([{ v: null }]);
    expect(notices).toEqual(['NOTICE noted', 'NOTICE noted', 'NOTICE noted']);
    await c.end();
  });

  it('sends errors with their fields, and goes on', async () => {
    await start();
    const c = await client();
    expect(await failure(c.query('fail'))).toMatchObject({
      code: '0A000',
      message: 'not this',
      hint: 'try that',
      severity: 'ERROR',
    });
    expect(await failure(c.query('crash'))).toMatchObject({ code: 'XX000', message: 'a defect' });
    expect(await failure(c.query({ text: 'bad', values: [1] }))).toMatchObject({ code: '42601', position: '1' });
    // After the error everything up to Sync was skipped: no bind reached the session.
    expect(EchoSession.log).toEqual(['query', 'query', 'parse', 'sync']);
    expect((await c.query('select $1', ['ok'])).rows).toEqual([{ v: 'ok' }]);
    await c.end();
  });

  it('ends the connection after a fatal error, and tells the session', async () => {
    await start();
    EchoSession.closed = 0;
    const c = await client();
    expect(await failure(c.query('fatal'))).toMatchObject({ code: '57P01', severity: 'FATAL' });
    await Promise.all([...server!.connections].map((connection) => connection.closed));
    expect(EchoSession.closed).toBe(1);
  });

  it('streams large results with backpressure', async () => {
    await start();
    const c = await client();
    expect((await c.query('many 20000')).rows.length).toBe(20000);
    await c.end();
  });

  it('takes COPY, also when it fails in the middle or the client gives up', async () => {
    await start();
    const c = await client();
    const data = Buffer.alloc(3 * 1024 * 1024, 'line of data\n');
    await pipeline(
      Readable.from([data.subarray(0, 5), data.subarray(5, 2000000), data.subarray(2000000)]),
      c.query(copyFrom('copy')),
    );
    expect(Buffer.concat(EchoSession.copied).equals(data)).toBe(true);
    await expect(pipeline(Readable.from([data]), c.query(copyFrom('copy broken')))).rejects.toThrow('bad data');
    expect((await c.query('still here')).rows).toEqual([{ v: 'still here' }]);
    await c.end();
  });

  it('cancels the right statement only', async () => {
    await start();
    const c = await client();
    const internals = c as unknown as { processID: number; secretKey: number };
    const waiting = failure(c.query('wait'));
    const send = async (processId: number, key: number) => {
      const { socket, read } = await raw();
      const bytes = Buffer.alloc(16);
      bytes.writeInt32BE(16, 0);
      bytes.writeInt32BE(80877102, 4);
      bytes.writeInt32BE(processId, 8);
      bytes.writeInt32BE(key, 12);
      socket.write(bytes);
      await read(/<closed>/);
    };
    await send(internals.processID, internals.secretKey ^ 1);
    await send(internals.processID + 1, internals.secretKey);
    await send(internals.processID, internals.secretKey);
    expect(await waiting).toMatchObject({ code: '57014' });
    await c.end();
  });

  it('authenticates by SCRAM-SHA-256', async () => {
    const verifier = await scramVerifier('pass wörd');
    await start((user) =>
      user === 'ann'
        ? { method: 'scram-sha-256', verifier }
        : user === 'bob'
          ? { method: 'scram-sha-256', verifier: null }
          : undefined,
    );
    const c = await client({ password: 'pass wörd' });
    expect((await c.query('in')).rows).toEqual([{ v: 'in' }]);
    await c.end();
    expect(await failure(client({ password: 'wrong' }))).toMatchObject({
      code: '28P01',
      message: 'password authentication failed for user "ann"',
      severity: 'FATAL',
    });
    expect(await failure(client({ user: 'bob', password: 'x' }))).toMatchObject({ code: '28P01' });
    expect(await failure(client({ user: 'eve' }))).toMatchObject({
      code: '28000',
      message: 'no pg_hba.conf entry for host "127.0.0.1", user "eve", database "shop", no encryption',
    });
  });

  it('rejects and limits connections', async () => {
    await start((user) => ({ method: user === 'eve' ? 'reject' : 'trust' }), { maxConnections: 1 });
    expect(await failure(client({ user: 'eve' }))).toMatchObject({ code: '28000' });
    const first = await client();
    expect(await failure(client())).toMatchObject({ code: '53300' });
    await first.end();
  });

  it('close ends open connections with 57P01', async () => {
    await start();
    const c = await client();
    const waiting = failure(c.query('wait'));
    const [connection] = server!.connections;
    const aborted = new Promise((resolve) => connection!.signal.addEventListener('abort', resolve));
    const closing = server!.close();
    await aborted;
    expect((await waiting).code).toBe('57P01');
    // The session is still in its statement; it ends when that does.
    expect(server!.connections.size).toBe(1);
    server = undefined;
    void closing;
  });
});

describe('with raw bytes', () => {
  const startup = (() => {
    const body = Buffer.from('\0\x03\0\0user\0ann\0\0', 'latin1');
    const head = Buffer.alloc(4);
    head.writeInt32BE(4 + body.length);
    return Buffer.concat([head, body]);
  })();

  it('works with every byte in its own packet, and pipelined', async () => {
    await start();
    const { socket, read } = await raw();
    const terminate = Buffer.from([0x58, 0, 0, 0, 4]);
    for (const byte of Buffer.concat([startup, query('one'), query('two')])) {
      socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await read(/two.*Z····I/)).toBeTruthy();
    socket.write(Buffer.concat([query('three'), query('four'), terminate]));
    const rest = await read(/<closed>/);
    expect(rest.indexOf('three')).toBeLessThan(rest.indexOf('four'));
  });

  it('answers SSL and GSS requests with N, and refuses data behind them', async () => {
    await start();
    const polite = await raw();
    polite.socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]));
    expect(await polite.read(/N/)).toBe('N');
    polite.socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]));
    expect(await polite.read(/N/)).toBe('N');
    polite.socket.write(startup);
    await polite.read(/Z····I/);
    polite.socket.destroy();
    const rude = await raw();
    rude.socket.write(Buffer.concat([Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]), startup]));
    expect(await rude.read(/<closed>/)).toContain('unencrypted data after SSL request');
  });

  it('negotiates the protocol version and refuses old ones', async () => {
    await start();
    const newer = await raw();
    const body = Buffer.from('\0\x03\0\x02user\0ann\0_pq_.x\x001\0\0', 'latin1');
    const head = Buffer.alloc(4);
    head.writeInt32BE(4 + body.length);
    newer.socket.write(Buffer.concat([head, body]));
    expect(await newer.read(/Z····I/)).toMatch(/^v·{12}_pq_\.x·R/);
    newer.socket.destroy();
    const old = await raw();
    old.socket.write(Buffer.from([0, 0, 0, 8, 0, 2, 0, 0]));
    expect(await old.read(/<closed>/)).toContain('unsupported frontend protocol 2.0');
  });

  it('gives up on clients that say nothing', async () => {
    await start(() => ({ method: 'trust' }), { authenticationTimeoutMs: 30 });
    const silent = await raw();
    expect(await silent.read(/<closed>/)).toContain('canceling authentication due to timeout');
  });

  it('aborts the signal when the client goes away', async () => {
    await start();
    const { socket, read } = await raw();
    socket.write(Buffer.concat([startup, query('wait')]));
    await read(/Z····I/);
    const [connection] = server!.connections;
    const aborted = new Promise((resolve) => connection!.signal.addEventListener('abort', resolve));
    socket.destroy();
    await aborted;
    server = undefined;
  });
});

describe('listenRefusing', () => {
  it('tells PostgreSQL clients where to go', async () => {
    const refusing = await listenRefusing({
      host: '127.0.0.1',
      port: 0,
      message: 'this is segment 3 of a Damson cluster; clients connect to the coordinator',
      hint: 'Connect to mdw, port 5432.',
    });
    const c = new pg.Client({ host: '127.0.0.1', port: refusing.port, user: 'ann', ssl: false });
    c.on('error', () => {});
    expect(await failure(c.connect())).toMatchObject({ code: '28000', severity: 'FATAL', hint: 'Connect to mdw, port 5432.' });
    const tls = new pg.Client({ host: '127.0.0.1', port: refusing.port, user: 'ann', ssl: true });
    tls.on('error', () => {});
    expect((await failure(tls.connect())).message).toContain('does not support SSL');
    await refusing.close();
  });
});
