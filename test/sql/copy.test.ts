/** COPY at length: errors far into the input, cancellation, backpressure; and that none of it leaves anything behind. */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCluster } from '../helpers/cluster.js';

let cluster: TestCluster;
let client: pg.Client;

const COLUMNS = 'id bigint, kind text, payload jsonb, at timestamp';

beforeAll(async () => {
  cluster = await TestCluster.start({ segments: 2, mirrors: true });
  client = await cluster.client();
  await client.query(`create table ev (${COLUMNS}) using columnar distributed by (id)`);
  await client.query(`create table hp (${COLUMNS}) using heap distributed by (id)`);
}, 120_000);

afterAll(async () => {
  await client?.end();
  await cluster?.stop();
}, 120_000);

type Format = 'csv' | 'text';

function row(id: number, format: Format): string {
  const payload = `{"ref": "refs/heads/main", "size": ${id % 7}}`;
  const at = `2024-01-01 00:00:${String(id % 60).padStart(2, '0')}`;
  if (format === 'text') return `${id}\tPush\t${payload}\t${at}\n`;
  return `${id},Push,"${payload.replaceAll('"', '""')}",${at}\n`;
}

/** Rows in chunks of some hundred kilobytes. */
function* input(format: Format, count: number, broken: ReadonlyMap<number, string> = new Map()): Generator<Buffer> {
  let text = '';
  for (let id = 1; id <= count; id++) {
    text += broken.get(id) ?? row(id, format);
    if (text.length < 256 * 1024) continue;
    yield Buffer.from(text);
    text = '';
  }
  yield Buffer.from(text);
}

async function copyIn(
  table: string,
  format: Format,
  source: Iterable<Buffer> | AsyncIterable<Buffer>,
  on = client,
): Promise<number> {
  const stream = on.query(copyFrom(`copy ${table} from stdin (format ${format})`));
  await pipeline(Readable.from(source), stream);
  return stream.rowCount;
}

async function failure(work: Promise<unknown>): Promise<pg.DatabaseError> {
  return (await work.then(
    () => Promise.reject(new Error('no error')),
    (error: unknown) => error,
  )) as pg.DatabaseError;
}

async function count(table: string): Promise<number> {
  return Number((await client.query(`select count(*) from ${table}`)).rows[0].count);
}

/** Temporary files of every instance, and batch files that no record can refer to. */
function leftovers(): string[] {
  return cluster.instances.flatMap(({ datadir }) => {
    const directory = join(datadir, 'tmp');
    return readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  });
}

/** What begins after a statement has ended may still be under way. */
async function eventually(check: () => unknown | Promise<unknown>): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await check();
      return;
    } catch (error) {
      if (attempt >= 100) throw error;
      await sleep(100);
    }
  }
}

/** No row, no file, and no lock, which another session would wait for. */
async function expectNothingLeft(table: string): Promise<void> {
  const other = await cluster.client();
  try {
    await other.query("set lock_timeout = '20s'");
    await other.query(`truncate ${table}`);
  } finally {
    await other.end();
  }
  expect(await count(table)).toBe(0);
  await eventually(() => expect(leftovers().filter((path) => /\.(csv|parquet)$/.test(path))).toEqual([]));
}

const FAR = 12_000;

