import { notSupported } from '../../core/errors.js';
import type { DistributionClause } from './clauses.js';
import { type RawNode, scanTokens } from './parser.js';
import type { RawStatement } from './split.js';

/** A table name as written; schema null: found by search_path. */
export interface RelationName {
  schema: string | null;
  name: string;
}

export interface TransactionOptions {
  isolation: string | null;
  readOnly: boolean | null;
}

export type ExplainFormat = 'text' | 'json' | 'xml' | 'yaml';
export interface ExplainOptions {
  analyze: boolean;
  verbose: boolean;
  format: ExplainFormat;
}

export type Kind =
  /** SELECT, VALUES, INSERT, UPDATE, DELETE, MERGE: analysed by the front, planned, dispatched. */
  | { kind: 'query'; command: 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE' | 'MERGE' }
  | { kind: 'begin'; start: boolean; options: TransactionOptions }
  | { kind: 'commit'; chain: boolean }
  | { kind: 'rollback'; chain: boolean }
  | {
      kind: 'set' /** `SET TRANSACTION …` */;
      transaction: TransactionOptions | null;
      characteristics: TransactionOptions | null;
      name: string;
      local: boolean;
      reset: 'one' | 'all' | null;
    }
  | { kind: 'show'; name: string }
  | { kind: 'discard'; target: 'ALL' | 'PLANS' | 'SEQUENCES' | 'TEMP' }
  | {
      kind: 'copy';
      from: boolean;
      relation: RelationName | null;
      columns: string[];
      query: string | null;
      queryOffset: number;
      toFile: boolean;
      options: RawNode[];
      where: boolean;
    }
  | { kind: 'explain'; inner: string; innerOffset: number; options: ExplainOptions }
  | { kind: 'prepare'; name: string; query: string; queryOffset: number; argTypes: string[] }
  | { kind: 'execute'; name: string; args: string }
  | { kind: 'deallocate'; name: string | null }
  | {
      kind: 'createTable';
      relation: RelationName;
      accessMethod: string | null;
      persistence: string;
      ifNotExists: boolean;
      partitioned: boolean;
      distribution: DistributionClause | null;
    }
  | {
      kind: 'createTableAs';
      relation: RelationName;
      accessMethod: string | null;
      persistence: string;
      ifNotExists: boolean /** null: SELECT INTO, not cut out */;
      query: string | null;
      queryOffset: number /** text before AS */;
      head: string;
      withData: boolean;
      distribution: DistributionClause | null;
    }
  | { kind: 'dropTable'; relations: RelationName[]; ifExists: boolean }
  | { kind: 'truncate'; relations: RelationName[]; restart: boolean }
  | { kind: 'createIndex'; relation: RelationName }
  | { kind: 'dropIndex'; names: RelationName[] }
  | {
      kind: 'alterTable';
      relation: RelationName;
      forms: string[];
      distribution: DistributionClause | null;
      accessMethod: string | null;
      ifExists: boolean;
    }
  /** Only the front's catalogs change; what our catalog keeps of names and owners is read back after it. */
  | {
      kind: 'frontDdl' /** names or owners of tables, or columns, may change */;
      touchesTables: boolean /** the one relation that it names, where that is all */;
      relation: RelationName | null;
    }
  | { kind: 'analyze'; tag: string };

/** What the session does with a statement. Throws 0A000 with a hint for what Damson does not do. Pure. */
export function classify(statement: RawStatement): Kind {
  const { tag, node } = statement;
  const own = statement.distribution?.clause ?? null;
  switch (tag) {
    case 'SelectStmt':
      return node.intoClause === undefined ? { kind: 'query', command: 'SELECT' } : selectInto(node);
    case 'InsertStmt':
      return { kind: 'query', command: 'INSERT' };
    case 'UpdateStmt':
      return { kind: 'query', command: 'UPDATE' };
    case 'DeleteStmt':
      return { kind: 'query', command: 'DELETE' };
    case 'MergeStmt':
      return { kind: 'query', command: 'MERGE' };
    case 'TransactionStmt':
      return transactionOf(node);
    case 'VariableSetStmt':
      return setOf(node);
    case 'VariableShowStmt':
      return { kind: 'show', name: String(node.name).toLowerCase() };
    case 'DiscardStmt':
      return { kind: 'discard', target: String(node.target).replace('DISCARD_', '') as 'ALL' };
    case 'CopyStmt':
      return copyOf(statement);
    case 'ExplainStmt':
      return explainOf(statement);
    case 'PrepareStmt':
      return prepareOf(statement);
    case 'ExecuteStmt':
      return { kind: 'execute', name: String(node.name), args: argumentsOf(statement.sql) };
    case 'DeallocateStmt':
      return { kind: 'deallocate', name: node.name === undefined ? null : String(node.name) };
    default:
      return ddlOf(statement, own);
  }
}

function ddlOf(statement: RawStatement, own: DistributionClause | null): Kind {
  const { tag, node } = statement;
  switch (tag) {
    case 'CreateStmt': {
      const relation = node.relation as RawNode;
      return {
        kind: 'createTable',
        relation: nameOf(relation),
        accessMethod: stringOrNull(node.accessMethod),
        persistence: String(relation.relpersistence ?? 'p'),
        ifNotExists: node.if_not_exists === true,
        partitioned: node.partspec !== undefined || node.partbound !== undefined,
        distribution: own,
      };
    }
    case 'CreateTableAsStmt':
      return createTableAsOf(statement, own);
    case 'DropStmt':
      return dropOf(node);
    case 'TruncateStmt':
      return {
        kind: 'truncate',
        relations: listOf(node.relations).map((item) => nameOf(item.RangeVar as RawNode)),
        restart: node.restart_seqs === true,
      };
    case 'IndexStmt':
      return { kind: 'createIndex', relation: nameOf(node.relation as RawNode) };
    case 'AlterTableStmt':
      return alterOf(node, own);
    case 'RenameStmt':
    case 'AlterObjectSchemaStmt':
    case 'AlterOwnerStmt':
    case 'ReassignOwnedStmt':
      return {
        kind: 'frontDdl',
        touchesTables: true,
        relation: node.relation === undefined ? null : nameOf(node.relation as RawNode),
      };
    case 'VacuumStmt':
      if (node.is_vacuumcmd === true)
        throw notSupported('VACUUM is not needed', 'The stores of Damson reclaim space themselves.');
      return { kind: 'analyze', tag: 'ANALYZE' };
    default:
      if (FRONT_DDL.has(tag)) return { kind: 'frontDdl', touchesTables: false, relation: null };
      throw unsupported(tag);
  }
}

/** Statements whose whole effect is in the front's catalogs. */
const FRONT_DDL = new Set([
  'CreateSchemaStmt',
  'ViewStmt',
  'CreateFunctionStmt',
  'AlterFunctionStmt',
  'CreateEnumStmt',
  'AlterEnumStmt',
  'CreateDomainStmt',
  'AlterDomainStmt',
  'CompositeTypeStmt',
  'AlterTypeStmt',
  'CreateRangeStmt',
  'CreateSeqStmt',
  'AlterSeqStmt',
  'CommentStmt',
  'SecLabelStmt',
  'GrantStmt',
  'GrantRoleStmt',
  'AlterDefaultPrivilegesStmt',
  'CreateRoleStmt',
  'AlterRoleStmt',
  'AlterRoleSetStmt',
  'DropRoleStmt',
  'DropOwnedStmt',
  'CreateCastStmt',
  'DefineStmt',
  'CreateExtensionStmt',
]);

const UNSUPPORTED: Record<string, [what: string, hint: string]> = {
  CreatedbStmt: ['CREATE DATABASE is not supported', 'A cluster has one database; use schemas: CREATE SCHEMA.'],
  DropdbStmt: ['DROP DATABASE is not supported', 'A cluster has one database; use schemas: DROP SCHEMA.'],
  ListenStmt: ['LISTEN is not supported', 'Poll a table instead.'],
  UnlistenStmt: ['UNLISTEN is not supported', 'LISTEN and NOTIFY are not supported, so there is nothing to stop.'],
  NotifyStmt: ['NOTIFY is not supported', 'Write to a table that the other side polls.'],
  DeclareCursorStmt: ['DECLARE CURSOR is not supported', "Use the driver's row limit (fetch size) on a plain query."],
  FetchStmt: ['FETCH is not supported', "Use the driver's row limit (fetch size) on a plain query."],
  ClosePortalStmt: ['CLOSE is not supported', 'SQL cursors are not supported, so there is nothing to close.'],
  LockStmt: ['LOCK TABLE is not supported', 'Writes take the locks they need themselves.'],
  DoStmt: ['DO is not supported', 'Code in the database would see the coordinator alone; run it in the client.'],
  CallStmt: ['CALL is not supported', 'Procedures would see the coordinator alone; run the statements from the client.'],
  CreateTrigStmt: ['triggers are not supported', 'Do the work in the client, in the same transaction.'],
  RuleStmt: ['rules are not supported', 'Use views for reading, and plain tables for writing.'],
  CreatePolicyStmt: ['row security is not supported', 'Use views and privileges.'],
  CheckPointStmt: ['CHECKPOINT is not supported', 'Instances checkpoint by themselves.'],
  ClusterStmt: ['CLUSTER is not supported', 'Create an index on the columns instead.'],
  ReindexStmt: ['REINDEX is not supported', 'Drop and create the index instead.'],
  RefreshMatViewStmt: ['materialized views are not supported', 'Use CREATE TABLE AS.'],
  CreateForeignTableStmt: ['foreign tables are not supported', 'Load the data with COPY.'],
  AlterSystemStmt: ['ALTER SYSTEM is not supported', 'Use `damson config set`.'],
  AlterDatabaseSetStmt: ['ALTER DATABASE … SET is not supported', 'Use `damson config set`, or ALTER ROLE … SET.'],
  CreateTableSpaceStmt: ['tablespaces are not supported', 'An instance keeps its data in its data directory.'],
  CreatePublicationStmt: ['publications are not supported', 'Read the tables with COPY.'],
  CreateSubscriptionStmt: ['subscriptions are not supported', 'Load the data with COPY.'],
  CreateStatsStmt: ['extended statistics are not supported', 'The planner does not use them; nothing is lost without.'],
  LoadStmt: ['LOAD is not supported', 'No libraries can be loaded into Damson.'],
};

function unsupported(tag: string): Error {
  const known = UNSUPPORTED[tag];
  if (known !== undefined) return notSupported(known[0], known[1]);
  return notSupported(`this kind of statement is not supported (${tag})`, 'The README lists the SQL that Damson understands.');
}

function transactionOf(node: RawNode): Kind {
  const kind = String(node.kind);
  switch (kind) {
    case 'TRANS_STMT_BEGIN':
    case 'TRANS_STMT_START':
      return { kind: 'begin', start: kind === 'TRANS_STMT_START', options: transactionOptions(listOf(node.options)) };
    case 'TRANS_STMT_COMMIT':
      return { kind: 'commit', chain: node.chain === true };
    case 'TRANS_STMT_ROLLBACK':
      return { kind: 'rollback', chain: node.chain === true };
    case 'TRANS_STMT_SAVEPOINT':
    case 'TRANS_STMT_RELEASE':
    case 'TRANS_STMT_ROLLBACK_TO':
      throw notSupported('savepoints are not supported', 'Use a transaction of its own for the part that may fail.');
    default:
      throw notSupported(
        'PREPARE TRANSACTION is not supported',
        'Damson commits over its segments in two phases by itself; use COMMIT.',
      );
  }
}

function transactionOptions(options: RawNode[]): TransactionOptions {
  const out: TransactionOptions = { isolation: null, readOnly: null };
  for (const option of options) {
    const def = option.DefElem as RawNode;
    if (def.defname === 'transaction_isolation') out.isolation = constantText(def.arg);
    if (def.defname === 'transaction_read_only') out.readOnly = constantText(def.arg) === '1';
  }
  return out;
}

function setOf(node: RawNode): Kind {
  const kind = String(node.kind);
  const name = String(node.name ?? '').toLowerCase();
  const base = { kind: 'set' as const, transaction: null, characteristics: null, name, local: node.is_local === true };
  if (kind === 'VAR_RESET_ALL') return { ...base, reset: 'all' };
  if (kind === 'VAR_RESET' || kind === 'VAR_SET_DEFAULT') return { ...base, reset: 'one' };
  if (kind === 'VAR_SET_MULTI') {
    const options = transactionOptions(listOf(node.args));
    if (name === 'transaction') return { ...base, transaction: options, reset: null };
    if (name === 'session characteristics') return { ...base, characteristics: options, reset: null };
    throw notSupported('SET TRANSACTION SNAPSHOT is not supported', 'Read what must agree in one statement.');
  }
  return { ...base, reset: null };
}

function copyOf(statement: RawStatement): Kind {
  const { node, sql } = statement;
  if (node.is_program === true) throw notSupported('COPY … PROGRAM is not supported', 'Pipe through the client: \\copy in psql.');
  let query: string | null = null;
  let queryOffset = 0;
  if (node.query !== undefined) {
    const open = sql.indexOf('(');
    const tokens = scanTokens(sql);
    const range = parenthesised(tokens, 1);
    if (range !== undefined && open >= 0) {
      ({ text: query, offset: queryOffset } = cut(sql, range.from, range.to));
    }
  }
  return {
    kind: 'copy',
    from: node.is_from === true,
    relation: node.relation === undefined ? null : nameOf(node.relation as RawNode),
    columns: listOf(node.attlist).map((item) => String((item.String as RawNode).sval)),
    query,
    queryOffset,
    toFile: node.filename !== undefined,
    options: listOf(node.options).map((item) => item.DefElem as RawNode),
    where: node.whereClause !== undefined,
  };
}

function explainOf(statement: RawStatement): Kind {
  const { node, sql } = statement;
  const options: ExplainOptions = { analyze: false, verbose: false, format: 'text' };
  for (const item of listOf(node.options)) readExplainOption(item.DefElem as RawNode, options);
  const tokens = codeTokens(sql);
  let at = 1;
  if (listOf(node.options).length > 0 && tokens[1]?.text === '(') {
    at = closing(tokens, 1) + 1;
  } else {
    while (/^(analy[sz]e|verbose)$/i.test(tokens[at]?.text ?? '')) at++;
  }
  const { text, offset } = cut(sql, tokens[at]?.start ?? 0, undefined);
  return { kind: 'explain', inner: text, innerOffset: offset, options };
}

function readExplainOption(def: RawNode, options: ExplainOptions): void {
  const name = String(def.defname).toLowerCase();
  const value = def.arg === undefined ? 'on' : constantText(def.arg).toLowerCase();
  const on = !['off', 'false', '0'].includes(value);
  if (name === 'analyze') options.analyze = on;
  else if (name === 'verbose') options.verbose = on;
  else if (name === 'format') {
    if (value !== 'text' && value !== 'json')
      throw notSupported(`EXPLAIN (FORMAT ${value}) is not supported`, 'Use FORMAT TEXT or FORMAT JSON.');
    options.format = value;
  } else if (
    !['costs', 'buffers', 'timing', 'summary', 'settings', 'wal', 'memory', 'generic_plan', 'serialize'].includes(name)
  ) {
    throw notSupported(`EXPLAIN option ${name} is not supported`, 'Use ANALYZE, VERBOSE and FORMAT.');
  }
}

function prepareOf(statement: RawStatement): Kind {
  const { node, sql } = statement;
  const tokens = codeTokens(sql);
  let at = 2;
  const argTypes: string[] = [];
  if (tokens[2]?.text === '(') {
    const close = closing(tokens, 2);
    argTypes.push(...splitTypes(sql, tokens.slice(3, close)));
    at = close + 1;
  }
  const { text, offset } = cut(sql, tokens[at + 1]?.start ?? 0, undefined);
  return { kind: 'prepare', name: String(node.name), query: text, queryOffset: offset, argTypes };
}

function splitTypes(sql: string, tokens: Token[]): string[] {
  const bytes = Buffer.from(sql, 'utf8');
  const out: string[] = [];
  let from = tokens[0]?.start ?? 0;
  let depth = 0;
  tokens.forEach((token, i) => {
    if (token.text === '(') depth++;
    if (token.text === ')') depth--;
    const last = i === tokens.length - 1;
    if (!last && !(token.text === ',' && depth === 0)) return;
    out.push(bytes.toString('utf8', from, last ? token.end : token.start).trim());
    from = token.end;
  });
  return out;
}

function argumentsOf(sql: string): string {
  const tokens = codeTokens(sql);
  const range = parenthesised(tokens, 2);
  return range === undefined ? '' : cut(sql, range.from, range.to).text;
}

function createTableAsOf(statement: RawStatement, own: DistributionClause | null): Kind {
  const { node, sql } = statement;
  if (node.objtype === 'OBJECT_MATVIEW') throw unsupported('RefreshMatViewStmt');
  const into = node.into as RawNode;
  const relation = into.rel as RawNode;
  const tokens = codeTokens(sql);
  let depth = 0;
  const as = tokens.findIndex((token) => {
    if (token.text === '(') depth++;
    if (token.text === ')') depth--;
    return depth === 0 && token.text.toLowerCase() === 'as';
  });
  const withData = into.skipData !== true;
  const from = tokens[as + 1]?.start ?? 0;
  const to = endBeforeWithData(tokens);
  const { text, offset } = cut(sql, from, to);
  return {
    kind: 'createTableAs',
    relation: nameOf(relation),
    accessMethod: stringOrNull(into.accessMethod),
    persistence: String(relation.relpersistence ?? 'p'),
    ifNotExists: node.if_not_exists === true,
    query: text,
    queryOffset: offset,
    head: cut(sql, 0, tokens[as]?.start).text,
    withData,
    distribution: own,
  };
}

function endBeforeWithData(tokens: Token[]): number | undefined {
  const words = tokens.slice(-3).map((token) => token.text.toLowerCase());
  if (words[2] !== 'data') return undefined;
  if (words[1] === 'with') return tokens.at(-2)!.start;
  return words[0] === 'with' && words[1] === 'no' ? tokens.at(-3)!.start : undefined;
}

function selectInto(node: RawNode): Kind {
  const relation = (node.intoClause as RawNode).rel as RawNode;
  throw notSupported('SELECT … INTO is not supported', `Use CREATE TABLE ${String(relation.relname)} AS SELECT ….`);
}

function dropOf(node: RawNode): Kind {
  const names = () => listOf(node.objects).map((object) => qualified(listOf((object.List as RawNode | undefined)?.items)));
  switch (node.removeType) {
    case 'OBJECT_TABLE':
      return { kind: 'dropTable', relations: names(), ifExists: node.missing_ok === true };
    case 'OBJECT_INDEX':
      return { kind: 'dropIndex', names: names() };
    case 'OBJECT_SCHEMA':
    case 'OBJECT_TYPE':
    case 'OBJECT_DOMAIN':
    case 'OBJECT_EXTENSION':
    case 'OBJECT_SEQUENCE':
      // CASCADE may take tables or columns with it.
      return { kind: 'frontDdl', touchesTables: true, relation: null };
    default:
      return { kind: 'frontDdl', touchesTables: false, relation: null };
  }
}

function alterOf(node: RawNode, own: DistributionClause | null): Kind {
  const forms = listOf(node.cmds).map((item) => String((item.AlterTableCmd as RawNode).subtype));
  if (node.objtype === 'OBJECT_VIEW' || node.objtype === 'OBJECT_SEQUENCE' || node.objtype === 'OBJECT_TYPE')
    return { kind: 'frontDdl', touchesTables: false, relation: null };
  const access = listOf(node.cmds).find((item) => (item.AlterTableCmd as RawNode).subtype === 'AT_SetAccessMethod');
  return {
    kind: 'alterTable',
    relation: nameOf(node.relation as RawNode),
    forms,
    distribution: own,
    accessMethod: access === undefined ? null : stringOrNull((access.AlterTableCmd as RawNode).name),
    ifExists: node.missing_ok === true,
  };
}

// ---- raw tree and token helpers

type Token = { text: string; start: number; end: number };

export function listOf(value: unknown): RawNode[] {
  return Array.isArray(value) ? (value as RawNode[]) : [];
}

function stringOrNull(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

export function nameOf(rangeVar: RawNode): RelationName {
  return { schema: stringOrNull(rangeVar.schemaname), name: String(rangeVar.relname) };
}

function qualified(items: RawNode[]): RelationName {
  const parts = items.map((item) => String((item.String as RawNode).sval));
  return { schema: parts.length > 1 ? parts[parts.length - 2]! : null, name: parts[parts.length - 1] ?? '' };
}

/** Text of a constant in an option, whatever node it is. */
export function constantText(value: unknown): string {
  const node = value as RawNode;
  const constant = (node.A_Const as RawNode | undefined) ?? node;
  const string = (constant.sval as RawNode | undefined)?.sval ?? (constant.String as RawNode | undefined)?.sval;
  if (string !== undefined) return String(string);
  const integer = (constant.ival as RawNode | undefined) ?? (constant.Integer as RawNode | undefined);
  if (integer !== undefined) return String(integer.ival ?? 0);
  const boolean = (constant.boolval as RawNode | undefined) ?? (constant.Boolean as RawNode | undefined);
  if (boolean !== undefined) return boolean.boolval === true ? 'true' : 'false';
  const float = (constant.fval as RawNode | undefined) ?? (constant.Float as RawNode | undefined);
  if (float !== undefined) return String(float.fval);
  return '';
}

function codeTokens(sql: string): Token[] {
  return scanTokens(sql).filter((token) => token.tokenName !== 'SQL_COMMENT' && token.tokenName !== 'C_COMMENT');
}

function closing(tokens: Token[], open: number): number {
  let depth = 0;
  for (let i = open; i < tokens.length; i++) {
    if (tokens[i]!.text === '(') depth++;
    if (tokens[i]!.text === ')' && --depth === 0) return i;
  }
  return tokens.length - 1;
}

/** Byte range inside the parentheses that open at token `at`. */
function parenthesised(tokens: Token[], at: number): { from: number; to: number } | undefined {
  if (tokens[at]?.text !== '(') return undefined;
  return { from: tokens[at]!.end, to: tokens[closing(tokens, at)]!.start };
}

/** Cuts by byte positions; the offset is in characters. */
function cut(sql: string, from: number, to: number | undefined): { text: string; offset: number } {
  const bytes = Buffer.from(sql, 'utf8');
  return { text: bytes.toString('utf8', from, to ?? bytes.length), offset: [...bytes.toString('utf8', 0, from)].length };
}
