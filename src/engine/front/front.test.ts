import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SqlError } from '../../core/errors.js';
import { silentLogger } from '../../core/log.js';
import { openFront } from './front.js';
import {
  bindAndExecute,
  commandTag,
  describeStatement,
  parse,
  query,
  rowDescription,
  rowValues,
  splitMessages,
} from './messages.js';
import { isNode, visitNodes } from './tree-reader.js';
import type { Analyzed, Front, FrontSettings } from './types.js';

// Built by `npx tsc -p tsconfig.json && node scripts/front-template.mjs`.
const templatePath = fileURLToPath(new URL('../../../dist/engine/front/template.tar.gz', import.meta.url));
const ADMIN: FrontSettings = { role: 'postgres', gucs: {} };
const TIMEOUT = 60_000;

let front: Front;
let rebuilt = 0;

async function ddl(...statements: string[]): Promise<void> {
  const transaction = await front.beginDdl(ADMIN);
  try {
    for (const sql of statements) await transaction.exec(sql);
    await transaction.commit();
  } catch (error) {
    await transaction.rollback();
    throw error;
  }
}

function rowsIn(bytes: Buffer): (string | null)[][] {
  return splitMessages(bytes)
    .filter((m) => m.type === 'D')
    .map((m) => rowValues(m.body));
}

const typesIn = (bytes: Buffer): string =>
  splitMessages(bytes)
    .map((m) => m.type)
    .join('');

async function failure(work: Promise<unknown>): Promise<SqlError> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(SqlError);
  return error as SqlError;
}

const TPCH = [
  `CREATE TABLE customer (c_custkey int PRIMARY KEY, c_name varchar(25) NOT NULL, c_nationkey int NOT NULL, c_acctbal numeric(15,2), c_mktsegment char(10))`,
  `CREATE TABLE orders (o_orderkey int PRIMARY KEY, o_custkey int NOT NULL, o_orderstatus char(1), o_totalprice numeric(15,2), o_orderdate date NOT NULL)`,
  `CREATE TABLE lineitem (l_orderkey int NOT NULL, l_linenumber int NOT NULL, l_quantity numeric(15,2), l_extendedprice numeric(15,2),
     l_discount numeric(15,2), l_shipdate date, PRIMARY KEY (l_orderkey, l_linenumber)) USING columnar`,
];

beforeAll(async () => {
  front = await openFront({
    templatePath,
    logger: silentLogger(),
    limits: { lockMs: 10_000 },
    onRebuilt: () => {
      rebuilt += 1;
    },
  });
  await ddl(...TPCH);
}, TIMEOUT);

afterAll(async () => {
  await front.close();
});