describe.each(['ev', 'hp'])('a broken row far into COPY into %s', (table) => {
  const cases: [name: string, format: Format, broken: string, expected: Partial<pg.DatabaseError>][] = [
    [
      'a number, csv',
      'csv',
      'x1,Push,"{}",2024-01-01 00:00:00\n',
      {
        code: '22P02',
        message: 'invalid input syntax for type bigint: "x1"',
        where: `COPY ${table}, line ${FAR}, column id: "x1"`,
      },
    ],
    [
      'a number, text',
      'text',
      'x1\tPush\t{}\t2024-01-01 00:00:00\n',
      {
        code: '22P02',
        message: 'invalid input syntax for type bigint: "x1"',
        where: `COPY ${table}, line ${FAR}, column id: "x1"`,
      },
    ],
    [
      'a document, csv',
      'csv',
      '1,Push,"{""a"": }",2024-01-01 00:00:00\n',
      { code: '22P02', message: 'invalid input syntax for type json' },
    ],
    [
      'too few columns, csv',
      'csv',
      '1,Push,"{}"\n',
      { code: '22P04', message: 'missing data for column "at"', where: `COPY ${table}, line ${FAR}: "1,Push,"{}""` },
    ],
    [
      'too few columns, text',
      'text',
      '1\tPush\n',
      { code: '22P04', message: 'missing data for column "payload"', where: `COPY ${table}, line ${FAR}: "1\tPush"` },
    ],
    [
      'too many columns, csv',
      'csv',
      '1,Push,"{}",2024-01-01 00:00:00,9\n',
      {
        code: '22P04',
        message: 'extra data after last expected column',
        where: `COPY ${table}, line ${FAR}: "1,Push,"{}",2024-01-01 00:00:00,9"`,
      },
    ],
    [
      'too many columns, text',
      'text',
      '1\tPush\t{}\t2024-01-01 00:00:00\t9\n',
      {
        code: '22P04',
        message: 'extra data after last expected column',
        where: `COPY ${table}, line ${FAR}: "1\tPush\t{}\t2024-01-01 00:00:00\t9"`,
      },
    ],
    ['no distribution value, csv', 'csv', ',Push,"{}",2024-01-01 00:00:00\n', { where: `COPY ${table}, line ${FAR}` }],
    ['no distribution value, text', 'text', '\\N\tPush\t{}\t2024-01-01 00:00:00\n', { where: `COPY ${table}, line ${FAR}` }],
  ];
  it.each(cases)('%s', async (_, format, broken, expected) => {
    const error = await failure(copyIn(table, format, input(format, FAR + 3000, new Map([[FAR, broken]]))));
    expect(error).toMatchObject(expected);
    expect(error.where).toContain(`line ${FAR}`);
    await expectNothingLeft(table);
  });

  it('is counted by lines, not rows', async () => {
    const broken = new Map([
      [100, '100,"two\nlines","{}",2024-01-01 00:00:00\n'],
      [FAR, 'x1,Push,"{}",2024-01-01 00:00:00\n'],
    ]);
    const error = await failure(copyIn(table, 'csv', input('csv', FAR + 1, broken)));
    expect(error.where).toBe(`COPY ${table}, line ${FAR + 1}, column id: "x1"`);
    await expectNothingLeft(table);
  });

  it('takes the rows before it with it in a block, and leaves the block to be rolled back', async () => {
    await client.query('begin');
    await copyIn(table, 'csv', input('csv', 10));
    const broken = new Map([[FAR, 'x1,Push,"{}",2024-01-01 00:00:00\n']]);
    expect(await failure(copyIn(table, 'csv', input('csv', FAR, broken)))).toMatchObject({ code: '22P02' });
    expect(await failure(client.query('select 1'))).toMatchObject({ code: '25P02' });
    await client.query('rollback');
    await expectNothingLeft(table);
  });
});

/** Chunks that come until somebody says stop, one at a time. */
async function* endless(format: Format, began: () => void): AsyncGenerator<Buffer> {
  const [chunk] = input(format, 4000);
  for (let sent = 0; ; sent++) {
    if (sent === 40) began();
    yield chunk!;
    await sleep(sent < 40 ? 0 : 5);
  }
}

/** What Ctrl-C in psql sends. */
async function cancel(session: pg.Client): Promise<void> {
  const { processID, secretKey } = session as unknown as { processID: number; secretKey: number };
  const socket = connect(cluster.coordinator.port, '127.0.0.1');
  const message = Buffer.alloc(16);
  message.writeInt32BE(16, 0);
  message.writeInt32BE(80877102, 4);
  message.writeInt32BE(processID, 8);
  message.writeInt32BE(secretKey, 12);
  socket.end(message);
  socket.resume();
  await once(socket, 'close');
}

