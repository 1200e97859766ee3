import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Oid } from '../../model/storage.js';
import type { ModifyFragment, WriteResult } from '../../model/task.js';
import { isBlock, unpackBlock } from '../codec/duck-block.js';
import { duckdbError, sqliteError } from '../dialect/engine-errors.js';
import { decodeRows, fragment, OUTPUT, SETTINGS, shardDef, TestInstance, temporaryDirectory } from './test-instance.js';

let directory: ReturnType<typeof temporaryDirectory>;
let one: TestInstance;

beforeEach(async () => {
  directory = temporaryDirectory();
  one = await new TestInstance(directory.path).open();
  await one.role('p');
});

afterEach(async () => {
  await one.close('immediate');
  expect(one.fatal).toEqual([]);
  directory.remove();
});

async function restart(mode: 'fast' | 'immediate' = 'immediate'): Promise<void> {
  await one.close(mode);
  one = await new TestInstance(directory.path).open();
  one.incarnation++;
  await one.role('p');
}

function modify(op: 'update' | 'delete', engine: 'sqlite' | 'duckdb', options: Partial<ModifyFragment> = {}): ModifyFragment {
  return {
    op,
    engine,
    target: { alias: 't0', tableId: 1, columns: [1, 2, 3] },
    assignments: [],
    where: null,
    params: [],
    returning: null,
    notNull: [{ attnum: 1, name: 'id' }],
    tableName: 't',
    ...options,
  };
}

describe('one-phase commit', () => {
  for (const method of ['heap', 'columnar'] as const) {
    const engine = method === 'heap' ? 'sqlite' : 'duckdb';
    it(`${method}: shows a commit, hides what is open, and survives a restart`, async () => {
      await one.create(shardDef(10, method));
      const gid = one.gid();
      expect(
        await one.insert(gid, 10, [
          [1, 'a', 150],
          [2, null, null],
        ]),
      ).toEqual({ rows: 2 });
      expect(await one.rows(10, engine)).toEqual([]);
      expect(await one.rows(10, engine, gid)).toEqual([
        ['1', 'a', '1.50'],
        ['2', null, null],
      ]);
      const { lsn } = await one.commit1(gid);
      expect(lsn).toBeGreaterThan(0);
      expect(await one.rows(10, engine)).toEqual([
        ['1', 'a', '1.50'],
        ['2', null, null],
      ]);
      await restart();
      expect(await one.rows(10, engine)).toEqual([
        ['1', 'a', '1.50'],
        ['2', null, null],
      ]);
      expect(await one.call('outcome', { gid })).toEqual({ committed: true });
      expect(await one.call('outcome', { gid: '1.1.999' })).toEqual({ committed: false });
    });
  }

  it('rolls back on abort and leaves nothing', async () => {
    await one.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
    const gid = one.gid();
    await one.insert(gid, 10, [[1, 'a', 150]]);
    await one.insert(gid, 11, [[1, 'a', 150]]);
    await one.call('abort', { gid });
    expect(await one.rows(10)).toEqual([]);
    expect(await one.rows(11, 'duckdb')).toEqual([]);
    await expect(one.commit1(gid)).rejects.toMatchObject({ sqlstate: '40001' });
  });

  it('refuses to commit what was lost with the process', async () => {
    await one.create(shardDef(10, 'heap'));
    const gid = one.gid();
    await one.insert(gid, 10, [[1, 'a', 150]]);
    await restart();
    await expect(one.commit1(gid)).rejects.toMatchObject({ sqlstate: '40001' });
    expect(await one.rows(10)).toEqual([]);
  });

  it('leaves only abort after a failed statement', async () => {
    await one.create(shardDef(10, 'heap', 'c2_0', { uniques: [{ name: 't_pkey', attnums: [1], primary: true }] }));
    const gid = one.gid();
    await one.insert(gid, 10, [[1, 'a', 150]]);
    await expect(one.insert(gid, 10, [[1, 'b', 150]])).rejects.toMatchObject({ sqlstate: '23505' });
    await expect(one.insert(gid, 10, [[2, 'b', 150]])).rejects.toMatchObject({ sqlstate: '25P02' });
    await one.call('abort', { gid });
    expect(await one.rows(10)).toEqual([]);
  });
});