describe('analyze', () => {
  it('gives tree, fields and relations of a TPC-H query', async () => {
    const sql = `SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate FROM customer, orders, lineitem
      WHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey AND o_orderdate < date '1995-03-15'
      GROUP BY l_orderkey, o_orderdate ORDER BY revenue DESC LIMIT 10`;
    const analyzed = await front.analyze(sql, [], ADMIN);
    expect(analyzed.fields?.map((f) => [f.name, f.typeOid])).toEqual([
      ['l_orderkey', 23],
      ['revenue', 1700],
      ['o_orderdate', 1082],
    ]);
    expect(analyzed.fields?.[0]).toMatchObject({ attnum: 1, typeSize: 4, typmod: -1 });
    expect(analyzed.queries).toHaveLength(1);
    expect(analyzed.queries[0]).toMatchObject({ node: 'QUERY', commandType: 1, hasAggs: true });
    expect(analyzed.relations.map((r) => r.name).sort()).toEqual(['customer', 'lineitem', 'orders']);
    expect(analyzed.catalogOnly).toBe(false);
    expect(await front.analyze(sql, [], ADMIN)).toBe(analyzed);
  });

  it('resolves parameters and finds relations in sublinks, CTEs and views', async () => {
    await ddl('CREATE VIEW rich AS SELECT c_custkey FROM customer WHERE c_acctbal > 1000');
    const sql = `WITH o AS (SELECT o_custkey FROM orders WHERE o_totalprice > $1)
      SELECT * FROM rich WHERE c_custkey IN (SELECT o_custkey FROM o) AND EXISTS (SELECT FROM lineitem WHERE l_orderkey = $2)`;
    const analyzed = await front.analyze(sql, [], ADMIN);
    expect(analyzed.paramTypes).toEqual([1700, 23]);
    expect(analyzed.relations.map((r) => `${r.kind} ${r.name}`).sort()).toEqual([
      'r customer',
      'r lineitem',
      'r orders',
      'v rich',
    ]);
  });

  it('reports errors with SQLSTATE and position in characters', async () => {
    const missing = await failure(front.analyze(`SELECT 'äöü', nothing FROM orders`, [], ADMIN));
    expect(missing).toMatchObject({ sqlstate: '42703', message: 'column "nothing" does not exist', fields: { position: 15 } });
    const syntax = await failure(front.analyze('SELEC 1', [], ADMIN));
    expect(syntax).toMatchObject({ sqlstate: '42601', fields: { position: 1 } });
    expect((await failure(front.analyze('SELECT 1; SELECT 2', [], ADMIN))).sqlstate).toBe('42601');
    expect((await failure(front.analyze(`SELECT '${'x'.repeat(1_100_000)}'`, [], ADMIN))).sqlstate).toBe('54000');
  });

  it('tells catalog queries from others', async () => {
    const only = async (sql: string) => (await front.analyze(sql, [], ADMIN)).catalogOnly;
    expect(await only('SELECT 1')).toBe(true);
    expect(await only('SELECT * FROM pg_dist_shard JOIN pg_class ON oid = logicalrelid')).toBe(true);
    expect(await only('SELECT * FROM citus_tables')).toBe(true);
    expect(await only('SELECT * FROM gpexpand.expansion_progress')).toBe(true);
    expect(await only('SELECT * FROM information_schema.columns')).toBe(true);
    expect(await only('SHOW TimeZone')).toBe(true);
    expect(await only('EXPLAIN SELECT * FROM pg_class')).toBe(true);
    expect(await only('EXPLAIN SELECT * FROM orders')).toBe(false);
    expect(await only('TRUNCATE orders')).toBe(false);
    expect(await only('COPY orders TO STDOUT')).toBe(false);
    expect(await only('SELECT relname FROM pg_class WHERE oid IN (SELECT o_orderkey FROM orders)')).toBe(false);
  });

  it('gives an empty answer to an empty statement, and shows DML', async () => {
    expect(await front.analyze('', [], ADMIN)).toMatchObject({ queries: [], fields: null, paramTypes: [] });
    const insert = await front.analyze('INSERT INTO orders (o_orderkey, o_custkey, o_orderdate) VALUES ($1, $2, $3)', [], ADMIN);
    expect(insert).toMatchObject({ fields: null, paramTypes: [23, 23, 1082], catalogOnly: false });
    expect(insert.queries[0]).toMatchObject({ commandType: 3 });
  });

  it('depends on search path and settings, and does not keep literals of the present', async () => {
    await ddl('CREATE SCHEMA other', 'CREATE TABLE other.orders (x text)');
    const elsewhere = await front.analyze('SELECT * FROM orders', [], { role: 'postgres', gucs: { search_path: 'other' } });
    expect(elsewhere.fields?.map((f) => f.name)).toEqual(['x']);
    expect((await front.analyze('SELECT * FROM orders', [], ADMIN)).fields).toHaveLength(5);
    const present = await front.analyze(`SELECT * FROM orders WHERE o_orderdate < 'today'`, [], ADMIN);
    expect(present.cacheable).toBe(false);
    expect(
      (await front.analyze(`SELECT * FROM orders WHERE o_orderdate < now() AND o_orderdate > date '1995-01-01'`, [], ADMIN))
        .cacheable,
    ).toBe(true);
    const european: FrontSettings = { role: 'postgres', gucs: { DateStyle: 'ISO, DMY' } };
    const day = async (settings: FrontSettings) => {
      let bytes: Uint8Array | undefined;
      visitNodes((await front.analyze(`SELECT date '02/01/2000'`, [], settings)).queries, (node) => {
        if (node.node === 'CONST' && !isNode(node.constvalue)) bytes = (node.constvalue as { datum: Uint8Array }).datum;
      });
      return bytes?.[0];
    };
    expect(await day(ADMIN)).toBe(31);
    expect(await day(european)).toBe(1);
  });

  it('refuses functions that may read tables', async () => {
    await ddl(
      'CREATE FUNCTION plus_one(a int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT a + 1 $$',
      'CREATE FUNCTION count_orders() RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM orders $$',
      'CREATE FUNCTION indirect() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN count_orders(); END $$',
    );
    expect((await front.analyze('SELECT plus_one(1)', [], ADMIN)).catalogOnly).toBe(true);
    expect((await failure(front.analyze('SELECT count_orders()', [], ADMIN))).sqlstate).toBe('0A000');
    expect((await failure(front.analyze('SELECT indirect() + 1', [], ADMIN))).sqlstate).toBe('0A000');
    expect((await failure(front.analyze(`SELECT query_to_xml('select 1', true, true, '')`, [], ADMIN))).sqlstate).toBe('0A000');
  });

  it('reads the trees of all kinds of statements', async () => {
    const hostile = 'ä(){}<>"\\ x '.repeat(6).slice(0, 30).replaceAll('"', '""');
    const statements = [
      'SELECT o_custkey, o_orderstatus, sum(o_totalprice) OVER w, grouping(o_custkey) FROM orders GROUP BY CUBE (1, 2), o_totalprice WINDOW w AS (ORDER BY o_custkey)',
      'WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r FULL JOIN orders ON o_orderkey = n',
      `SELECT * FROM JSON_TABLE('[{"a":1}]'::jsonb, '$[*]' COLUMNS (a int PATH '$.a'))`,
      'INSERT INTO customer VALUES (1, $1, 2) ON CONFLICT (c_custkey) DO UPDATE SET c_name = excluded.c_name RETURNING old.c_name, new.*',
      'MERGE INTO customer c USING orders o ON c_custkey = o_custkey WHEN MATCHED THEN UPDATE SET c_acctbal = 1 WHEN NOT MATCHED THEN DO NOTHING',
      'UPDATE orders SET (o_orderstatus, o_totalprice) = (SELECT $1, 5) WHERE o_orderkey = ANY ($2)',
      'DELETE FROM orders USING customer WHERE o_custkey = c_custkey RETURNING *',
      'SELECT DISTINCT ON (o_custkey) *, ROW(1, o_orderkey), ARRAY[[1, 2], [3, 4]], CASE o_custkey WHEN 1 THEN NULL END FROM orders',
      'SELECT 1 FROM orders FOR UPDATE SKIP LOCKED',
      'EXPLAIN (COSTS off) SELECT * FROM orders',
      'CREATE TABLE AS_WELL AS SELECT * FROM orders',
      'PREPARE p AS SELECT 1',
      'DECLARE c CURSOR FOR SELECT * FROM orders',
      'COPY (SELECT * FROM orders) TO STDOUT',
      'CREATE VIEW v AS SELECT 1.5 AS x',
      'VALUES (1, NULL), (2, 3.5)',
      `SELECT '\\ ( ) { } " <> ' AS "${hostile}", interval '1 day', '{1,NULL}'::int[], '(1,2)'::point, B'101', 'x'::bytea`,
    ];
    for (const sql of statements) expect((await front.analyze(sql, [], ADMIN)).queries, sql).toHaveLength(1);
  });

  it('gives constants to the byte, whatever names are beside them', async () => {
    const seed = Date.now() % 2 ** 31;
    let state = seed;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return (state >>> 8) % below;
    };
    const alphabet = ['ä', '(', ')', '{', '}', '<', '>', '"', '\\', ' ', '\n', ':', '1', '-', 'a', '€', '😀', '[', ']', 'true'];
    const word = (max: number) => Array.from({ length: 1 + random(max) }, () => alphabet[random(alphabet.length)]).join('');
    let refused = 0;
    for (let i = 0; i < 150; i++) {
      const name = `"${word(14).replaceAll('"', '""')}"`;
      const text = word(200);
      const number = random(2 ** 22);
      const sql = `WITH ${name} AS (SELECT ${number} AS ${name}) SELECT *, E'${text.replace(/[\\']/g, '\\$&')}'::text AS ${name}, ${number} + 1 FROM ${name}`;
      const inside = i % 10 === 0 ? await front.beginDdl(ADMIN) : undefined;
      const analysis = await (inside === undefined ? front.analyze(sql, [], ADMIN) : inside.analyze(sql, [])).catch(
        (error) => error,
      );
      await inside?.rollback();
      if (analysis instanceof SqlError) {
        // Such a name may be refused, as long as it is said; it must never give another tree.
        expect(analysis.sqlstate, `seed ${seed} ${sql}`).toBe('0A000');
        refused += 1;
        continue;
      }
      const [tree] = (analysis as Analyzed).queries;
      const targets = (tree?.targetList ?? []) as unknown as { expr: { node: string; constvalue: { datum: Uint8Array } } }[];
      expect(
        targets.map((t) => t.expr.node),
        `seed ${seed} ${sql}`,
      ).toEqual(['VAR', 'CONST', 'OPEXPR']);
      expect(Buffer.from(targets[1]?.expr.constvalue.datum ?? []).toString('utf8', 4), `seed ${seed} ${sql}`).toBe(text);
    }
    expect(refused, `seed ${seed}`).toBeLessThan(10);
  });

  it('answers deep statements with a tree or an error of PostgreSQL', async () => {
    const chain = await front.analyze(`SELECT ${Array.from({ length: 2000 }, () => '1').join(' + ')}`, [], ADMIN);
    expect(chain.queries).toHaveLength(1);
    expect((await failure(front.analyze(`SELECT ${'('.repeat(100_000)}1${')'.repeat(100_000)}`, [], ADMIN))).sqlstate).toMatch(
      /^(42601|54001)$/,
    );
    expect((await failure(front.analyze(`SELECT ${'abs('.repeat(60_000)}1${')'.repeat(60_000)}`, [], ADMIN))).sqlstate).toMatch(
      /^(54001|42601)$/,
    );
    expect((await front.analyze('SELECT 1', [], ADMIN)).queries).toHaveLength(1);
    expect(rebuilt).toBe(0);
  });
});

