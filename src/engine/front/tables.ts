/** Tables of the front as pg_catalog describes them, in one query. */
import { internalError } from '../../core/errors.js';
import { ENGINE_SCHEMAS, type QueryRows } from './relations.js';
import type { FrontTable } from './types.js';

const TABLES = `
SELECT pg_catalog.json_build_object(
  'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'owner', pg_catalog.pg_get_userbyid(c.relowner), 'kind', c.relkind,
  'persistence', c.relpersistence, 'accessMethod', coalesce(am.amname, ''),
  'columns', coalesce(columns.list, '[]'), 'constraints', coalesce(constraints.list, '[]'), 'indexes', coalesce(indexes.list, '[]'),
  'triggers', (SELECT count(*) FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal))
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
LEFT JOIN LATERAL (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'attnum', a.attnum, 'name', a.attname, 'typeOid', a.atttypid::bigint, 'typmod', a.atttypmod, 'typtype', t.typtype, 'notNull', a.attnotnull,
    'defaultExpr', pg_catalog.pg_get_expr(d.adbin, d.adrelid), 'generated', a.attgenerated, 'identity', a.attidentity,
    'collation', a.attcollation::bigint) ORDER BY a.attnum) AS list
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
) columns ON true
LEFT JOIN LATERAL (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', k.conname, 'type', k.contype, 'attnums', coalesce(k.conkey, '{}'), 'definition', pg_catalog.pg_get_constraintdef(k.oid),
    'referencedOid', k.confrelid::bigint, 'referencedAttnums', coalesce(k.confkey, '{}')) ORDER BY k.conname) AS list
  FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid
) constraints ON true
LEFT JOIN LATERAL (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', ic.relname, 'unique', i.indisunique, 'primary', i.indisprimary,
    'attnums', (SELECT pg_catalog.array_agg(k.attnum ORDER BY k.place) FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY k(attnum, place)
                WHERE k.place <= i.indnkeyatts),
    'complex', i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR i.indnullsnotdistinct OR NOT i.indimmediate, 'method', iam.amname) ORDER BY ic.relname) AS list
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_catalog.pg_am iam ON iam.oid = ic.relam
  WHERE i.indrelid = c.oid
) indexes ON true
WHERE `;

const OF_USERS = `c.relkind IN ('r', 'p') AND n.nspname <> ALL ($1::text[]) AND n.nspname NOT LIKE 'pg\\_toast%' ORDER BY c.oid`;

/** Tables with the given OIDs, whatever they are; without OIDs all tables of users, plain and partitioned. */
export async function readTables(rows: QueryRows, oids?: readonly number[]): Promise<FrontTable[]> {
  const found =
    oids === undefined
      ? await rows(TABLES + OF_USERS, [`{${ENGINE_SCHEMAS.join(',')}}`])
      : await rows(`${TABLES}c.oid = ANY ($1::oid[]) ORDER BY c.oid`, [`{${oids.join(',')}}`]);
  return found.map((row) => parseTable(row[0] ?? null));
}

/** Characters of type "char" that are empty come as '' from JSON, as the contract wants them. */
function parseTable(text: string | null): FrontTable {
  if (text === null) throw internalError('the front described no table');
  return JSON.parse(text) as FrontTable;
}

/** Columns of one table by attnum: name and type. */
export interface TableColumn {
  attnum: number;
  name: string;
  typeOid: number;
  generated: string;
  notNull: boolean;
}

export async function readColumns(rows: QueryRows, schema: string, name: string): Promise<TableColumn[]> {
  const found = await rows(
    `SELECT a.attnum, a.attname, a.atttypid, a.attgenerated, a.attnotnull
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [schema, name],
  );
  return found.map((row) => ({
    attnum: Number(row[0]),
    name: row[1] ?? '',
    typeOid: Number(row[2]),
    generated: row[3] ?? '',
    notNull: row[4] === 't',
  }));
}