describe('two-phase commit', () => {
  it('keeps a prepared transaction over a restart, with its locks, and commits it from its record', async () => {
    await one.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
    const gid = one.gid();
    await one.insert(gid, 10, [[1, 'a', 150]]);
    await one.insert(gid, 11, [[2, 'b', 250]]);
    const locks = [
      { name: 'set:c2_10', mode: 'X' as const },
      { name: 'shard:11', mode: 'A' as const },
    ];
    expect(await one.prepare(gid, locks)).toEqual({ readOnly: false });
    expect(await one.rows(10)).toEqual([]);
    await restart();
    const hello = await one.call<{ prepared: { gid: string; locks: unknown }[] }>('hello', { dbid: 2 });
    expect(hello.prepared).toMatchObject([{ gid, locks, participants: [0, 1] }]);
    await expect(one.insert(one.gid(), 10, [[9, 'x', 1]])).rejects.toMatchObject({ sqlstate: '55P03' });
    expect(await one.call('commit2', { gid })).toEqual({ known: true });
    expect(await one.rows(10)).toEqual([['1', 'a', '1.50']]);
    expect(await one.rows(11, 'duckdb')).toEqual([['2', 'b', '2.50']]);
    expect(await one.call('commit2', { gid })).toEqual({ known: true });
    await restart();
    expect(await one.rows(10)).toEqual([['1', 'a', '1.50']]);
    expect(await one.rows(11, 'duckdb')).toEqual([['2', 'b', '2.50']]);
    expect(await one.call('commit2', { gid })).toEqual({ known: true });
    await one.call('forget', { gids: [gid] });
    expect(await one.call('commit2', { gid })).toEqual({ known: false });
  });

  it('commits without a restart, and aborts a prepared one', async () => {
    await one.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
    const gid = one.gid();
    await one.insert(gid, 10, [[1, 'a', 150]]);
    await one.prepare(gid);
    await one.call('commit2', { gid });
    expect(await one.rows(10)).toHaveLength(1);
    const other = one.gid();
    await one.insert(other, 10, [[2, 'b', 150]]);
    await one.insert(other, 11, [[2, 'b', 150]]);
    await one.prepare(other);
    await one.call('abort', { gid: other });
    expect(await one.rows(10)).toHaveLength(1);
    await restart();
    expect(await one.rows(10)).toHaveLength(1);
    expect(await one.rows(11, 'duckdb')).toEqual([]);
    expect((await one.call<{ prepared: unknown[] }>('hello', { dbid: 2 })).prepared).toEqual([]);
  });

  it('votes read only where nothing was written', async () => {
    await one.create(shardDef(10, 'heap'));
    const gid = one.gid();
    await one.call('write', {
      op: 'modify',
      gid,
      fragment: modify('delete', 'sqlite'),
      shards: [10],
      params: [],
      returning: null,
    });
    expect(await one.prepare(gid)).toEqual({ readOnly: true });
  });

  it('a reading that comes after a second phase sees it', async () => {
    await one.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
    for (let i = 0; i < 10; i++) {
      const gid = one.gid();
      await one.insert(gid, 10, [[i, 'a', 1]]);
      await one.insert(gid, 11, [[i, 'a', 1]]);
      await one.prepare(gid);
      const committed = one.call('commit2', { gid });
      const heap = one.rows(10);
      const columnar = one.rows(11, 'duckdb');
      expect(await heap).toHaveLength(i + 1);
      expect(await columnar).toHaveLength(i + 1);
      await committed;
    }
  });
});

