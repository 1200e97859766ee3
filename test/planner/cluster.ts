/**
 * A cluster in one process, for plans: PGlite analyses and is the oracle; four shards lie on two "segments" in SQLite (heap) and DuckDB
 * (columnar); fragments run there and travel as Parquet files, as between daemons.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { PGlite } from '@electric-sql/pglite';
import Database from 'better-sqlite3';
import { duckChunkEncoder } from '../../src/engine/codec/encode-duck.js';
import { heapRowEncoder } from '../../src/engine/codec/encode-heap.js';
import { hashText } from '../../src/engine/codec/hash.js';
import { CANONICAL_OUTPUT, heapFromText, textFromHeap } from '../../src/engine/codec/heap.js';
import { RowWriter } from '../../src/engine/codec/rowwriter.js';
import { duckLiterals, duckParam, sqliteParams } from '../../src/engine/executor/params.js';
import { putRelations, putValues } from '../../src/engine/executor/sql-text.js';
import { readTree } from '../../src/engine/front/tree-reader.js';
import type { Analyzed } from '../../src/engine/front/types.js';
import { planFallback, planStatement } from '../../src/engine/planner/plan.js';
import type { Input, Plan, PlannerCatalog, ReadPlan, ValueRef, Where } from '../../src/engine/planner/types.js';
import { type HeapValue, storageOf } from '../../src/model/storage.js';
import { type Distribution, rangeIndexOf, type TableDef } from '../../src/model/table.js';
import type { Fragment, OutputColumn, RelationRef } from '../../src/model/task.js';

export const SHARDS = 4;
export const SEGMENTS = 2;

export interface TableSpec {
  name: string;
  ddl: string;
  columnar?: boolean;
  distribution: { kind: 'distributed'; column: string; colocationId: number } | { kind: 'reference' } | { kind: 'local' };
}

export type Row = (string | null)[];

/** PGlite would turn values into JavaScript's; their text is what is compared. */
const identityParsers = Object.fromEntries(Array.from({ length: 4200 }, (_, oid) => [oid, (text: string) => text]));

export class Cluster implements PlannerCatalog {
  private readonly tables = new Map<number, TableDef>();
  private readonly duck: DuckDBConnection[] = [];
  private readonly heap = new Map<string, Database.Database>();
  private readonly directory = mkdtempSync(join(tmpdir(), 'damson-plan-'));
  private files = 0;

  private constructor(
    readonly pg: PGlite,
    private readonly coordinator: DuckDBConnection,
  ) {}

  static async create(specs: readonly TableSpec[]): Promise<Cluster> {
    const pg = await PGlite.create();
    const cluster = new Cluster(pg, await connection());
    for (let i = 0; i <= SEGMENTS; i++) cluster.duck.push(await connection());
    await pg.exec("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'");
    for (const [i, spec] of specs.entries()) await cluster.addTable(i + 1, spec);
    return cluster;
  }

  async close(): Promise<void> {
    await this.pg.close();
    for (const one of [...this.duck, this.coordinator]) one.closeSync();
    for (const one of this.heap.values()) one.close();
    rmSync(this.directory, { recursive: true, force: true });
  }

  // The planner's catalog.
  tableByOid(oid: number): TableDef | undefined {
    return this.tables.get(oid);
  }
  table(tableId: number): TableDef | undefined {
    return [...this.tables.values()].find((table) => table.tableId === tableId);
  }
  shards(): never[] {
    return [];
  }
  shardCount(): number {
    return SHARDS;
  }
  placement(setKey: string) {
    const index = Number(setKey.slice(setKey.indexOf('_') + 1));
    return { setKey, contents: [index % SEGMENTS], version: 1 };
  }
  rows(): number {
    return 0;
  }