describe('passThrough', () => {
  it('returns raw messages of simple and extended queries', async () => {
    expect(typesIn(await front.passThrough(query('SELECT 1 AS one'), ADMIN))).toBe('TDC');
    const extended = Buffer.concat([parse('SELECT $1::int + 1', [23]), describeStatement(), bindAndExecute(['41'])]);
    const answer = await front.passThrough(extended, ADMIN);
    expect(typesIn(answer)).toBe('tTDC');
    expect(rowsIn(answer)).toEqual([['42']]);
    expect(typesIn(await front.passThrough(query(''), ADMIN))).toBe('I');
    expect(typesIn(await front.passThrough(query('COPY (SELECT 1) TO STDOUT'), ADMIN))).toBe('HdcC');
  });

  it('throws errors and leaves nothing behind', async () => {
    const error = await failure(front.passThrough(query('SELECT 1/0'), ADMIN));
    expect(error).toMatchObject({ sqlstate: '22012', message: 'division by zero' });
    await front.passThrough(query(`SELECT set_config('search_path', 'other', false)`), ADMIN);
    expect(rowsIn(await front.passThrough(query('SHOW search_path'), ADMIN))).toEqual([['"$user", public']]);
    const named = Buffer.from(parse('SELECT 1', []));
    const withName = Buffer.concat([Buffer.from('P'), Buffer.from([0, 0, 0, named.length]), Buffer.from('s'), named.subarray(5)]);
    await front.passThrough(withName, ADMIN);
    expect(rowsIn(await front.passThrough(query('SELECT count(*) FROM pg_prepared_statements'), ADMIN))).toEqual([['0']]);
    expect((await failure(front.passThrough(query('UPDATE pg_dist_node SET nodeport = 1'), ADMIN))).sqlstate).toBe('0A000');
    expect(rowsIn(await front.passThrough(query('SELECT sum(n) FROM generate_series(1, 10) n'), ADMIN))).toEqual([['55']]);
  });

  it('runs under role and settings', async () => {
    await ddl('CREATE ROLE alice LOGIN');
    const alice: FrontSettings = { role: 'alice', gucs: { TimeZone: 'Asia/Tokyo', 'damson.shard_count': '7' } };
    const sql = `SELECT current_user, session_user, current_setting('TimeZone'), current_setting('damson.shard_count'), timestamptz '2020-01-01 00:00+00'`;
    expect(rowsIn(await front.passThrough(query(sql), alice))).toEqual([
      ['alice', 'alice', 'Asia/Tokyo', '7', '2020-01-01 09:00:00+09'],
    ]);
    const plain = `SELECT current_user, current_setting('TimeZone'), coalesce(current_setting('damson.shard_count', true), '')`;
    expect(rowsIn(await front.passThrough(query(plain), ADMIN))).toEqual([['postgres', 'UTC', '']]);
    const set: FrontSettings = { role: 'postgres', gucs: { role: 'alice' } };
    expect(rowsIn(await front.passThrough(query('SELECT current_user, session_user'), set))).toEqual([['alice', 'postgres']]);
    expect((await failure(front.passThrough(query('SELECT 1'), { role: 'nobody', gucs: {} }))).sqlstate).toBe('22023');
    expect(rowsIn(await front.passThrough(query('SELECT current_user'), ADMIN))).toEqual([['postgres']]);
  });

  it(`answers psql's \\d queries`, async () => {
    const list = `SELECT n.nspname as "Schema", c.relname as "Name",
      CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' WHEN 'S' THEN 'sequence'
        WHEN 't' THEN 'TOAST table' WHEN 'f' THEN 'foreign table' WHEN 'p' THEN 'partitioned table' WHEN 'I' THEN 'partitioned index' END as "Type",
      pg_catalog.pg_get_userbyid(c.relowner) as "Owner"
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
    WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' AND n.nspname <> 'information_schema'
      AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2;`;
    expect((await front.analyze(list, [], ADMIN)).catalogOnly).toBe(true);
    const names = rowsIn(await front.passThrough(query(list), ADMIN)).map((row) => row[1]);
    expect(names).toEqual(['customer', 'lineitem', 'orders', 'rich']);
    const find = `SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relname OPERATOR(pg_catalog.~) '^(lineitem)$' COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3;`;
    const oid = rowsIn(await front.passThrough(query(find), ADMIN))[0]?.[0];
    const details = `SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, false AS relhasoids,
      c.relispartition, pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from pg_catalog.unnest(tc.reloptions) x), ', '), c.reltablespace,
      CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence, c.relreplident, am.amname
      FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid) LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid)
      WHERE c.oid = '${oid}';`;
    expect(rowsIn(await front.passThrough(query(details), ADMIN))[0]?.at(-1)).toBe('columnar');
    const columns = `SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
      (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
      a.attnotnull, (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t WHERE c.oid = a.attcollation AND t.oid = a.atttypid
      AND a.attcollation <> t.typcollation) AS attcollation, a.attidentity, a.attgenerated, a.attstorage
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = '${oid}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;`;
    expect(rowsIn(await front.passThrough(query(columns), ADMIN))[2]?.slice(0, 2)).toEqual(['l_quantity', 'numeric(15,2)']);
  });
});

