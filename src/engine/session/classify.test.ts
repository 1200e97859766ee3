import { beforeAll, describe, expect, it } from 'vitest';
import { SqlError } from '../../core/errors.js';
import { classify } from './classify.js';
import { loadParser } from './parser.js';
import { shiftPosition, splitStatements } from './split.js';

beforeAll(() => loadParser());

const kindOf = (sql: string) => classify(splitStatements(sql)[0]!);

function errorOf(run: () => unknown): SqlError {
  try {
    run();
  } catch (error) {
    if (error instanceof SqlError) return error;
    throw error;
  }
  throw new Error('no error was thrown');
}

describe('splitting a string', () => {
  it('gives statements with their offsets in characters', () => {
    const parts = splitStatements("select 'é'; ;\n insert into t values (1); commit");
    expect(parts.map((part) => [part.tag, part.sql.trim(), part.offset])).toEqual([
      ['SelectStmt', "select 'é'", 0],
      ['InsertStmt', 'insert into t values (1)', 15],
      ['TransactionStmt', 'commit', 41],
    ]);
  });

  it('has nothing for blanks and comments', () => {
    expect(splitStatements('')).toEqual([]);
    expect(splitStatements(' ; -- x\n /* y */ ;')).toEqual([]);
  });

  it('runs nothing of a string with a syntax error, and says where', () => {
    const error = errorOf(() => splitStatements("select 'éé'; select 1 +;"));
    expect([error.sqlstate, error.message, error.fields.position]).toEqual(['42601', 'syntax error at or near ";"', 24]);
  });

  it('refuses what is too long or too deep, and lives on', () => {
    expect(errorOf(() => splitStatements(`select '${'x'.repeat(1_100_000)}'`)).sqlstate).toBe('54000');
    expect(errorOf(() => splitStatements(`select 1${'+1'.repeat(20_000)}`)).sqlstate).toBe('54001');
    expect(splitStatements('select 1')).toHaveLength(1);
    expect(splitStatements(`insert into t values ('${'x'.repeat(1_100_000)}')`)).toHaveLength(1);
  });

  it('moves the position of an error by the text before', () => {
    const moved = shiftPosition(new SqlError('42P01', 'x', { position: 3, hint: 'h' }), 10) as SqlError;
    expect([moved.fields.position, moved.hint, moved.sqlstate]).toEqual([13, 'h', '42P01']);
  });
});

describe('our own clauses', () => {
  it('are found at the end of CREATE TABLE, and blanked', () => {
    const [first, second] = splitStatements(
      'create table "T"(é int, distributed text) distributed by (é); create table u(a int) using columnar with (x=1) DISTRIBUTED RANDOMLY ;',
    );
    expect(first!.distribution).toEqual({ form: 'create', clause: { kind: 'hash', column: 'é' } });
    expect(first!.sql).toBe(`create table "T"(é int, distributed text)${' '.repeat(' distributed by (é)'.length)}`);
    expect(second!.distribution?.clause).toEqual({ kind: 'random' });
    expect(classify(second!)).toMatchObject({ kind: 'createTable', accessMethod: 'columnar', distribution: { kind: 'random' } });
  });

  it('are found after CREATE TABLE AS', () => {
    const kind = kindOf('create table x as select 1 as "a B" distributed by ("a B")');
    expect(kind).toMatchObject({ kind: 'createTableAs', distribution: { kind: 'hash', column: 'a B' }, withData: true });
    if (kind.kind === 'createTableAs') expect(kind.query!.trim()).toBe('select 1 as "a B"');
  });

  it('leave other uses of the word alone', () => {
    expect(splitStatements("select distributed from t where x = 'distributed by (a)'")[0]!.distribution).toBeNull();
    expect(splitStatements('create table t(a int); -- distributed by (a)')[0]!.distribution).toBeNull();
  });

  it('refuse several columns', () => {
    expect(errorOf(() => splitStatements('create table t(a int, b int) distributed by (a, b)')).sqlstate).toBe('0A000');
  });

  it('work in ALTER TABLE', () => {
    expect(kindOf('alter table s.t set distributed replicated')).toMatchObject({
      kind: 'alterTable',
      distribution: { kind: 'replicated' },
      relation: { schema: 's', name: 't' },
    });
    expect(kindOf('alter table t set access method columnar')).toMatchObject({ kind: 'alterTable', accessMethod: 'columnar' });
  });
});

