/**
 * Unique keys of shards. PostgreSQL's equality and the equality of stored values must be the same, so a key part is either the column itself or an
 * expression that brings equal values to one form; a type for which neither exists is refused.
 */
import { notSupported, SqlError } from '../../core/errors.js';
import { type HeapValue, Oid, storageOf } from '../../model/storage.js';
import type { ColumnDef, ShardDef } from '../../model/table.js';
import { CANONICAL_OUTPUT, textFromHeap } from '../codec/heap.js';
import { columnName, tableNameOf } from './sql.js';

/** A unique constraint or unique index, by its name for people. */
export interface UniqueKey {
  name: string;
  columns: ColumnDef[];
}

export function uniqueKeys(shard: ShardDef): UniqueKey[] {
  const all = [...shard.uniques, ...shard.indexes.filter((index) => index.unique)];
  return all.map((unique) => ({ name: unique.name, columns: unique.attnums.map((attnum) => columnOf(shard, attnum)) }));
}

export function columnOf(shard: ShardDef, attnum: number): ColumnDef {
  const column = shard.columns.find((candidate) => candidate.attnum === attnum);
  if (column === undefined) throw new SqlError('42703', `column ${attnum} of relation "${tableNameOf(shard)}" does not exist`);
  return column;
}

/**
 * SQL of one part of a unique key, good for SQLite and DuckDB.
 * @throws SqlError 0A000 for types whose equal values may have several texts (jsonb, interval, arrays, …).
 */
export function keyPart(column: ColumnDef): string {
  const name = columnName(column);
  const storage = storageOf(column.typeOid, column.typmod);
  if (storage.class === 'opaque' && column.typtype !== 'e') {
    throw notSupported(
      `a unique key on column "${column.name}" is not supported for its type`,
      'Unique keys may use integers, numerics, texts, dates, times, uuid, bytea, booleans, floats and enums.',
    );
  }
  const scaleVaries = storage.class === 'numeric' && (storage.scale === undefined || storage.scale < 0);
  // 1.5 and 1.50 are equal, and both are kept as they were written.
  return scaleVaries && column.typeOid === Oid.numeric
    ? `CASE WHEN instr(${name}, '.') > 0 THEN rtrim(rtrim(${name}, '0'), '.') ELSE ${name} END`
    : name;
}

/** 23505 as PostgreSQL words it. `row` in the order of the shard's columns, where it is known. */
export function duplicateKey(shard: ShardDef, key: UniqueKey, row: HeapValue[] | null): SqlError {
  const fields: { table: string; constraint: string; detail?: string } = { table: tableNameOf(shard), constraint: key.name };
  if (row !== null) fields.detail = `${keyText(shard, key, row)} already exists.`;
  return new SqlError('23505', `duplicate key value violates unique constraint "${key.name}"`, fields);
}

/** The error of CREATE UNIQUE INDEX over rows that are not unique. */
export function cannotCreateUnique(shard: ShardDef, name: string): SqlError {
  return new SqlError('23505', `could not create unique index "${name}"`, {
    table: tableNameOf(shard),
    constraint: name,
    detail: 'Its key is duplicated.',
  });
}

function keyText(shard: ShardDef, key: UniqueKey, row: HeapValue[]): string {
  const values = key.columns.map((column) => {
    const value = row[shard.columns.indexOf(column)] ?? null;
    return value === null ? 'null' : textFromHeap(column.typeOid, column.typmod, value, CANONICAL_OUTPUT);
  });
  return `Key (${key.columns.map((column) => column.name).join(', ')})=(${values.join(', ')})`;
}

/** Turns SQLite's UNIQUE failure on a shard into 23505; every other error is given back as it is. */
export function uniqueErrorOf(error: unknown, shard: ShardDef, row: HeapValue[] | null): unknown {
  const { code, message } = error as { code?: string; message?: string };
  if (code !== 'SQLITE_CONSTRAINT_UNIQUE' || message === undefined) return error;
  const key = uniqueKeys(shard).find((candidate) => message === failureText(shard, candidate));
  return key === undefined ? error : duplicateKey(shard, key, row);
}

/** SQLite names the columns of a plain unique index, and the index itself where it has an expression. */
function failureText(shard: ShardDef, key: UniqueKey): string {
  const parts = key.columns.map(keyPart);
  const plain = parts.every((part, i) => part === columnName(key.columns[i]!));
  if (!plain) return `UNIQUE constraint failed: index '${sqliteIndexName(shard, key)}'`;
  return `UNIQUE constraint failed: ${parts.map((part) => `${shard.relation}.${part}`).join(', ')}`;
}

/** Name of the SQLite index behind a unique key or an index: several shards of a table may lie in one file. */
export function sqliteIndexName(shard: Pick<ShardDef, 'shardId'>, index: { name: string }): string {
  return `${index.name}_${shard.shardId}`;
}