describe('settings', () => {
  it('validates and returns the resulting values', async () => {
    expect(await front.setting(`SET TimeZone = 'Europe/Berlin'`, ADMIN, ['TimeZone', 'DateStyle'])).toEqual({
      TimeZone: 'Europe/Berlin',
      DateStyle: 'ISO, MDY',
    });
    expect(await front.setting('SET damson.shard_count = 5', ADMIN, ['damson.shard_count', 'damson.unknown'])).toEqual({
      'damson.shard_count': '5',
    });
    expect(await front.setting('SET default_table_access_method = columnar', ADMIN, ['default_table_access_method'])).toEqual({
      default_table_access_method: 'columnar',
    });
    expect((await failure(front.setting('SET nonsense = 1', ADMIN, []))).sqlstate).toBe('42704');
    expect(rowsIn(await front.passThrough(query('SHOW TimeZone'), ADMIN))).toEqual([['UTC']]);
    expect(rowsIn(await front.passThrough(query('SHOW server_version'), ADMIN))[0]?.[0]).toMatch(/^18\./);
    expect(rowsIn(await front.passThrough(query('SELECT damson_version()'), ADMIN))[0]?.[0]).toMatch(/^Damson \d/);
  });

  it('checks privileges by role', async () => {
    const alice: FrontSettings = { role: 'alice', gucs: {} };
    const sql = 'SELECT o_orderkey FROM orders WHERE o_custkey = $1';
    const analyzed = await front.analyze(sql, [], alice);
    expect(await failure(front.checkPrivileges(sql, analyzed, alice))).toMatchObject({
      sqlstate: '42501',
      message: 'permission denied for table orders',
    });
    await front.checkPrivileges(sql, analyzed, ADMIN);
    await ddl('GRANT SELECT ON orders TO alice');
    await front.checkPrivileges(sql, await front.analyze(sql, [], alice), alice);
    expect(
      (await failure(front.checkPrivileges('DELETE FROM orders', await front.analyze('DELETE FROM orders', [], alice), alice)))
        .sqlstate,
    ).toBe('42501');
  });
});