  private async addTable(tableId: number, spec: TableSpec): Promise<void> {
    await this.pg.exec(spec.ddl);
    const { rows } = await this.pg.query<{
      oid: number;
      attnum: number;
      attname: string;
      typid: number;
      typmod: number;
      nn: boolean;
    }>(
      `select c.oid::int4 as oid, attnum, attname, atttypid::int4 as typid, atttypmod as typmod, attnotnull as nn
       from pg_class c join pg_attribute a on attrelid = c.oid and attnum > 0 where relname = $1 order by attnum`,
      [spec.name],
    );
    const columns = rows.map((row) => ({
      attnum: row.attnum,
      name: row.attname,
      typeOid: row.typid,
      typmod: row.typmod,
      notNull: row.nn,
    }));
    const { distribution } = spec;
    const placed: Distribution =
      distribution.kind === 'distributed'
        ? {
            kind: 'distributed',
            attnum: columns.find((one) => one.name === distribution.column)!.attnum,
            colocationId: distribution.colocationId,
          }
        : distribution.kind === 'reference'
          ? { kind: 'reference', colocationId: 1 }
          : { kind: 'local' };
    const table: TableDef = {
      tableId,
      schema: 'public',
      name: spec.name,
      owner: 'postgres',
      accessMethod: spec.columnar === true ? 'columnar' : 'heap',
      distribution: placed,
      columns,
      uniques: [],
      indexes: [],
      needsFront: false,
    };
    this.tables.set(rows[0]!.oid, table);
    for (const shard of this.placesOf(table)) await this.createShard(table, shard);
  }

  /** Every shard with the set that it lies in and the segments (index SEGMENTS: the coordinator) that hold it. */
  private placesOf(table: TableDef): { index: number; set: string; at: number[] }[] {
    const { distribution } = table;
    if (distribution.kind === 'local') return [{ index: 0, set: `l${table.tableId}`, at: [SEGMENTS] }];
    if (distribution.kind === 'reference') return [{ index: 0, set: 'c1_0', at: [0, 1, SEGMENTS] }];
    return Array.from({ length: SHARDS }, (_, index) => ({
      index,
      set: `c${distribution.colocationId}_${index}`,
      at: [index % SEGMENTS],
    }));
  }

  private heapOf(set: string, at: number): Database.Database {
    const key = `${at}/${set}`;
    let db = this.heap.get(key);
    if (db === undefined) {
      db = new Database(':memory:');
      this.heap.set(key, db);
    }
    return db;
  }

  private async createShard(table: TableDef, shard: { index: number; set: string; at: number[] }): Promise<void> {
    const name = `${table.name}_${shard.index}`;
    const duck = table.columns.map((one) => `c${one.attnum} ${storageOf(one.typeOid, one.typmod).duckdb}`).join(', ');
    const lite = table.columns.map((one) => `c${one.attnum} ${storageOf(one.typeOid, one.typmod).sqlite}`).join(', ');
    for (const at of shard.at) {
      await this.duck[at]!.run(`CREATE TABLE ${name} (_rid BIGINT, ${duck})`);
      if (table.accessMethod === 'heap')
        this.heapOf(shard.set, at).exec(`CREATE TABLE ${name} (_rid INTEGER PRIMARY KEY, ${lite}) STRICT`);
    }
  }

  /** Inserts through PostgreSQL, then copies its canonical text into the shards. */
  async load(name: string, rows: Row[]): Promise<void> {
    const table = [...this.tables.values()].find((one) => one.name === name)!;
    const list = rows.map(
      (row) => `(${row.map((value) => (value === null ? 'NULL' : `'${value.replaceAll("'", "''")}'`)).join(',')})`,
    );
    await this.pg.exec(`INSERT INTO ${name} VALUES ${list.join(',')}`);
    const stored = await this.oracle(`SELECT * FROM ${name}`);
    const byIndex = new Map<number, Row[]>();
    for (const row of stored.rows) {
      const index = this.indexOf(table, row);
      byIndex.set(index, [...(byIndex.get(index) ?? []), row]);
    }
    for (const shard of this.placesOf(table)) {
      const shardRows = byIndex.get(shard.index) ?? [];
      for (const at of shard.at) await this.fill(table, shard, at, shardRows);
    }
  }

  /** A column's value from text, as the store holds it. */
  heapValue(column: { typeOid: number; typmod: number }, text: string | null): HeapValue {
    return bindable(heapOf(column, text), storageOf(column.typeOid, column.typmod).class);
  }

  private indexOf(table: TableDef, row: Row): number {
    const { distribution } = table;
    if (distribution.kind !== 'distributed') return 0;
    const at = table.columns.findIndex((one) => one.attnum === distribution.attnum);
    return rangeIndexOf(hashText(table.columns[at]!.typeOid, row[at]!), SHARDS);
  }

