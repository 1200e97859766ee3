import type { TreeNode } from './tree.js';

/** Session state that analysis and catalog queries depend on. */
export interface FrontSettings {
  role: string;
  /** GUC name → value, only what differs from the default; applied before each call. */
  gucs: Record<string, string>;
}

/** A column of RowDescription. */
export interface Field {
  name: string;
  /** OID of the front's relation and attnum, 0 where it is an expression. */
  relationOid: number;
  attnum: number;
  typeOid: number;
  typeSize: number;
  typmod: number;
}

export interface RelationInfo {
  oid: number;
  schema: string;
  name: string;
  /** relkind: r, v, m, i, S, … */
  kind: string;
  persistence: string;
}

/** What the front says of one statement. */
export interface Analyzed {
  /** One rewritten query for each that the rules made. Empty for an empty statement. */
  queries: TreeNode[];
  /** null: the statement returns no rows. */
  fields: Field[] | null;
  paramTypes: number[];
  /** Functions in the queries that are not PostgreSQL's own (OID from 16384): how the planner finds Damson's own functions, and which ones it may not run. */
  functions?: {
    oid: number;
    schema: string;
    name: string;
    argNames: string[] /** pg_proc.provolatile */;
    volatility: 'i' | 's' | 'v';
  }[];
  /** Every relation in the range tables of all queries, sublinks and views included. */
  relations: RelationInfo[];
  /** Only pg_catalog, information_schema and our own catalog relations (or none at all): runs in the front as it was sent. */
  catalogOnly: boolean;
  /** False where a literal such as 'now' was evaluated by the analysis. */
  cacheable: boolean;
  /** Front's DDL generation at analysis. */
  generation: number;
}

/** A table of the front as it stands after DDL, for the catalog. */
export interface FrontTable {
  oid: number;
  schema: string;
  name: string;
  owner: string;
  kind: string;
  persistence: string;
  /** heap or columnar. */
  accessMethod: string;
  columns: {
    attnum: number;
    name: string;
    typeOid: number;
    typmod: number;
    typtype: string;
    notNull: boolean;
    /** Text of the default or generation expression; null without. */
    defaultExpr: string | null;
    /** '' | 's' stored generated | 'v' virtual */
    generated: string;
    /** '' | 'a' | 'd' */
    identity: string;
    /** Collation OID: 0, 100 (default) and 950 (C) are C here. */
    collation: number;
  }[];
  constraints: {
    name: string;
    /** p, u, c, f, n, x, t as pg_constraint.contype. */
    type: string;
    attnums: number[];
    /** pg_get_constraintdef */
    definition: string;
    /** Foreign key: the referenced relation. */
    referencedOid: number;
    referencedAttnums: number[];
  }[];
  indexes: {
    name: string;
    unique: boolean;
    primary: boolean;
    attnums: number[] /** expression or predicate */;
    complex: boolean;
    method: string;
  }[];
  triggers: number;
}

/** What ends a statement that runs in PGlite: only the end of its thread does. */
export interface PassLimits {
  signal: AbortSignal;
  /** Milliseconds from now. */
  deadlineMs: number;
}