describe.each(['ev', 'hp'])('a cancelled statement on %s', (table) => {
  it.each(['csv', 'text'] as const)('COPY FROM, %s', async (format) => {
    const session = await cluster.client();
    let began: () => void = () => undefined;
    const going = new Promise<void>((resolve) => {
      began = resolve;
    });
    const failed = failure(copyIn(table, format, endless(format, began), session));
    await going;
    await cancel(session);
    expect(await failed).toMatchObject({ code: '57014', message: 'canceling statement due to user request' });
    await session.end();
    await expectNothingLeft(table);
  });

  it('COPY TO and SELECT of rows that are read slowly', async () => {
    await copyIn(table, 'csv', input('csv', 200_000));
    const wide = `select id, repeat(kind, 250), at from ${table}`;
    for (const sql of [`copy (${wide}) to stdout`, `copy (${wide} order by id) to stdout`]) {
      const session = await cluster.client();
      const stream = session.query(copyTo(sql));
      const failed = new Promise((resolve) => stream.once('error', resolve));
      let chunks = 0;
      stream.on('data', () => {
        if (++chunks === 3) void cancel(session);
        if (chunks % 100 !== 0) return;
        stream.pause();
        setTimeout(() => stream.resume(), 1);
      });
      expect(await failed).toMatchObject({ code: '57014' });
      expect((await session.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
      await session.end();
    }
    await expectNothingLeft(table);
  });

  it('a client that goes away in the middle of COPY', async () => {
    const session = await cluster.client();
    let began: () => void = () => undefined;
    const going = new Promise<void>((resolve) => {
      began = resolve;
    });
    const failed = failure(copyIn(table, 'csv', endless('csv', began), session));
    await going;
    (session as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    await failed;
    await expectNothingLeft(table);
  });
});

describe.each(['ev', 'hp'])('an error far into an answer from %s', (table) => {
  it('is told, not taken for its end', async () => {
    await copyIn(table, 'csv', input('csv', 60_000));
    const division = `select 1 / (id - 50000) from ${table}`;
    for (const sql of [division, `${division} where id > 0 order by id`, `copy (${division}) to stdout`]) {
      const done = sql.startsWith('copy') ? drained(client.query(copyTo(sql))) : client.query(sql);
      expect(await failure(done)).toMatchObject({ code: '22012', message: 'division by zero' });
    }
    await expectNothingLeft(table);
  });
});

function drained(stream: ReturnType<typeof copyTo>): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.on('data', () => undefined);
    stream.once('end', resolve);
    stream.once('error', reject);
  });
}

describe('a slow reader', () => {
  const rss = (dbid: number): number => {
    const status = readFileSync(`/proc/${cluster.daemons.get(dbid)!.child.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
  };
  it.each(['ev', 'hp'])(
    'holds rows of %s back, not in memory',
    async (table) => {
      await copyIn(table, 'csv', input('csv', 400_000));
      const session = await cluster.client();
      const primaries = cluster.instances.filter(({ role }) => role === 'p').map(({ dbid }) => dbid);
      const before = primaries.map(rss);
      // Two fields of 500 bytes make 400 MB of the answer, which the client reads for as long as the test looks.
      const stream = session.query(
        copyTo(`copy (select id, repeat(kind, 125), repeat(kind, 125), payload, at from ${table}) to stdout`),
      );
      let bytes = 0;
      let peak = primaries.map(() => 0);
      let chunks = 0;
      for await (const chunk of stream) {
        bytes += (chunk as Buffer).length;
        if (++chunks % 50 !== 0) continue;
        if (chunks < 2000) await sleep(10);
        peak = primaries.map((dbid, i) => Math.max(peak[i]!, rss(dbid)));
      }
      expect(bytes).toBeGreaterThan(400_000 * 1000);
      peak.forEach((value, i) => {
        expect(value - before[i]!).toBeLessThan(300);
      });
      await session.end();
      await expectNothingLeft(table);
    },
    120_000,
  );
});
