import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FUNCTION_LINES, OPERATOR_LINES, REFUSED_LINES } from './builtin-oids.js';
import { isPlainCollation, TYPE_NAMES } from './signatures.js';

let pg: PGlite;
beforeAll(async () => {
  pg = await PGlite.create();
});
afterAll(async () => {
  await pg.close();
});

async function known(sql: string): Promise<Set<string>> {
  const { rows } = await pg.query<{ line: string }>(sql);
  return new Set(rows.map((row) => row.line));
}

function lines(text: string): string[] {
  return text.trim().split('\n');
}

describe('the tables of built-in OIDs', () => {
  it('agree with pg_operator', async () => {
    const all = await known(`select o.oid || ' ' || oprname || '(' || coalesce(l.typname || ',', '') || r.typname || ')' as line
      from pg_operator o left join pg_type l on l.oid = oprleft join pg_type r on r.oid = oprright`);
    expect(lines(OPERATOR_LINES).filter((line) => !all.has(line))).toEqual([]);
  });

  it('agree with pg_proc', async () => {
    const all = await known(`select p.oid || ' ' || proname || '(' || coalesce((select string_agg(typname, ',' order by n)
      from unnest(proargtypes) with ordinality a(o, n) join pg_type t on t.oid = a.o), '') || ')' as line from pg_proc p`);
    expect(lines(FUNCTION_LINES).filter((line) => !all.has(line))).toEqual([]);
    const names = await known(`select oid || ' ' || proname as line from pg_proc`);
    expect(lines(REFUSED_LINES).filter((line) => !names.has(line))).toEqual([]);
  });

  it('name no volatile function that could be pushed down', async () => {
    const oids = lines(FUNCTION_LINES).map((line) => line.split(' ')[0]);
    expect(await known(`select proname as line from pg_proc where provolatile = 'v' and oid in (${oids.join(',')})`)).toEqual(
      new Set(),
    );
  });

  it('agree with pg_type and pg_collation', async () => {
    for (const [oid, name] of Object.entries(TYPE_NAMES))
      expect(await known(`select typname as line from pg_type where oid = ${oid}`)).toEqual(new Set([name]));
    expect(await known("select oid::text as line from pg_collation where collname in ('default', 'C')")).toEqual(
      new Set(['100', '950']),
    );
    expect([0, 100, 950, 951].map(isPlainCollation)).toEqual([true, true, true, false]);
  });
});