export interface Front {
  readonly generation: number;
  /** Parse, analyse, rewrite. Throws SqlError with PostgreSQL's SQLSTATE, text and position. Cached. Statements over 1 MB: 54000. */
  analyze(sql: string, paramTypes: number[], settings: FrontSettings): Promise<Analyzed>;
  /** Privileges of a statement for the role (42501): EXPLAIN in the front. Superusers pass at once. */
  checkPrivileges(sql: string, analyzed: Analyzed, settings: FrontSettings): Promise<void>;
  /** Runs a statement in the front as sent and returns raw backend messages: RowDescription/ParameterDescription, DataRow…, CommandComplete; an
   *  ErrorResponse is thrown as SqlError instead. `messages` are frontend messages (Query, or Parse/Bind/Describe/Execute), without Sync. Not for writes. */
  passThrough(messages: Buffer, settings: FrontSettings, limits?: PassLimits): Promise<Buffer>;
  /** Rows of a helper query as text values. */
  rows(sql: string, params?: (string | null)[], settings?: FrontSettings): Promise<(string | null)[][]>;
  /** Effective settings: runs SET/RESET/SHOW texts for validation and returns the resulting values of the named GUCs. */
  setting(sql: string, settings: FrontSettings, names: string[]): Promise<Record<string, string>>;
  /** DDL: exclusive use of the front until commit or rollback. Analyses of its own session run inside. Others that need the front wait. */
  beginDdl(settings: FrontSettings): Promise<FrontDdl>;
  /** Rows of INSERT/COPY computed as PostgreSQL would (defaults, generated columns, coercions, NOT NULL and CHECK), as canonical CSV of all stored columns
   *  in attnum order (CopyPart's form), then rolled back. Sequences advance. */
  computeInsert(
    sql: string,
    params: (string | null)[],
    paramTypes: number[],
    table: { schema: string; name: string; columns: number[] },
    settings: FrontSettings,
    limits?: PassLimits,
  ): Promise<{ csv: Buffer; rows: number }>;
  /** The same for a block of COPY input. `copySql` is `COPY t(cols) FROM STDIN (…)`; `firstLine` shifts line numbers in errors. */
  computeCopy(
    copySql: string,
    input: Buffer,
    firstLine: number,
    table: { schema: string; name: string; columns: number[] },
    settings: FrontSettings,
  ): Promise<{ csv: Buffer; rows: number }>;
  /** Replaces the rows of our own catalog relations (`pg_dist_shard`, `gp_segment_configuration`, …): text values in column order. */
  refresh(relation: { schema: string; name: string }, rows: (string | null)[][]): Promise<void>;
  /** Replays one journal entry at start. */
  replay(sql: string, role: string, searchPath: string): Promise<void>;
  tables(oids?: number[]): Promise<FrontTable[]>;
  /** Sequence positions for journalling ahead, and setting them after a rebuild. */
  sequences(): Promise<{ schema: string; name: string; lastValue: string; isCalled: boolean }[]>;
  setSequence(schema: string, name: string, value: string): Promise<void>;
  /** The fallback executor: loads rows, runs the statement as written, rolls back. CSV in CopyPart's form, columns named. Raw backend messages out.
   *  Runs in a second PGlite, a copy of this front; deadline and cancel terminate it. */
  fallback(request: FallbackRequest): Promise<Buffer>;
  /** The same for an INSERT … SELECT: the rows that it would store, as of `computeInsert`. Defaults must need no sequence: those of the copy are not the cluster's. */
  fallbackInsert(
    request: FallbackRequest,
    table: { schema: string; name: string; columns: number[] },
  ): Promise<{ csv: Buffer; rows: number }>;
  rssNote(): string;
  close(): Promise<void>;
}

export interface FallbackRequest {
  messages: Buffer;
  settings: FrontSettings;
  load: { schema: string; name: string; columns: string[]; csv: Buffer[] }[];
  /** The transaction's start, for now() and its kin. */
  deadlineMs: number;
  signal?: AbortSignal;
}

export interface FrontDdl {
  exec(sql: string): Promise<{ tag: string; notices: string[] }>;
  analyze(sql: string, paramTypes: number[]): Promise<Analyzed>;
  /** In the transaction: what the statement does stays, an error aborts it until rollbackTo or rollback. */
  passThrough(messages: Buffer): Promise<Buffer>;
  tables(oids?: number[]): Promise<FrontTable[]>;
  rows(sql: string, params?: (string | null)[]): Promise<(string | null)[][]>;
  /** As Front's: while a transaction of DDL is open its own session must call these, because Front's would wait for it. They see what it
   *  has made or changed. */
  fallback(request: FallbackRequest): Promise<Buffer>;
  fallbackInsert(
    request: FallbackRequest,
    table: { schema: string; name: string; columns: number[] },
  ): Promise<{ csv: Buffer; rows: number }>;
  computeInsert(
    sql: string,
    params: (string | null)[],
    paramTypes: number[],
    table: { schema: string; name: string; columns: number[] },
  ): Promise<{ csv: Buffer; rows: number }>;
  computeCopy(
    copySql: string,
    input: Buffer,
    firstLine: number,
    table: { schema: string; name: string; columns: number[] },
  ): Promise<{ csv: Buffer; rows: number }>;
  savepoint(name: string): Promise<void>;
  rollbackTo(name: string): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}
