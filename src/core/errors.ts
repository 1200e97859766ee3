/**
 * Errors that people read. Every error that leaves a module on purpose is one of these; anything else is a defect
 * and is reported as an internal error (SQLSTATE XX000, exit code 2).
 */

/** Exit codes of the command line: see the README. */
export const ExitCode = { ok: 0, warning: 1, failed: 2, interrupted: 130 } as const;

/** An error of administration: one line of what is wrong, and a hint that says what to do. */
export class DamsonError extends Error {
  readonly hint: string | undefined;
  /** oclif reads the exit code from one of two places, depending on `--json`; both are set. */
  readonly exitCode: number;
  readonly oclif: { exit: number };

  constructor(message: string, options: { hint?: string; exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'DamsonError';
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? ExitCode.failed;
    this.oclif = { exit: this.exitCode };
  }
}

/** The fields of a PostgreSQL ErrorResponse beyond severity, SQLSTATE and message. */
export interface SqlErrorFields {
  detail?: string;
  hint?: string;
  /** Position in the statement, in characters, from 1. */
  position?: number;
  internalPosition?: number;
  internalQuery?: string;
  where?: string;
  schema?: string;
  table?: string;
  column?: string;
  dataType?: string;
  constraint?: string;
}

/** An error of SQL: what PostgreSQL sends as ErrorResponse. `fatal` ends the connection. */
export class SqlError extends Error {
  readonly sqlstate: string;
  readonly fields: SqlErrorFields;
  readonly fatal: boolean;

  constructor(sqlstate: string, message: string, fields: SqlErrorFields & { fatal?: boolean; cause?: unknown } = {}) {
    const { fatal, cause, ...rest } = fields;
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'SqlError';
    this.sqlstate = sqlstate;
    this.fields = rest;
    this.fatal = fatal ?? false;
  }

  get hint(): string | undefined {
    return this.fields.hint;
  }
}

/** 0A000 with a hint: what Damson does not do (yet). Never silently ignored. */
export function notSupported(what: string, hint?: string): SqlError {
  return new SqlError('0A000', what, hint === undefined ? {} : { hint });
}

/** A broken promise between modules: XX000. */
export function internalError(message: string, cause?: unknown): SqlError {
  return new SqlError('XX000', message, cause === undefined ? {} : { cause });
}

/** An assertion that stays on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw internalError(`assertion failed: ${message}`);
}

/** What crosses a process border instead of an Error object. */
export interface WireError {
  name: 'SqlError' | 'DamsonError' | 'Error';
  message: string;
  sqlstate?: string;
  fields?: SqlErrorFields;
  fatal?: boolean;
  hint?: string;
  exitCode?: number;
}

export function errorToWire(error: unknown): WireError {
  if (error instanceof SqlError) {
    return { name: 'SqlError', message: error.message, sqlstate: error.sqlstate, fields: error.fields, fatal: error.fatal };
  }
  if (error instanceof DamsonError) {
    const wire: WireError = { name: 'DamsonError', message: error.message, exitCode: error.exitCode };
    if (error.hint !== undefined) wire.hint = error.hint;
    return wire;
  }
  return { name: 'Error', message: error instanceof Error ? error.message : String(error) };
}

export function errorFromWire(wire: WireError): Error {
  if (wire.name === 'SqlError') {
    return new SqlError(wire.sqlstate ?? 'XX000', wire.message, { ...wire.fields, fatal: wire.fatal ?? false });
  }
  if (wire.name === 'DamsonError') {
    const options: { hint?: string; exitCode?: number } = {};
    if (wire.hint !== undefined) options.hint = wire.hint;
    if (wire.exitCode !== undefined) options.exitCode = wire.exitCode;
    return new DamsonError(wire.message, options);
  }
  return new Error(wire.message);
}