describe('DDL', () => {
  it('commits, raises the generation and describes tables', async () => {
    const before = front.generation;
    const transaction = await front.beginDdl(ADMIN);
    expect((await transaction.exec('CREATE TABLE IF NOT EXISTS orders (x int)')).notices).toEqual([
      'relation "orders" already exists, skipping',
    ]);
    const made =
      await transaction.exec(`CREATE TABLE t (id bigserial PRIMARY KEY, name text DEFAULT 'x' CHECK (name <> ''), twice int GENERATED ALWAYS AS (n * 2) STORED,
      n int NOT NULL, code char(4), at timestamptz DEFAULT now(), o int REFERENCES orders, UNIQUE (id, n))`);
    expect(made.tag).toBe('CREATE TABLE');
    expect((await transaction.analyze('SELECT * FROM t', [])).fields).toHaveLength(7);
    expect((await failure(transaction.analyze('SELECT nothing FROM t', []))).sqlstate).toBe('42703');
    expect(rowsIn(await transaction.passThrough(query(`SELECT relname FROM pg_class WHERE relname = 't'`)))).toEqual([['t']]);
    await transaction.commit();
    expect(front.generation).toBe(before + 1);
    const table = (await front.tables()).find((t) => t.name === 't');
    expect(table).toMatchObject({
      schema: 'public',
      owner: 'postgres',
      kind: 'r',
      persistence: 'p',
      accessMethod: 'heap',
      triggers: 0,
    });
    expect(table?.columns.map((c) => c.name)).toEqual(['id', 'name', 'twice', 'n', 'code', 'at', 'o']);
    expect(table?.columns[0]).toMatchObject({
      typeOid: 20,
      notNull: true,
      identity: '',
      generated: '',
      defaultExpr: `nextval('t_id_seq'::regclass)`,
    });
    expect(table?.columns[2]).toMatchObject({ generated: 's', defaultExpr: '(n * 2)', collation: 0 });
    expect(table?.columns[4]).toMatchObject({ typeOid: 1042, typmod: 8, collation: 100 });
    expect(table?.constraints.filter((c) => c.type !== 'n').map((c) => [c.type, c.attnums])).toEqual([
      ['u', [1, 4]],
      ['c', [2]],
      ['f', [7]],
      ['p', [1]],
    ]);
    expect(table?.constraints.find((c) => c.type === 'f')).toMatchObject({
      referencedAttnums: [1],
      definition: 'FOREIGN KEY (o) REFERENCES orders(o_orderkey)',
    });
    expect(table?.indexes).toContainEqual({
      name: 't_pkey',
      unique: true,
      primary: true,
      attnums: [1],
      complex: false,
      method: 'btree',
    });
    const [only] = await front.tables([table?.oid ?? 0]);
    expect(only).toEqual(table);
  });

  it('rolls back, wholly and to a savepoint, and holds others off', async () => {
    const transaction = await front.beginDdl(ADMIN);
    await transaction.exec('CREATE TABLE kept (a int)');
    await transaction.savepoint('s');
    await transaction.exec('CREATE TABLE gone (a int)');
    expect((await failure(transaction.exec('CREATE TABLE orders (a int)'))).sqlstate).toBe('42P07');
    await transaction.rollbackTo('s');
    let others = false;
    const waiting = front.rows(`SELECT relname FROM pg_class WHERE relname IN ('kept', 'gone')`).then((rows) => {
      others = true;
      return rows;
    });
    await transaction.exec('ALTER TABLE kept ADD b text');
    expect(others).toBe(false);
    await transaction.commit();
    expect(await waiting).toEqual([['kept']]);
    const second = await front.beginDdl(ADMIN);
    await second.exec('DROP TABLE kept');
    await second.rollback();
    expect(await front.rows(`SELECT count(*) FROM pg_attribute WHERE attrelid = 'kept'::regclass AND attnum > 0`)).toEqual([
      ['2'],
    ]);
  });
});