describe('UPDATE and DELETE', () => {
  for (const method of ['heap', 'columnar'] as const) {
    const engine = method === 'heap' ? 'sqlite' : 'duckdb';
    const p = (n: number) => (method === 'heap' ? `?${n}` : `$${n}::BIGINT`);

    it(`${method}: changes rows, returns them, and shows its own changes only to itself`, async () => {
      await one.create(shardDef(10, method), shardDef(12, method));
      const load = one.gid();
      await one.insert(load, 10, [
        [1, 'a', 100],
        [2, 'b', 200],
      ]);
      await one.insert(load, 12, [[3, 'c', 300]]);
      await one.commit1(load);
      const gid = one.gid();
      const result = await one.call<WriteResult>('write', {
        op: 'modify',
        gid,
        fragment: modify('update', engine, {
          assignments: [{ attnum: 2, sql: `c2 || 'x'` }],
          where: `c1 >= ${p(3)}`,
          params: [{ n: 3, typeOid: Oid.int8, typmod: -1 }],
          returning: [
            { sql: 'c1', output: OUTPUT[0]! },
            { sql: 'c2', output: OUTPUT[1]! },
          ],
        }),
        shards: [10, 12],
        params: [null, null, '2'],
        returning: { formats: [0, 0], session: SETTINGS },
      });
      expect(result.rows).toBe(2);
      expect(decodeRows(result.returned!)).toEqual([
        ['2', 'bx'],
        ['3', 'cx'],
      ]);
      const removed = await one.call<WriteResult>('write', {
        op: 'modify',
        gid,
        fragment: modify('delete', engine, { where: `c2 = 'cx'`, returning: [{ sql: 'c1', output: OUTPUT[0]! }] }),
        shards: [10, 12],
        params: [],
        returning: { formats: [0], session: SETTINGS },
      });
      expect(removed.rows).toBe(1);
      expect(decodeRows(removed.returned!)).toEqual([['3']]);
      expect(await one.rows(10, engine, gid)).toEqual([
        ['1', 'a', '1.00'],
        ['2', 'bx', '2.00'],
      ]);
      expect(await one.rows(12, engine, gid)).toEqual([]);
      expect(await one.rows(10, engine)).toEqual([
        ['1', 'a', '1.00'],
        ['2', 'b', '2.00'],
      ]);
      await one.commit1(gid);
      await restart();
      expect(await one.rows(10, engine)).toEqual([
        ['1', 'a', '1.00'],
        ['2', 'bx', '2.00'],
      ]);
      expect(await one.rows(12, engine)).toEqual([]);
    });

    it(`${method}: refuses NULL where the table says so`, async () => {
      await one.create(shardDef(10, method));
      const load = one.gid();
      await one.insert(load, 10, [[1, 'a', 100]]);
      await one.commit1(load);
      const gid = one.gid();
      const write = one.call('write', {
        op: 'modify',
        gid,
        fragment: modify('update', engine, { assignments: [{ attnum: 1, sql: 'NULL' }] }),
        shards: [10],
        params: [],
        returning: null,
      });
      await expect(write).rejects.toMatchObject({
        sqlstate: '23502',
        message: 'null value in column "id" of relation "t" violates not-null constraint',
      });
      await one.call('abort', { gid });
      expect(await one.rows(10, engine)).toHaveLength(1);
    });
  }
});

describe('errors of writes', () => {
  it("what generated SQL raises is the client's error", async () => {
    await one.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
    const load = one.gid();
    await one.insert(load, 10, [[1, 'a', 100]]);
    await one.insert(load, 11, [[1, 'a', 100]]);
    await one.commit1(load);
    for (const [shard, engine, raise] of [
      [10, 'sqlite', sqliteError('22012')],
      [11, 'duckdb', duckdbError('22012')],
    ] as const) {
      const gid = one.gid();
      const write = one.call('write', {
        op: 'modify',
        gid,
        fragment: modify('update', engine, { assignments: [{ attnum: 2, sql: raise }] }),
        shards: [shard],
        params: [],
        returning: null,
      });
      await expect(write).rejects.toMatchObject({ sqlstate: '22012', message: 'division by zero' });
      await one.call('abort', { gid });
    }
  });
});

