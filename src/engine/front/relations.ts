/** What a query tree refers to: relations by OID, and functions that could read tables behind the planner's back. */
import { notSupported } from '../../core/errors.js';
import type { TreeNode } from './tree.js';
import { visitNodes } from './tree-reader.js';
import type { Analyzed, RelationInfo } from './types.js';

/** A function that is not PostgreSQL's own. */
export type UserFunction = NonNullable<Analyzed['functions']>[number];

/** Runs a query and gives its rows as text. */
export type QueryRows = (sql: string, params?: readonly (string | null)[]) => Promise<(string | null)[][]>;

/** Schemas whose relations the front itself answers for. */
export const ENGINE_SCHEMAS: readonly string[] = ['pg_catalog', 'information_schema', 'damson', 'citus', 'gpexpand'];

const RTE_RELATION = 0;
const FIRST_USER_OID = 16384;

/** OIDs in all range tables. `scanned` are those whose rows are read or written; a view's own entry is there for its privileges alone. */
export function relationOids(queries: readonly TreeNode[]): { all: number[]; scanned: Set<number> } {
  const all = new Set<number>();
  const scanned = new Set<number>();
  visitNodes(queries, (node) => {
    if (node.node !== 'RANGETBLENTRY' || typeof node.relid !== 'number' || node.relid === 0) return;
    all.add(node.relid);
    if (node.rtekind === RTE_RELATION && node.relkind !== 'v') scanned.add(node.relid);
  });
  return { all: [...all], scanned };
}

/** Fields that name a function which the node calls. */
const FUNCTION_FIELDS = ['funcid', 'opfuncid', 'aggfnoid', 'winfnoid'] as const;

export function functionOids(queries: readonly TreeNode[]): Set<number> {
  const oids = new Set<number>();
  visitNodes(queries, (node) => {
    for (const field of FUNCTION_FIELDS) {
      const oid = node[field];
      if (typeof oid === 'number' && oid !== 0) oids.add(oid);
    }
  });
  return oids;
}

/** Relations and functions of one DDL generation, looked up once. */
export class CatalogLookups {
  private readonly relations = new Map<number, RelationInfo>();
  private readers: Map<number, string> | undefined;
  private readonly functions = new Map<number, UserFunction>();

  async infos(oids: readonly number[], rows: QueryRows): Promise<RelationInfo[]> {
    const missing = oids.filter((oid) => !this.relations.has(oid));
    if (missing.length > 0) {
      for (const info of await readRelations(missing, rows)) this.relations.set(info.oid, info);
    }
    return oids.flatMap((oid) => this.relations.get(oid) ?? []);
  }

  /** Those of the functions that are not PostgreSQL's own. */
  async userFunctions(oids: ReadonlySet<number>, rows: QueryRows): Promise<UserFunction[]> {
    const wanted = [...oids].filter((oid) => oid >= FIRST_USER_OID);
    const missing = wanted.filter((oid) => !this.functions.has(oid));
    if (missing.length > 0) {
      for (const found of await readFunctions(missing, rows)) this.functions.set(found.oid, found);
    }
    return wanted.flatMap((oid) => this.functions.get(oid) ?? []);
  }

  /** Throws 0A000 where a function of the statement may read tables: the front's are empty, so that its answer would be wrong. */
  async refuseReaders(functions: ReadonlySet<number>, rows: QueryRows): Promise<void> {
    if (functions.size === 0) return;
    this.readers ??= await readTableReaders(rows);
    for (const oid of functions) {
      const name = this.readers.get(oid);
      if (name === undefined) continue;
      throw notSupported(
        `function ${name} may read or write tables, which functions cannot do here`,
        'Write what the function does into the statement itself, or make a view of it.',
      );
    }
  }
}

async function readRelations(oids: readonly number[], rows: QueryRows): Promise<RelationInfo[]> {
  const found = await rows(
    `SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1::oid[])`,
    [`{${oids.join(',')}}`],
  );
  return found.map((row) => ({
    oid: Number(row[0]),
    schema: row[1] ?? '',
    name: row[2] ?? '',
    kind: row[3] ?? '',
    persistence: row[4] ?? '',
  }));
}

async function readFunctions(oids: readonly number[], rows: QueryRows): Promise<UserFunction[]> {
  const found = await rows(
    `SELECT p.oid, n.nspname, p.proname, p.provolatile, to_json(coalesce(p.proargnames, '{}'))
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = ANY ($1::oid[])`,
    [`{${oids.join(',')}}`],
  );
  return found.map((row) => ({
    oid: Number(row[0]),
    schema: row[1] ?? '',
    name: row[2] ?? '',
    volatility: (row[3] ?? 'v') as UserFunction['volatility'],
    argNames: JSON.parse(row[4] ?? '[]') as string[],
  }));
}

/** Functions of PostgreSQL's own that run a query given as text or by the name of a table. */
const BUILT_IN_READERS = [
  ...['query', 'table', 'schema', 'database', 'cursor'].flatMap((of) => [
    `${of}_to_xml`,
    `${of}_to_xmlschema`,
    `${of}_to_xml_and_xmlschema`,
  ]),
  'ts_stat',
];

/** A body that holds none of these words reads no table, unless it calls a function that does. */
const TABLE_WORDS = /\b(from|join|table|into|insert|update|delete|merge|execute|copy|truncate|call|open|fetch)\b/i;

async function readTableReaders(rows: QueryRows): Promise<Map<number, string>> {
  const found = await rows(
    `SELECT p.oid, p.proname, p.oid >= ${FIRST_USER_OID}, coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc)
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     JOIN pg_catalog.pg_language l ON l.oid = p.prolang
     WHERE (p.oid >= ${FIRST_USER_OID} AND n.nspname <> ALL ($1::text[]) AND l.lanname IN ('sql', 'plpgsql'))
        OR (p.oid < ${FIRST_USER_OID} AND p.proname = ANY ($2::text[]))`,
    [`{${ENGINE_SCHEMAS.join(',')}}`, `{${BUILT_IN_READERS.join(',')}}`],
  );
  const functions = found.map((row) => ({ oid: Number(row[0]), name: row[1] ?? '', user: row[2] === 't', body: row[3] ?? '' }));
  const readers = new Map<number, string>();
  for (const f of functions) if (!f.user || TABLE_WORDS.test(f.body)) readers.set(f.oid, f.name);
  // Functions that name a reader are readers, and so on until nothing is added.
  for (let before = -1; before !== readers.size; ) {
    before = readers.size;
    const names = new Set([...readers.values()].map((name) => name.toLowerCase()));
    for (const f of functions) {
      if (readers.has(f.oid)) continue;
      const words = f.body.toLowerCase().match(/[\p{L}_][\p{L}\p{N}_$]*/gu) ?? [];
      if (words.some((word) => names.has(word))) readers.set(f.oid, f.name);
    }
  }
  return readers;
}