describe('compute', () => {
  const target = { schema: 'public', name: 't', columns: [1, 2, 3, 4, 5, 7] };

  it('fills defaults, generated columns and coercions of INSERT', async () => {
    const { csv, rows } = await front.computeInsert(
      `INSERT INTO t (n, code, name) VALUES ($1, 'ab', $2), (4, NULL, DEFAULT)`,
      ['3', 'say "hi"'],
      [],
      target,
      ADMIN,
    );
    expect(rows).toBe(2);
    expect(csv.toString()).toBe('1,"say ""hi""",6,3,ab,\n2,x,8,4,,\n');
    expect((await front.rows('SELECT count(*) FROM t'))[0]).toEqual(['0']);
    const again = await front.computeInsert(`INSERT INTO t (n, name, o) VALUES (1, 'y', 999)`, [], [], target, ADMIN);
    expect(again.csv.toString()).toBe('3,y,2,1,,999\n');
  });

  it('keeps PostgreSQL errors', async () => {
    expect(await failure(front.computeInsert('INSERT INTO t (name) VALUES (NULL)', [], [], target, ADMIN))).toMatchObject({
      sqlstate: '23502',
      fields: { column: 'n', table: 't', schema: 'public' },
    });
    expect(
      (await failure(front.computeInsert(`INSERT INTO t (n, name) VALUES (1, '')`, [], [], target, ADMIN))).fields.constraint,
    ).toBe('t_name_check');
    expect(
      (await failure(front.computeInsert(`INSERT INTO t (n) VALUES (1)`, [], [], target, { role: 'alice', gucs: {} }))).sqlstate,
    ).toBe('42501');
  });

  it('prints every type in its canonical form, whatever the session says', async () => {
    await ddl(
      'CREATE TABLE kinds (a timestamptz, b bytea, c float8, d numeric(6,2), e interval, f bool, g text, h date, i float4[])',
    );
    const settings: FrontSettings = {
      role: 'postgres',
      gucs: { TimeZone: 'America/New_York', DateStyle: 'SQL, DMY', bytea_output: 'escape', extra_float_digits: '-3' },
    };
    const { csv } = await front.computeInsert(
      `INSERT INTO kinds VALUES ('2020-07-01 12:00', '\\x00ff', 0.1::float8 + 0.2, 1.5, '1 mon 2 days', true, '', '03/04/2020', '{0.1,NULL}')`,
      [],
      [],
      { schema: 'public', name: 'kinds', columns: [1, 2, 3, 4, 5, 6, 7, 8, 9] },
      settings,
    );
    expect(csv.toString()).toBe(
      '2020-07-01 16:00:00+00,\\x00ff,0.30000000000000004,1.50,1 mon 2 days,t,"",2020-04-03,"{0.1,NULL}"\n',
    );
  });

  it('computes COPY blocks, with line numbers of the whole input', async () => {
    const good = await front.computeCopy('COPY t (n, name) FROM STDIN', Buffer.from('7\tseven\n8\t\\N\n'), 1, target, ADMIN);
    expect(good.rows).toBe(2);
    expect(good.csv.toString()).toBe('6,seven,14,7,,\n7,,16,8,,\n');
    const bad = await failure(
      front.computeCopy('COPY t (n, name) FROM STDIN (FORMAT csv)', Buffer.from('7,seven\nx,eight\n'), 1001, target, ADMIN),
    );
    expect(bad).toMatchObject({ sqlstate: '22P02', fields: { where: 'COPY t, line 1002, column n: "x"' } });
  });

  it('works inside a transaction of DDL', async () => {
    const transaction = await front.beginDdl(ADMIN);
    await transaction.exec('CREATE TABLE fresh (id int GENERATED ALWAYS AS IDENTITY, a int)');
    const computed = await transaction.computeInsert('INSERT INTO fresh (a) VALUES (5), (6)', [], [], {
      schema: 'public',
      name: 'fresh',
      columns: [1, 2],
    });
    expect(computed.csv.toString()).toBe('1,5\n2,6\n');
    expect(
      (
        await failure(
          transaction.computeInsert('INSERT INTO fresh (a) VALUES (1/0)', [], [], {
            schema: 'public',
            name: 'fresh',
            columns: [1],
          }),
        )
      ).sqlstate,
    ).toBe('22012');
    await transaction.commit();
    expect(await front.rows('SELECT count(*) FROM fresh')).toEqual([['0']]);
  });

  it('lets a transaction of DDL write on trial, and use the fallback', async () => {
    const transaction = await front.beginDdl(ADMIN);
    try {
      await transaction.exec('CREATE TABLE brandnew (a int NOT NULL, b text NOT NULL)');
      await transaction.passThrough(query(`INSERT INTO gpexpand.status VALUES ('SETUP', now())`));
      expect(await transaction.rows('SELECT status FROM gpexpand.status')).toEqual([['SETUP']]);
      const load = [{ schema: 'public', name: 'brandnew', columns: ['a'], csv: [Buffer.from('1\n2\n')] }];
      const run = (sql: string) => transaction.fallback({ messages: query(sql), settings: ADMIN, load, deadlineMs: TIMEOUT });
      expect(rowsIn(await run('SELECT sum(a) FROM brandnew'))).toEqual([['3']]);
      expect((await failure(run('SELECT 1 / (a - 1) FROM brandnew'))).sqlstate).toBe('22012');
      expect(await transaction.rows('SELECT count(*) FROM brandnew')).toEqual([['0']]);
      expect((await transaction.tables()).find((t) => t.name === 'brandnew')?.columns.map((c) => c.notNull)).toEqual([
        true,
        true,
      ]);
    } finally {
      await transaction.rollback();
    }
    expect(await front.rows('SELECT status FROM gpexpand.status')).toEqual([]);
  });

  it('reports and sets sequences', async () => {
    expect(await front.sequences()).toContainEqual({ schema: 'public', name: 't_id_seq', lastValue: '8', isCalled: true });
    await front.setSequence('public', 't_id_seq', '100');
    expect((await front.computeInsert('INSERT INTO t (n) VALUES (1)', [], [], target, ADMIN)).csv.toString()).toBe(
      '101,x,2,1,,\n',
    );
  });
});