  private async fill(table: TableDef, shard: { index: number; set: string }, at: number, rows: Row[]): Promise<void> {
    const name = `${table.name}_${shard.index}`;
    const heapRows = rows.map((row) => row.map((text, i) => heapOf(table.columns[i]!, text)));
    await insertDuck(this.duck[at]!, name, table.columns, heapRows, true);
    if (table.accessMethod !== 'heap') return;
    const places = ['NULL', ...table.columns.map(() => '?')].join(', ');
    const insert = this.heapOf(shard.set, at).prepare(`INSERT INTO ${name} VALUES (${places})`);
    for (const row of heapRows)
      insert.run(row.map((value, i) => bindable(value, storageOf(table.columns[i]!.typeOid, table.columns[i]!.typmod).class)));
  }

  async analyze(sql: string): Promise<Analyzed> {
    const details: string[] = [];
    await this.pg.exec('SET debug_print_rewritten = on; SET debug_pretty_print = off; SET client_min_messages = log');
    const described = await this.pg.describeQuery(sql, {
      onNotice: (notice) => {
        if (notice.message === 'rewritten parse tree:') details.push(notice.detail!);
      },
    });
    await this.pg.exec('RESET client_min_messages; RESET debug_print_rewritten');
    const queries = details.flatMap((detail) => readTree(detail));
    const fields = described.resultFields.map((field) => ({
      name: field.name,
      relationOid: 0,
      attnum: 0,
      typeOid: field.dataTypeID,
      typeSize: 0,
      typmod: -1,
    }));
    const paramTypes = described.queryParams.map((param) => param.dataTypeID);
    return { queries, fields, paramTypes, relations: [], catalogOnly: false, cacheable: true, generation: 1 };
  }

  async plan(sql: string): Promise<Plan> {
    return planStatement(await this.analyze(sql), this);
  }

  async fallback(sql: string): Promise<ReadPlan> {
    return planFallback(await this.analyze(sql), this);
  }

  async oracle(sql: string, params: Row = []): Promise<{ rows: Row[] }> {
    const result = await this.pg.query<Row>(sql, params, {
      rowMode: 'array',
      parsers: identityParsers,
      serializers: identityParsers,
    });
    return { rows: result.rows };
  }

  /** Runs a read plan that no PostgreSQL finishes; rows as text. */
  async run(plan: ReadPlan, params: Row = []): Promise<Row[]> {
    if (plan.finish === null) {
      const input = plan.inputs[0]!;
      const parts: Row[] = [];
      for (const part of this.targets(input, params)) parts.push(...(await this.runRows(input.fragment, part, params)));
      return parts;
    }
    if (plan.finish.engine !== 'duckdb') throw new Error('PostgreSQL finishes this plan');
    const files = new Map<string, string[]>();
    for (const input of plan.inputs) {
      const paths: string[] = [];
      for (const part of this.targets(input, params)) paths.push(await this.runParquet(input.fragment, part, params));
      files.set(input.name, paths);
    }
    const sql = putRelations(putValues(plan.finish.sql, duckLiterals(plan.finish.params, params)), (name) => {
      return `read_parquet([${files
        .get(name)!
        .map((path) => `'${path}'`)
        .join(', ')}])`;
    });
    return await duckRows(this.coordinator, sql, plan.finish.output);
  }

  /** Rows of the inputs of a fallback plan, by table id. */
  async gather(plan: ReadPlan, params: Row = []): Promise<Map<string, Row[]>> {
    const found = new Map<string, Row[]>();
    for (const input of plan.inputs) {
      const rows: Row[] = [];
      for (const part of this.targets(input, params)) rows.push(...(await this.runRows(input.fragment, part, params)));
      found.set(input.name, rows);
    }
    return found;
  }

  private targets(input: Input, params: Row): { at: number; indexes: number[] }[] {
    if (input.where.kind === 'coordinator') return [{ at: SEGMENTS, indexes: [0] }];
    const wanted = this.prune(input.where, input.fragment, params);
    return Array.from({ length: SEGMENTS }, (_, at) => ({
      at,
      indexes: wanted.filter((index) => index % SEGMENTS === at),
    })).filter((target) => target.indexes.length > 0);
  }