describe('kinds of statements', () => {
  it.each([
    ['select 1', { kind: 'query', command: 'SELECT' }],
    ['with x as (select 1) update t set a = 1', { kind: 'query', command: 'UPDATE' }],
    [
      'begin isolation level repeatable read read only',
      { kind: 'begin', start: false, options: { isolation: 'repeatable read', readOnly: true } },
    ],
    ['start transaction', { kind: 'begin', start: true }],
    ['end', { kind: 'commit', chain: false }],
    ['abort and chain', { kind: 'rollback', chain: true }],
    ['set local time zone 1', { kind: 'set', name: 'timezone', local: true }],
    ['set transaction isolation level serializable', { kind: 'set', transaction: { isolation: 'serializable' } }],
    ['reset all', { kind: 'set', reset: 'all' }],
    ['show server_version', { kind: 'show', name: 'server_version' }],
    ['discard all', { kind: 'discard', target: 'ALL' }],
    ['deallocate all', { kind: 'deallocate', name: null }],
    ['execute p(1, f(2))', { kind: 'execute', name: 'p', args: '1, f(2)' }],
    [
      'drop table if exists a.b, c',
      {
        kind: 'dropTable',
        ifExists: true,
        relations: [
          { schema: 'a', name: 'b' },
          { schema: null, name: 'c' },
        ],
      },
    ],
    [
      'truncate t, s.u',
      {
        kind: 'truncate',
        relations: [
          { schema: null, name: 't' },
          { schema: 's', name: 'u' },
        ],
      },
    ],
    ['create unique index on t(a)', { kind: 'createIndex' }],
    ['drop index s.i', { kind: 'dropIndex', names: [{ schema: 's', name: 'i' }] }],
    ['alter table t rename to u', { kind: 'frontDdl', touchesTables: true }],
    ['alter table t add column z int', { kind: 'alterTable', forms: ['AT_AddColumn'] }],
    ['create schema s', { kind: 'frontDdl', touchesTables: false }],
    ['create temp table x(a int)', { kind: 'createTable', persistence: 't' }],
    ['analyze t', { kind: 'analyze' }],
  ])('%s', (sql, expected) => expect(kindOf(sql)).toMatchObject(expected));

  it('cut inner statements out', () => {
    expect(kindOf('explain (analyze, format json, verbose off) /* é */ select 1')).toMatchObject({
      kind: 'explain',
      inner: 'select 1',
      innerOffset: 52,
      options: { analyze: true, verbose: false, format: 'json' },
    });
    expect(kindOf('explain analyze verbose select 1')).toMatchObject({
      inner: 'select 1',
      options: { analyze: true, verbose: true },
    });
    expect(kindOf('explain (select 1)')).toMatchObject({ inner: '(select 1)' });
    expect(kindOf('prepare p (int, numeric(3,1)) as select $1')).toMatchObject({
      query: 'select $1',
      argTypes: ['int', 'numeric(3,1)'],
    });
    expect(kindOf('prepare p as select 1')).toMatchObject({ query: 'select 1', argTypes: [] });
    expect(kindOf('copy (select (1)) to stdout csv')).toMatchObject({ query: 'select (1)', from: false });
    expect(kindOf('copy s.t (a, "B") from stdin (format csv)')).toMatchObject({
      relation: { schema: 's', name: 't' },
      columns: ['a', 'B'],
      from: true,
    });
  });

  it.each([
    'savepoint x',
    'listen x',
    'vacuum',
    'do $$ begin end $$',
    'create database x',
    "copy t from program 'x'",
    'create trigger x before insert on t execute function f()',
    'checkpoint',
  ])('refuses %s with a hint', (sql) => {
    const error = errorOf(() => kindOf(sql));
    expect(error.sqlstate).toBe('0A000');
    expect(error.hint).toBeTruthy();
  });
});