describe('catalog relations', () => {
  it('look as they do in Citus', async () => {
    await front.refresh({ schema: 'pg_catalog', name: 'pg_dist_node' }, [
      ['1', '1', 'seg1', '7001', 'default', 't', 't', 'primary', 'default', 't', 't', 'f', '0'],
    ]);
    const key = '{VAR :varno 1 :varattno 1 :vartype 23 :vartypmod -1 :varcollid 0 :varlevelsup 0 :location -1}';
    await front.refresh({ schema: 'pg_catalog', name: 'pg_dist_partition' }, [['public.orders', 'h', key, '2', 's', 'f']]);
    await front.refresh({ schema: 'pg_catalog', name: 'pg_dist_shard' }, [
      ['public.orders', '102008', 't', '-2147483648', '-1'],
      ['public.orders', '102009', 't', '0', '2147483647'],
    ]);
    await front.refresh({ schema: 'pg_catalog', name: 'pg_dist_placement' }, [
      ['1', '102008', '1', '0', '1'],
      ['2', '102009', '1', '0', '1'],
    ]);
    await front.refresh({ schema: 'damson', name: 'shard_size' }, [['102008', '8192']]);
    const shards = await front.passThrough(query('SELECT * from pg_dist_shard'), ADMIN);
    expect(rowDescription(splitMessages(shards)[0]?.body ?? Buffer.alloc(0)).map((f) => f.name)).toEqual([
      'logicalrelid',
      'shardid',
      'shardstorage',
      'shardminvalue',
      'shardmaxvalue',
    ]);
    expect(rowsIn(shards)[0]).toEqual(['orders', '102008', 't', '-2147483648', '-1']);
    const placement = `SELECT shardid, node.nodename, node.nodeport FROM pg_dist_placement placement JOIN pg_dist_node node
      ON placement.groupid = node.groupid AND node.noderole = 'primary'::noderole WHERE shardid = 102009;`;
    expect(rowsIn(await front.passThrough(query(placement), ADMIN))).toEqual([['102009', 'seg1', '7001']]);
    expect(rowsIn(await front.passThrough(query('SELECT * FROM citus_tables'), ADMIN))).toEqual([
      ['orders', 'distributed', 'o_orderkey', '2', '8192 bytes', '2', 'postgres', 'heap'],
    ]);
    expect(rowsIn(await front.passThrough(query('SELECT * FROM citus_shards'), ADMIN))[0]).toEqual([
      'orders',
      '102008',
      'public.orders_102008',
      'distributed',
      '2',
      'seg1',
      '7001',
      '8192',
    ]);
    await front.refresh({ schema: 'pg_catalog', name: 'gp_segment_configuration' }, [
      ['1', '-1', 'p', 'p', 'n', 'u', '7000', 'h', '127.0.0.1', '/data/a,"b'],
    ]);
    await front.refresh({ schema: 'pg_catalog', name: 'gp_configuration_history' }, [
      ['2026-01-01T00:00:00Z', '1', 'FTS: update'],
    ]);
    await front.refresh({ schema: 'pg_catalog', name: 'gp_distribution_policy' }, [['16384', 'p', '2', '1 2', '1978 1978']]);
    expect(await front.rows('SELECT datadir, distkey FROM gp_segment_configuration, gp_distribution_policy')).toEqual([
      ['/data/a,"b', '1 2'],
    ]);
    await front.refresh({ schema: 'damson', name: 'shard_size' }, []);
    expect(await front.rows('SELECT count(*) FROM damson.shard_size')).toEqual([['0']]);
  });

  it('show the progress of an expansion', async () => {
    await front.refresh({ schema: 'gpexpand', name: 'status' }, [['EXPANSION STARTED', '2026-01-01 00:00:00']]);
    await front.refresh({ schema: 'gpexpand', name: 'status_detail' }, [
      [
        'postgres',
        'public.orders',
        '1',
        null,
        '2',
        't',
        'COMPLETED',
        '2026-01-01 00:00:10',
        '2026-01-01 00:00:20',
        '104857600',
        '1',
        null,
      ],
      ['postgres', 'public.lineitem', '2', null, '2', 't', 'NOT STARTED', null, null, '209715200', '0', null],
    ]);
    expect(rowsIn(await front.passThrough(query('SELECT * FROM gpexpand.expansion_progress'), ADMIN))).toEqual([
      ['Tables Expanded', '1'],
      ['Tables Left', '1'],
      ['Bytes Done', '104857600'],
      ['Bytes Left', '209715200'],
      ['Estimated Expansion Rate', '10.00 MB/s'],
      ['Estimated Time to Completion', '00:00:20'],
    ]);
  });

  it('know the functions of the cluster', async () => {
    const analyzed = await front.analyze(`SELECT create_distributed_table('orders', 'o_orderkey')`, [], ADMIN);
    expect(analyzed.catalogOnly).toBe(true);
    expect(
      (await failure(front.passThrough(query(`SELECT create_distributed_table('orders', 'o_orderkey')`), ADMIN))).sqlstate,
    ).toBe('0A000');
    await front.analyze(
      `SELECT get_shard_id_for_distribution_column('orders', 5), get_shard_id_for_distribution_column('orders', 'x')`,
      [],
      ADMIN,
    );
    await front.analyze(`SELECT citus_move_shard_placement(102008, 'a', 1, 'b', 2, 'block_writes')`, [], ADMIN);
    await front.analyze(
      `SELECT create_distributed_table('orders', 'o_orderkey', colocate_with => 'none', shard_count => 4)`,
      [],
      ADMIN,
    );
  });
});

