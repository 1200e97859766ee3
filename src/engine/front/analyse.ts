/** Parse, analysis and rewriting of one statement by PostgreSQL, and what is read off the result. */
import { SqlError } from '../../core/errors.js';
import { LruCache } from './cache.js';
import type { FrontConnection, Scope } from './connection.js';
import { failOnError, queryRows } from './connection.js';
import {
  type BackendMessage,
  describeStatement,
  parameterDescription,
  parse,
  query,
  rawFields,
  rowDescription,
  SYNC,
} from './messages.js';
import { CatalogLookups, ENGINE_SCHEMAS, functionOids, type QueryRows, relationOids } from './relations.js';
import { ANALYSIS } from './session.js';
import type { TreeNode } from './tree.js';
import { isNode, readTree, visitNodes } from './tree-reader.js';
import type { Analyzed, Field, FrontSettings } from './types.js';
import { unwrap } from './unwrap.js';

export const MAX_STATEMENT_BYTES = 1024 * 1024;
const CACHE_ENTRIES = 4096;
/** Characters of tree text; a node takes some ten times as many bytes. */
const CACHE_WEIGHT = 16 * 1024 * 1024;

/** Settings that no analysis depends on: statements are shared between sessions that differ in them alone. */
const IRRELEVANT = new Set([
  'application_name',
  'client_min_messages',
  'deadlock_timeout',
  'extra_float_digits',
  'bytea_output',
  'idle_in_transaction_session_timeout',
  'idle_session_timeout',
  'lock_timeout',
  'statement_timeout',
  'transaction_timeout',
  'work_mem',
]);

export class Analyser {
  private readonly cache = new LruCache<Analyzed>(CACHE_ENTRIES, CACHE_WEIGHT);
  private lookups = new CatalogLookups();
  private generation = 0;

  constructor(private readonly connection: FrontConnection) {}

  async analyze(sql: string, paramTypes: readonly number[], settings: FrontSettings): Promise<Analyzed> {
    checkSize(sql);
    this.dropOld();
    const key = cacheKey(sql, paramTypes, settings);
    const known = this.cache.get(key);
    if (known !== undefined) return known;
    return await this.connection.use(settings, true, async (session) => {
      this.dropOld();
      const generation = this.connection.generation;
      const bytes = Buffer.concat([parse(sql, paramTypes), describeStatement(), SYNC]);
      const answer = readAnswer(failOnError(await session.exec(bytes, this.connection.callOptions)));
      const rows: QueryRows = (text, params) => queryRows(session, text, params ?? [], this.connection.callOptions);
      const analyzed = await complete(answer, sql, generation, this.lookups, rows);
      if (analyzed.cacheable) this.cache.set(key, analyzed, sql.length + answer.treeLength);
      return analyzed;
    });
  }

  /** The same inside an open transaction of DDL, which sees what that has made. Never cached. */
  async analyzeInside(scope: Scope, sql: string, paramTypes: readonly number[]): Promise<Analyzed> {
    checkSize(sql);
    const printing = Object.entries(ANALYSIS).map(([name, value]) => `SET LOCAL ${name} = ${value}`);
    const begin = query([scope.begin, ...printing].join('; '));
    const bytes = Buffer.concat([begin, parse(sql, paramTypes), describeStatement(), SYNC, query(scope.end)]);
    const answer = readAnswer(failOnError(await scope.exec(bytes)));
    const analyzed = await complete(answer, sql, this.connection.generation, new CatalogLookups(), scope.rows);
    return { ...analyzed, cacheable: false };
  }

  private dropOld(): void {
    if (this.generation === this.connection.generation) return;
    this.generation = this.connection.generation;
    this.cache.clear();
    this.lookups = new CatalogLookups();
  }
}

function checkSize(sql: string): void {
  if (sql.length <= MAX_STATEMENT_BYTES / 3 || Buffer.byteLength(sql) <= MAX_STATEMENT_BYTES) return;
  throw new SqlError('54000', `statement is longer than ${MAX_STATEMENT_BYTES} bytes`, {
    hint: 'Send long values as parameters, and many rows with COPY or in several INSERT statements.',
  });
}