  private prune(where: Where & { kind: 'colocated' }, fragment: Fragment, params: Row): number[] {
    if (where.keys === null) return Array.from({ length: SHARDS }, (_, index) => index);
    const owner = fragment.relations
      .map((ref) => this.table(ref.tableId)!)
      .find((table) => table.distribution.kind === 'distributed')!;
    const { attnum } = owner.distribution as { attnum: number };
    const type = owner.columns.find((one) => one.attnum === attnum)!.typeOid;
    const texts = where.keys
      .map((key: ValueRef) => (key.kind === 'const' ? key.text : params[key.n - 1]!))
      .filter((text) => text !== null);
    const indexes = new Set(texts.map((text) => rangeIndexOf(hashText(type, text!), SHARDS)));
    return indexes.size === 0 ? [0] : [...indexes];
  }

  private relation(
    fragment: Fragment,
    alias: string,
    part: { at: number; indexes: number[] },
  ): { table: TableDef; names: string[] } {
    const ref = fragment.relations.find((one) => one.alias === alias)!;
    const table = this.table(ref.tableId)!;
    const indexes = table.distribution.kind === 'distributed' ? part.indexes : [0];
    return { table, names: indexes.map((index) => `${table.name}_${index}`) };
  }

  private duckSql(fragment: Fragment, part: { at: number; indexes: number[] }, params: Row): string {
    return putRelations(fragment.sql, (alias) => {
      const { names, table } = this.relation(fragment, alias, part);
      const ref = fragment.relations.find((one) => one.alias === alias)!;
      const columns = ref.columns.length === 0 ? '1 AS _one' : ref.columns.map((attnum) => `c${attnum}`).join(', ');
      return `(${names.map((name) => `SELECT ${columns} FROM ${name}${this.kept(fragment, ref, table, name, part, params)}`).join(' UNION ALL ')})`;
    });
  }

  /** A heap relation's rows that its SQLite condition keeps, by row id. */
  private kept(fragment: Fragment, ref: RelationRef, table: TableDef, name: string, part: { at: number }, params: Row): string {
    if (ref.heapFilter === undefined) return '';
    const index = Number(name.slice(table.name.length + 1));
    const set = this.placesOf(table).find((place) => place.index === index)!.set;
    const wanted = fragment.params.filter((param) => ref.heapFilter!.includes(`?${param.n}`));
    const statement = this.heapOf(set, part.at).prepare(`SELECT _rid - 1 FROM ${name} WHERE ${ref.heapFilter}`).raw(true);
    const rids = (statement.all(Object.fromEntries(sqliteParams(wanted, params))) as number[][]).map((row) => row[0]);
    return ` WHERE _rid IN (${['-1', ...rids].join(', ')})`;
  }

  private heapRowsOf(fragment: Fragment, part: { at: number; indexes: number[] }, params: Row): HeapValue[][] {
    const first = this.table(fragment.relations[0]!.tableId)!;
    const sets = this.placesOf(first).filter(
      (place) => place.at.includes(part.at) && (first.distribution.kind !== 'distributed' || part.indexes.includes(place.index)),
    );
    return sets.flatMap((place) => {
      const sql = putRelations(
        fragment.sql,
        (alias) => this.relation(fragment, alias, { at: part.at, indexes: [place.index] }).names[0],
      );
      const statement = this.heapOf(place.set, part.at).prepare(sql).raw(true).safeIntegers(true);
      return statement.all(Object.fromEntries(sqliteParams(fragment.params, params))) as HeapValue[][];
    });
  }

  private async runRows(fragment: Fragment, part: { at: number; indexes: number[] }, params: Row): Promise<Row[]> {
    if (fragment.engine === 'duckdb') {
      const statement = await this.duck[part.at]!.prepare(this.duckSql(fragment, part, params));
      for (let i = 1; i <= statement.parameterCount; i++) {
        const spec = fragment.params.find((one) => one.n === Number(statement.parameterName(i)))!;
        const value = duckParam(spec, params);
        if (value === null) statement.bindNull(i);
        else if (typeof value === 'string') statement.bindVarchar(i, value);
        else statement.bindBlob(i, value);
      }
      return await encodeDuck(await statement.stream(), fragment.output);
    }
    const writer = new RowWriter();
    const encode = heapRowEncoder(
      fragment.output,
      fragment.output.map(() => 0),
      CANONICAL_OUTPUT,
    );
    for (const row of this.heapRowsOf(fragment, part, params)) encode(row, writer);
    return dataRows(writer.take());
  }