describe('fallback', () => {
  const orders = {
    schema: 'public',
    name: 'orders',
    columns: ['o_orderkey', 'o_custkey', 'o_totalprice'],
    csv: [Buffer.from('1,10,5.50\n2,20,'), Buffer.from('7.25\n3,10,\n')],
  };
  const customer = {
    schema: 'public',
    name: 'customer',
    columns: ['c_custkey', 'c_name'],
    csv: [Buffer.from('10,ten\n20,"twenty, ""x"""\n')],
  };

  it('joins loaded rows as the client wrote the statement', async () => {
    const sql =
      'SELECT c_name, percentile_cont(0.5) WITHIN GROUP (ORDER BY o_totalprice), count(*) FROM orders JOIN customer ON c_custkey = o_custkey GROUP BY 1 ORDER BY 1';
    const bytes = await front.fallback({ messages: query(sql), settings: ADMIN, load: [orders, customer], deadlineMs: TIMEOUT });
    expect(typesIn(bytes)).toBe('TDDC');
    expect(rowsIn(bytes)).toEqual([
      ['ten', '5.5', '2'],
      ['twenty, "x"', '7.25', '1'],
    ]);
    const empty = await front.fallback({
      messages: query('SELECT count(*) FROM orders'),
      settings: ADMIN,
      load: [],
      deadlineMs: TIMEOUT,
    });
    expect(rowsIn(empty)).toEqual([['0']]);
  });

  it('takes stored generated columns as they come, runs as the role, and sees new DDL', async () => {
    await ddl('GRANT SELECT ON t TO alice');
    const t = { schema: 'public', name: 't', columns: ['id', 'twice'], csv: [Buffer.from('1,77\n')] };
    const messages = Buffer.concat([
      parse('SELECT id, twice, n, current_user FROM t WHERE id = $1', [20]),
      describeStatement(),
      bindAndExecute(['1']),
    ]);
    const bytes = await front.fallback({ messages, settings: { role: 'alice', gucs: {} }, load: [t], deadlineMs: TIMEOUT });
    expect(typesIn(bytes)).toBe('tTDC');
    expect(rowsIn(bytes)).toEqual([['1', '77', null, 'alice']]);
    const counted = await front.fallback({
      messages: query('SELECT count(*) FROM t'),
      settings: ADMIN,
      load: [{ schema: 'public', name: 't', columns: [], csv: [Buffer.from('\n\n\n')] }],
      deadlineMs: TIMEOUT,
    });
    expect(rowsIn(counted)).toEqual([['3']]);
    const denied = front.fallback({
      messages: query('SELECT * FROM lineitem'),
      settings: { role: 'alice', gucs: {} },
      load: [],
      deadlineMs: TIMEOUT,
    });
    expect((await failure(denied)).sqlstate).toBe('42501');
  });

  it('loads although the session is read only', async () => {
    const settings: FrontSettings = { role: 'postgres', gucs: { default_transaction_read_only: 'on' } };
    const run = (sql: string) => front.fallback({ messages: query(sql), settings, load: [orders], deadlineMs: TIMEOUT });
    expect(rowsIn(await run('SELECT count(*) FROM orders'))).toEqual([['3']]);
    expect((await failure(run('DELETE FROM orders'))).sqlstate).toBe('25006');
  });

  it('sees rows of catalog relations as they are now', async () => {
    const sql = 'SELECT nodename, count(*) FROM pg_dist_node, orders GROUP BY 1';
    const run = async () =>
      rowsIn(await front.fallback({ messages: query(sql), settings: ADMIN, load: [orders], deadlineMs: TIMEOUT }));
    const node = (name: string) => ['1', '1', name, '7001', 'default', 't', 't', 'primary', 'default', 't', 't', 'f', '0'];
    await front.refresh({ schema: 'pg_catalog', name: 'pg_dist_node' }, [node('before')]);
    expect(await run()).toEqual([['before', '3']]);
    await front.refresh({ schema: 'pg_catalog', name: 'pg_dist_node' }, [node('after')]);
    expect(await run()).toEqual([['after', '3']]);
  });

  it('gives errors of the statement, and ends at the deadline or when cancelled', async () => {
    const run = (sql: string, deadlineMs: number, signal?: AbortSignal) =>
      front.fallback({
        messages: query(sql),
        settings: ADMIN,
        load: [orders],
        deadlineMs,
        ...(signal === undefined ? {} : { signal }),
      });
    expect((await failure(run('SELECT 1 / (o_orderkey - 2) FROM orders', TIMEOUT))).sqlstate).toBe('22012');
    const endless = 'WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r';
    expect((await failure(run(endless, 500))).sqlstate).toBe('57014');
    const controller = new AbortController();
    const cancelled = failure(run(endless, TIMEOUT, controller.signal));
    setTimeout(() => controller.abort(), 2000);
    expect((await cancelled).message).toBe('canceling statement due to user request');
    expect(rowsIn(await run('SELECT count(*) FROM orders', TIMEOUT))).toEqual([['3']]);
  });
});

describe('a lost front', () => {
  it('is made again with everything it held', async () => {
    const other = await openFront({ templatePath, logger: silentLogger(), limits: { callMs: 3000 } });
    try {
      await other
        .replay('CREATE TABLE s.a (id serial, x int)', 'postgres', '')
        .catch((error: SqlError) => expect(error.sqlstate).toBe('3F000'));
      await other.replay('CREATE SCHEMA s', 'postgres', '');
      await other.replay('CREATE TABLE a (id serial, x int)', 'postgres', 's');
      const target = { schema: 's', name: 'a', columns: [1, 2] };
      await other.computeInsert('INSERT INTO s.a (x) VALUES (1), (2)', [], [], target, ADMIN);
      await other.refresh({ schema: 'pg_catalog', name: 'pg_dist_colocation' }, [['1', '1', '-1', '0', '0']]);
      const generation = other.generation;
      const endless = 'WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r';
      expect((await failure(other.passThrough(query(endless), ADMIN))).sqlstate).toBe('57014');
      expect(other.generation).toBe(generation);
      expect((await failure(other.rows(endless))).sqlstate).toBe('57014');
      expect((await other.computeInsert('INSERT INTO s.a (x) VALUES (3)', [], [], target, ADMIN)).csv.toString()).toBe('3,3\n');
      expect(other.generation).toBe(generation + 1);
      expect(await other.rows('SELECT shardcount FROM pg_dist_colocation')).toEqual([['1']]);
    } finally {
      await other.close();
    }
  });

  it('commits a transaction although it was lost on the way', async () => {
    const other = await openFront({ templatePath, logger: silentLogger(), limits: { callMs: 3000 } });
    try {
      const transaction = await other.beginDdl(ADMIN);
      await transaction.exec('CREATE TABLE survivor (a int)');
      const endless = transaction.rows('WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r');
      expect((await failure(endless)).sqlstate).toBe('57014');
      await transaction.commit();
      expect((await other.tables()).map((t) => t.name)).toEqual(['survivor']);
    } finally {
      await other.close();
    }
  });

  it('was none of the front of the tests before', () => {
    expect(rebuilt).toBe(0);
    expect(commandTag(Buffer.from('SELECT 1\0'))).toBe('SELECT 1');
    expect(front.rssNote()).toMatch(/^front \d+ MB/);
  });
});