function cacheKey(sql: string, paramTypes: readonly number[], settings: FrontSettings): string {
  const gucs = Object.entries(settings.gucs)
    .filter(([name]) => !IRRELEVANT.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([sql, paramTypes, settings.role, gucs]);
}

interface Answer {
  queries: TreeNode[];
  treeLength: number;
  fields: Field[] | null;
  paramTypes: number[];
}

/** Other notices come too: those of user functions behind casts, and of PostgreSQL itself. */
function readAnswer(messages: readonly BackendMessage[]): Answer {
  const answer: Answer = { queries: [], treeLength: 0, fields: null, paramTypes: [] };
  let parsed = false;
  for (const { type, body } of messages) {
    if (type === 'T') answer.fields = rowDescription(body);
    if (type === 't') answer.paramTypes = parameterDescription(body);
    // Inside of a transaction the statements that end the scope are printed too.
    if (type === '1') parsed = true;
    if (type !== 'N' || parsed) continue;
    const notice = rawFields(body);
    if (notice.M?.toString('latin1') !== 'rewritten parse tree:' || notice.D === undefined) continue;
    answer.queries.push(...readPrinted(notice.D));
    answer.treeLength += notice.D.length;
  }
  return answer;
}

/** A name of blanks and backslashes, long enough to be wrapped, can be printed so that nobody can tell where it ends. */
function readPrinted(detail: Buffer): TreeNode[] {
  try {
    return readTree(unwrap(detail));
  } catch (cause) {
    throw new SqlError('0A000', 'a name in this statement cannot be told from what stands beside it', {
      hint: 'Give columns and common table expressions names without blanks, newlines and backslashes.',
      cause,
    });
  }
}

async function complete(
  answer: Answer,
  sql: string,
  generation: number,
  lookups: CatalogLookups,
  rows: QueryRows,
): Promise<Analyzed> {
  const { queries, fields, paramTypes } = answer;
  const called = functionOids(queries);
  await lookups.refuseReaders(called, rows);
  const functions = await lookups.userFunctions(called, rows);
  const { all, scanned } = relationOids(queries);
  const relations = await lookups.infos(all, rows);
  // Sequences live in the front, and so does every row that SELECT * FROM a sequence can show.
  const ours = relations.every((r) => !scanned.has(r.oid) || r.kind === 'S' || ENGINE_SCHEMAS.includes(r.schema));
  const catalogOnly = ours && queries.every(isReadable);
  return { queries, fields, paramTypes, functions, relations, catalogOnly, cacheable: !dependsOnTime(queries, sql), generation };
}

const UTILITY = 6;

/** Of utility statements only these can be left to the front; most name their tables where no range table shows them (COPY, TRUNCATE, …). */
function isReadable(tree: TreeNode): boolean {
  if (tree.commandType !== UTILITY) return true;
  return isNode(tree.utilityStmt) && (tree.utilityStmt.node === 'VARIABLESHOWSTMT' || tree.utilityStmt.node === 'EXPLAINSTMT');
}

const TIME_WORDS = /now|today|tomorrow|yesterday/i;
/** Ways to write a literal in which those words need not be seen. */
const HIDDEN_LITERAL = /\be'|\bu&'/i;
/** Types whose constants come from no such word: bool, name, int8, int2, int4, text, oid, float4, float8, unknown, bpchar, varchar, numeric. */
const TIMELESS = new Set([16, 19, 20, 21, 23, 25, 26, 700, 701, 705, 1042, 1043, 1700]);

/** A literal such as 'today' is a constant in the tree, and nothing marks it: so the text decides, and errs on the side of not caching. */
function dependsOnTime(queries: readonly TreeNode[], sql: string): boolean {
  if (!TIME_WORDS.test(withoutCalls(sql)) && !HIDDEN_LITERAL.test(sql)) return false;
  let found = false;
  visitNodes(queries, (node) => {
    if (node.node === 'CONST' && typeof node.consttype === 'number' && !TIMELESS.has(node.consttype)) found = true;
  });
  return found;
}

/** `now()` is evaluated when the statement runs, and harmless. */
function withoutCalls(sql: string): string {
  return sql.replace(/\bnow\s*\(\s*\)/gi, '');
}