describe('fragments', () => {
  async function load(): Promise<void> {
    await one.create(shardDef(10, 'heap'), shardDef(20, 'heap'), shardDef(11, 'columnar'), shardDef(21, 'columnar'));
    const gid = one.gid();
    for (const [shard, from] of [
      [10, 0],
      [20, 100],
      [11, 0],
      [21, 100],
    ] as const) {
      await one.insert(
        gid,
        shard,
        Array.from({ length: 100 }, (_, i) => [from + i, `v${i % 10}`, i * 100]),
      );
    }
    await one.commit1(gid);
  }

  it('router: one shard, a parameter, one part', async () => {
    await load();
    const { result, bytes, parts } = await one.run({
      fragment: fragment('sqlite', 'SELECT t0.c1, t0.c2, t0.c3 FROM {{t0}} AS t0 WHERE t0.c1 = ?2', {
        params: [{ n: 2, typeOid: Oid.int8, typmod: -1 }],
      }),
      shards: { t0: [20] },
      params: [null, '142'],
    });
    expect(decodeRows(bytes)).toEqual([['142', 'v2', '42.00']]);
    expect(result).toMatchObject({ rows: 1, bytes: bytes.length });
    expect(parts).toBe(1);
  });

  it('SQLite: set by set over several shards', async () => {
    await load();
    const { bytes, result } = await one.run({
      fragment: fragment('sqlite', 'SELECT c1, c2, c3 FROM {{t0}}'),
      shards: { t0: [10, 20] },
    });
    expect(result.rows).toBe(200);
    expect(
      decodeRows(bytes)
        .map(([id]) => Number(id))
        .sort((a, b) => a - b),
    ).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });

  it('DuckDB: one relation over several shards, heap ones carried over', async () => {
    await load();
    for (const shards of [
      [11, 21],
      [10, 20],
    ]) {
      const { bytes } = await one.run({
        fragment: fragment(
          'duckdb',
          'SELECT c2, count(*), sum(c3) FROM {{t0}} AS t0 WHERE c1 < $1::BIGINT GROUP BY c2 ORDER BY c2',
          {
            relations: [{ alias: 't0', tableId: 1, columns: [1, 2, 3], heapFilter: 'c1 < ?1' }],
            params: [{ n: 1, typeOid: Oid.int8, typmod: -1 }],
            output: [OUTPUT[1]!, { name: 'count', typeOid: Oid.int8, typmod: -1 }, OUTPUT[2]!],
          },
        ),
        shards: { t0: shards },
        params: ['102'],
      });
      const rows = decodeRows(bytes);
      expect(rows).toHaveLength(10);
      expect(rows[0]).toEqual(['v0', '11', '450.00']);
      expect(rows[9]).toEqual(['v9', '10', '540.00']);
    }
  });

  it('DuckDB: an alias without a shard here is empty, with types', async () => {
    await load();
    const { bytes } = await one.run({
      fragment: fragment('duckdb', 'SELECT count(*), count(t1.c1) FROM {{t0}} AS t0 LEFT JOIN {{t1}} AS t1 ON t1.c1 = t0.c1', {
        relations: [
          { alias: 't0', tableId: 1, columns: [1] },
          { alias: 't1', tableId: 99, columns: [1], types: [{ attnum: 1, typeOid: Oid.int8, typmod: -1 }] },
        ],
        output: [OUTPUT[0]!, OUTPUT[0]!],
      }),
      shards: { t0: [11], t1: [] },
    });
    expect(decodeRows(bytes)).toEqual([['100', '0']]);
  });

  it('both engines give Parquet with exact types', async () => {
    await load();
    for (const engine of ['sqlite', 'duckdb'] as const) {
      const { bytes, result } = await one.run({
        fragment: fragment(engine, 'SELECT c1, c2, c3 FROM {{t0}} AS t0 WHERE c1 < 5'),
        shards: { t0: engine === 'sqlite' ? [10] : [11] },
        form: { kind: 'parquet' },
      });
      expect(result.rows).toBe(5);
      const file = join(directory.path, `${engine}.parquet`);
      writeFileSync(file, bytes);
      const duck = await DuckDBInstance.create(':memory:');
      const connection = await duck.connect();
      const reader = await connection.runAndReadAll(
        `SELECT o0, o1, o2::VARCHAR, typeof(o0), typeof(o2) FROM '${file}' ORDER BY o0 DESC LIMIT 1`,
      );
      expect(reader.getRows()).toEqual([[4n, 'v4', '4.00', 'BIGINT', 'DECIMAL(10,2)']]);
      connection.closeSync();
      duck.closeSync();
    }
  });

  it('few rows come as blocks of values once it is known that they are few, and are those of the moment', async () => {
    await load();
    const task = {
      fragment: fragment('duckdb', 'SELECT c1, c2, c3 FROM {{t0}} AS t0 WHERE c1 < $1::BIGINT ORDER BY c1', {
        params: [{ n: 1, typeOid: Oid.int8, typmod: -1 }],
      }),
      shards: { t0: [11] },
      params: ['2'],
      form: { kind: 'parquet' as const },
    };
    expect(isBlock((await one.run(task)).bytes)).toBe(false);
    const ids = async (params = task.params) => unpackBlock((await one.run({ ...task, params })).bytes)[0]!.values;
    // First on a snapshot, then as a statement that begins at once.
    for (let i = 0; i < 3; i++) expect(await ids()).toEqual([0n, 1n]);
    const gid = one.gid();
    await one.insert(gid, 11, [[-5, 'new', null]]);
    expect(await ids()).toEqual([0n, 1n]);
    await one.commit1(gid);
    for (let i = 0; i < 3; i++) expect(await ids()).toEqual([-5n, 0n, 1n]);
    expect(isBlock((await one.run({ ...task, params: ['3'] })).bytes)).toBe(false);
    expect(await ids(['3'])).toEqual([-5n, 0n, 1n, 2n]);
  });

  it('no rows come as a block too, with their types', async () => {
    await load();
    const task = {
      fragment: fragment('duckdb', 'SELECT c1, c2, c3 FROM {{t0}} AS t0 WHERE c1 < -1'),
      shards: { t0: [11] },
      form: { kind: 'parquet' as const },
    };
    await one.run(task);
    for (let i = 0; i < 2; i++) {
      const columns = unpackBlock((await one.run(task)).bytes);
      expect(columns.map(({ type, values }) => [String(type), values])).toEqual([
        ['BIGINT', []],
        ['VARCHAR', []],
        ['DECIMAL(10,2)', []],
      ]);
    }
  });

  it('long results come in bounded parts, and can be cancelled', async () => {
    await one.create(shardDef(10, 'heap'));
    const gid = one.gid();
    const text = 'x'.repeat(1000);
    await one.insert(
      gid,
      10,
      Array.from({ length: 3000 }, (_, i) => [i, text, null]),
    );
    await one.commit1(gid);
    const task = { fragment: fragment('sqlite', 'SELECT c1, c2, c3 FROM {{t0}}'), shards: { t0: [10] } };
    const { bytes, parts } = await one.run(task);
    expect(decodeRows(bytes)).toHaveLength(3000);
    expect(parts).toBeGreaterThan(5);
    const call = one.engine.local.open('run', {
      stamp: one.stamp,
      params: [],
      form: { kind: 'datarow', formats: [0, 0, 0], session: SETTINGS },
      gid: null,
      ...task,
    });
    call.result.catch(() => undefined);
    call.cancel();
    await expect(call.result).rejects.toThrow();
  });

  it('errors of the engines are marked for the fallback', async () => {
    await load();
    const failing = [
      fragment('duckdb', `SELECT c1, c2, c3 FROM {{t0}} AS t0 WHERE error('22012') IS NULL`),
      fragment('duckdb', 'SELECT no_such_function(c1), c2, c3 FROM {{t0}} AS t0'),
      fragment('sqlite', 'SELECT abs(-9223372036854775807 - 1), c2, c3 FROM {{t0}} AS t0'),
    ];
    for (const bad of failing) {
      await expect(one.run({ fragment: bad, shards: { t0: [bad.engine === 'sqlite' ? 10 : 11] } })).rejects.toMatchObject({
        sqlstate: 'DM001',
      });
    }
  });

  it('COPY: canonical CSV into heap and columnar shards', async () => {
    await one.create(shardDef(10, 'heap'), shardDef(11, 'columnar'));
    const gid = one.gid();
    const call = one.engine.local.open<{ rows: number }>('copy', { stamp: one.stamp, gid, tableId: 1 });
    await call.push({ shardId: 10, csv: Buffer.from('1,a,1.5\n2,"b""c",\n'), rows: 2 });
    await call.push({ shardId: 11, csv: Buffer.from('3,"",2.25\n'), rows: 1 });
    call.end();
    expect(await call.result).toEqual({ rows: 3 });
    await one.commit1(gid);
    expect(await one.rows(10)).toEqual([
      ['1', 'a', '1.50'],
      ['2', 'b"c', null],
    ]);
    expect(await one.rows(11, 'duckdb')).toEqual([['3', '', '2.25']]);
  });
});

