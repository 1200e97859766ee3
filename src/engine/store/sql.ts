/** Small pieces of SQL text that the stores share. Identifiers and literals are quoted the same way in SQLite and DuckDB. */
import type { HeapValue } from '../../model/storage.js';
import type { ColumnDef, ShardDef } from '../../model/table.js';

export function quoteIdent(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** `c<attnum>`: a column's name in every store. */
export function columnName(column: Pick<ColumnDef, 'attnum'>): string {
  return `c${column.attnum}`;
}

/** `_rid, c1, c2, …` in the order of the shard's columns, each with `prefix` before it. */
export function allColumns(shard: Pick<ShardDef, 'columns'>, prefix = ''): string {
  return ['_rid', ...shard.columns.map(columnName)].map((name) => `${prefix}${name}`).join(', ');
}

/** The table's name as people know it: the relation without its shard id. */
export function tableNameOf(shard: Pick<ShardDef, 'relation' | 'shardId'>): string {
  const suffix = `_${shard.shardId}`;
  return shard.relation.endsWith(suffix) ? shard.relation.slice(0, -suffix.length) : shard.relation;
}

/** better-sqlite3 takes the values of `?1`, `?2`, … as an object with their numbers as keys. */
export function numberedParams(params: HeapValue[]): Record<string, HeapValue> {
  const values: Record<string, HeapValue> = {};
  for (let i = 0; i < params.length; i++) values[i + 1] = params[i]!;
  return values;
}
