/** A cluster and PGlite, the oracle, given the same statements: what each of them answers, and whether that is the same. */
import { PGlite } from '@electric-sql/pglite';
import type pg from 'pg';
import { TestCluster } from './cluster.js';

/** Everything as the text that the server sent. */
const TEXT_TYPES = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;
const OIDS = Array.from({ length: 20_000 }, (_, oid) => oid);
/** Given with each statement: those of arrays are PGlite's own otherwise. */
const identity = Object.fromEntries(OIDS.map((oid) => [oid, (value: unknown) => value as string]));
const PLAIN_SESSION = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'";
/** Clauses that PostgreSQL does not have. */
const OWN_CLAUSES = /\s+using (heap|columnar)\b|\s+distributed (by \([^)]*\)|replicated|randomly)/gi;

export type Answer =
  | { rows: (string | null)[][]; command: string; count: number | null }
  | { code: string; message: string; hint: string | undefined };

export type Verdict = 'same' | 'same error' | 'refused';

export class Pair {
  private constructor(
    readonly cluster: TestCluster,
    readonly client: pg.Client,
    readonly oracle: PGlite,
  ) {}

  static async start(): Promise<Pair> {
    const [cluster, oracle] = await Promise.all([TestCluster.start({ segments: 2 }), PGlite.create()]);
    const pair = new Pair(cluster, await cluster.client({ types: TEXT_TYPES }), oracle);
    await pair.both(PLAIN_SESSION);
    return pair;
  }

  async stop(): Promise<void> {
    await this.client.end();
    await this.cluster.stop();
    await this.oracle.close();
  }

  /** The statement without comparison, on both; an error of either is thrown. */
  async both(sql: string): Promise<void> {
    await this.client.query(sql);
    await this.oracle.exec(sql.replace(OWN_CLAUSES, ''));
  }

  async ours(sql: string, params?: (string | null)[]): Promise<Answer> {
    try {
      const config = params === undefined ? { text: sql } : { text: sql, values: params, queryMode: 'extended' };
      const answer = (await this.client.query({ ...config, rowMode: 'array' } as pg.QueryArrayConfig)) as
        | pg.QueryArrayResult
        | pg.QueryArrayResult[];
      // Of several statements in one string the last one's.
      const result = Array.isArray(answer) ? answer.at(-1)! : answer;
      return { rows: result.rows, command: result.command, count: result.rowCount };
    } catch (error) {
      return errorOf(error);
    }
  }

  async theirs(sql: string, params?: (string | null)[]): Promise<Answer> {
    const text = sql.replace(OWN_CLAUSES, '');
    try {
      const result = (
        params === undefined
          ? (await this.oracle.exec(text, { rowMode: 'array', parsers: identity })).at(-1)!
          : await this.oracle.query(text, params, { rowMode: 'array', parsers: identity, serializers: identity })
      ) as { rows: unknown[]; affectedRows?: number };
      const command = /^\s*(\w+)/.exec(text)![1]!.toUpperCase();
      return { rows: result.rows as (string | null)[][], command, count: result.affectedRows ?? null };
    } catch (error) {
      return errorOf(error);
    }
  }

  /**
   * Runs the statement on both, ours first: what is refused does not run on the oracle.
   * @returns how they agree, or in words how they differ.
   */
  async compare(sql: string, params?: (string | null)[]): Promise<Verdict | { difference: string }> {
    const ours = await this.ours(sql, params);
    if ('code' in ours && ours.code === '0A000' && ours.hint !== undefined) return 'refused';
    return verdict(ours, await this.theirs(sql, params), isOrdered(sql));
  }

  /** The whole contents of a table on both. */
  async contents(table: string): Promise<string | null> {
    const found = await this.compare(`SELECT * FROM ${table}`);
    return found === 'same' ? null : `${table}: ${JSON.stringify(found)}`;
  }
}

function errorOf(error: unknown): Answer {
  const { code, message, hint } = error as pg.DatabaseError;
  return { code: code ?? 'no SQLSTATE', message, hint };
}

/** ORDER BY outside of all brackets. */
export function isOrdered(sql: string): boolean {
  let text = sql.replace(/'(?:[^']|'')*'/g, "''");
  for (let inner = ''; inner !== text; ) {
    inner = text;
    text = text.replace(/\([^()]*\)/g, ' ');
  }
  return /\border\s+by\b/i.test(text);
}

function verdict(ours: Answer, theirs: Answer, ordered: boolean): Verdict | { difference: string } {
  if ('code' in ours || 'code' in theirs) {
    if ('code' in ours && 'code' in theirs && ours.code === theirs.code) return 'same error';
    return { difference: `ours: ${brief(ours)}\n  PostgreSQL: ${brief(theirs)}` };
  }
  const [a, b] = [lines(ours.rows, ordered), lines(theirs.rows, ordered)];
  const writes = /^(INSERT|UPDATE|DELETE)$/.test(ours.command);
  if (writes && theirs.count !== null && ours.count !== theirs.count)
    return { difference: `ours changed ${ours.count} rows, PostgreSQL ${theirs.count}` };
  if (JSON.stringify(a) === JSON.stringify(b)) return 'same';
  const extra = a.filter((line) => !b.includes(line)).slice(0, 3);
  const missing = b.filter((line) => !a.includes(line)).slice(0, 3);
  return {
    difference: `ours ${a.length} rows, PostgreSQL ${b.length}\n  extra   ${extra.join(' ')}\n  missing ${missing.join(' ')}`,
  };
}

function lines(rows: (string | null)[][], ordered: boolean): string[] {
  const found = rows.map((row) => JSON.stringify(row));
  return ordered ? found : found.sort();
}

function brief(answer: Answer): string {
  return 'code' in answer
    ? `${answer.code} ${answer.message}`
    : `${answer.command} ${answer.rows.length} rows ${JSON.stringify(answer.rows.slice(0, 3))}`;
}