  private async runParquet(fragment: Fragment, part: { at: number; indexes: number[] }, params: Row): Promise<string> {
    const path = join(this.directory, `f${this.files++}.parquet`);
    const names = fragment.output.map((_, i) => `o${i}`).join(', ');
    const segment = this.duck[part.at]!;
    if (fragment.engine === 'duckdb') {
      const sql = putValues(this.duckSql(fragment, part, params), duckLiterals(fragment.params, params));
      await segment.run(`COPY (SELECT * FROM (${sql}) AS q(${names})) TO '${path}' (FORMAT parquet)`);
      return path;
    }
    const columns = fragment.output.map((one, i) => ({ ...one, attnum: i, notNull: false, name: `o${i}` }));
    const types = columns.map((one) => `${one.name} ${storageOf(one.typeOid, one.typmod).duckdb}`).join(', ');
    await segment.run(`CREATE OR REPLACE TEMP TABLE shipped (${types})`);
    await insertDuck(segment, 'shipped', columns, this.heapRowsOf(fragment, part, params), false);
    await segment.run(`COPY shipped TO '${path}' (FORMAT parquet)`);
    return path;
  }
}

async function connection(): Promise<DuckDBConnection> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const made = await instance.connect();
  await made.run("SET TimeZone = 'UTC'");
  return made;
}

function heapOf(column: { typeOid: number; typmod: number }, text: string | null): HeapValue {
  return text === null ? null : heapFromText(column.typeOid, column.typmod, text);
}

function bindable(value: HeapValue, kind: string): HeapValue {
  return typeof value === 'number' && kind !== 'float' ? BigInt(value) : value;
}

async function insertDuck(
  duck: DuckDBConnection,
  name: string,
  columns: readonly { typeOid: number; typmod: number }[],
  rows: HeapValue[][],
  withRid: boolean,
): Promise<void> {
  if (rows.length === 0) return;
  const lists = rows.map((row, n) => {
    const values = row.map((value, i) => {
      const { typeOid, typmod } = columns[i]!;
      if (value === null) return 'NULL';
      const text = textFromHeap(typeOid, typmod, value, CANONICAL_OUTPUT);
      const { class: kind, duckdb } = storageOf(typeOid, typmod);
      if (kind === 'bytea') return `from_hex('${text.slice(2)}')`;
      return `CAST('${(kind === 'bpchar' ? text.trimEnd() : text).replaceAll("'", "''")}' AS ${duckdb})`;
    });
    return `(${[...(withRid ? [String(n)] : []), ...values].join(', ')})`;
  });
  for (let at = 0; at < lists.length; at += 100)
    await duck.run(`INSERT INTO ${name} VALUES ${lists.slice(at, at + 100).join(', ')}`);
}

async function duckRows(duck: DuckDBConnection, sql: string, output: OutputColumn[]): Promise<Row[]> {
  return await encodeDuck(await duck.stream(sql), output);
}

type Stream = Awaited<ReturnType<DuckDBConnection['stream']>>;

async function encodeDuck(result: Stream, output: OutputColumn[]): Promise<Row[]> {
  const encode = duckChunkEncoder(
    output,
    result.columnTypes(),
    output.map(() => 0),
    CANONICAL_OUTPUT,
  );
  const writer = new RowWriter();
  for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk())
    encode(chunk, writer);
  return dataRows(writer.take());
}

/** Fields of concatenated DataRow messages, as text. */
function dataRows(bytes: Buffer): Row[] {
  const rows: Row[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + bytes.readInt32BE(at + 1);
    const fields = bytes.readInt16BE(at + 5);
    const row: Row = [];
    let p = at + 7;
    for (let i = 0; i < fields; i++) {
      const length = bytes.readInt32BE(p);
      p += 4;
      if (length < 0) row.push(null);
      else {
        row.push(bytes.toString('utf8', p, p + length));
        p += length;
      }
    }
    rows.push(row);
    at = end;
  }
  return rows;
}