describe('fencing', () => {
  it('serves nothing before a role order, and nothing to an older coordinator or another timeline', async () => {
    await one.create(shardDef(10, 'heap'));
    await one.close();
    one = await new TestInstance(directory.path).open();
    await expect(one.rows(10)).rejects.toMatchObject({ sqlstate: '57P03' });
    one.incarnation = 5;
    await one.role('p');
    expect(await one.rows(10)).toEqual([]);
    one.incarnation = 4;
    await expect(one.rows(10)).rejects.toMatchObject({ sqlstate: 'DM002' });
    one.incarnation = 5;
    one.timeline = 2;
    await expect(one.rows(10)).rejects.toMatchObject({ sqlstate: 'DM002' });
    one.timeline = 1;
    expect(await one.rows(10)).toEqual([]);
  });

  it('a newer coordinator aborts what is not prepared', async () => {
    await one.create(shardDef(10, 'heap'));
    const gid = one.gid();
    await one.insert(gid, 10, [[1, 'a', 1]]);
    one.incarnation++;
    await one.role('p');
    await expect(one.commit1(gid)).rejects.toMatchObject({ sqlstate: '40001' });
    const other = one.gid();
    await one.insert(other, 10, [[2, 'b', 1]]);
    await one.commit1(other);
    expect(await one.rows(10)).toEqual([['2', 'b', '0.01']]);
  });
});

describe('the coordinator part', () => {
  it('decides with its own rows and catalog changes, and replays both in order', async () => {
    await one.create(shardDef(10, 'heap'));
    await one.engine.state([{ kind: 'counter', key: 'incarnation', row: { name: 'incarnation', value: 7 } }]);
    const gid = one.gid();
    await one.insert(gid, 10, [[1, 'a', 1]]);
    let seenAtDecision: Promise<unknown> | undefined;
    const { lsn } = await one.engine.decide(
      gid,
      [0, 1],
      [],
      [{ kind: 'setting', key: 'x', row: { name: 'x', value: '1' } }],
      () => {
        seenAtDecision = one.rows(10);
      },
    );
    expect(await seenAtDecision).toEqual([['1', 'a', '0.01']]);
    expect(one.catalog.map(({ ops }) => ops[0]!.key)).toEqual(['incarnation', 'x']);
    expect(one.catalog[1]!.lsn).toBe(lsn);
    one.engine.forget(gid);
    await restart();
    expect(one.catalog.map(({ ops }) => ops[0]!.key)).toEqual(['incarnation', 'x']);
    expect(await one.rows(10)).toEqual([['1', 'a', '0.01']]);
  });
});
