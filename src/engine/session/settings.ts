import { SqlError } from '../../core/errors.js';
import { DEFAULT_SHARD_COUNT } from '../../model/table.js';
import type { OutputSettings } from '../../model/task.js';
import type { FrontSettings } from '../front/types.js';

/** Settings that PostgreSQL reports to the client whenever they change (GUC_REPORT). */
const REPORTED = [
  'application_name',
  'client_encoding',
  'DateStyle',
  'default_transaction_read_only',
  'in_hot_standby',
  'integer_datetimes',
  'IntervalStyle',
  'is_superuser',
  'scram_iterations',
  'search_path',
  'server_encoding',
  'server_version',
  'session_authorization',
  'standard_conforming_strings',
  'TimeZone',
] as const;

/** Ours; `citus.` spellings are the same settings. Values as SHOW writes them. */
const OWN_DEFAULTS: Record<string, string> = {
  'damson.shard_count': String(DEFAULT_SHARD_COUNT),
};
const ALIASES: Record<string, string> = { 'citus.shard_count': 'damson.shard_count' };

/** Values in effect when nothing was set, in lower case of the name. The rest of PostgreSQL's settings are asked of the front. */
const DEFAULTS: Record<string, string> = {
  application_name: '',
  client_encoding: 'UTF8',
  datestyle: 'ISO, MDY',
  default_transaction_read_only: 'off',
  in_hot_standby: 'off',
  integer_datetimes: 'on',
  intervalstyle: 'postgres',
  is_superuser: 'on',
  scram_iterations: '4096',
  search_path: '"$user", public',
  server_encoding: 'UTF8',
  standard_conforming_strings: 'on',
  timezone: 'UTC',
  extra_float_digits: '1',
  bytea_output: 'hex',
  statement_timeout: '0',
  lock_timeout: '0',
};

type Values = Record<string, string>;

/** The settings of one session: defaults, what the client's startup asked for, SET, SET LOCAL; with PostgreSQL's transactional behaviour. */
export class SessionSettings {
  private session: Values = {};
  private local: Values = {};
  /** State at the start of the transaction, which a rollback restores. */
  private saved: { session: Values; role: string } | null = null;
  private cachedFront: FrontSettings | null = null;
  private cachedOutput: OutputSettings | null = null;
  private cachedMs: { statement_timeout?: number; lock_timeout?: number } = {};
  private reported: Values = {};
  private unreported = true;
  currentRole: string;

  /** @param base defaults of cluster, database and role, and the startup message's: what RESET goes back to. */
  constructor(
    readonly sessionRole: string,
    private readonly base: Values,
    private readonly facts: { serverVersion: string; isSuperuser: boolean },
  ) {
    this.currentRole = sessionRole;
  }

  /** The value in effect; undefined: nobody has set it, and it is not one whose default is known here. */
  get(name: string): string | undefined {
    const key = keyOf(name);
    if (key === 'server_version') return this.facts.serverVersion;
    if (key === 'session_authorization') return this.sessionRole;
    if (key === 'role') return this.currentRole === this.sessionRole ? 'none' : this.currentRole;
    if (key === 'is_superuser') return this.facts.isSuperuser ? 'on' : 'off';
    return this.local[key] ?? this.session[key] ?? this.base[key] ?? DEFAULTS[key] ?? OWN_DEFAULTS[key];
  }

  /** What the session, its client's startup or the cluster has set; undefined: the default stands. */
  own(name: string): string | undefined {
    const key = keyOf(name);
    return this.local[key] ?? this.session[key] ?? this.base[key];
  }

  /** What stands out from the front's own defaults, with the role: for each call of the front. The same object until something changes. */
  front(): FrontSettings {
    this.cachedFront ??= { role: this.currentRole, gucs: withoutOwn({ ...this.base, ...this.session, ...this.local }) };
    return this.cachedFront;
  }

  /** Settings that shape output. The same object until something changes. */
  output(): OutputSettings {
    this.cachedOutput ??= {
      timeZone: this.get('TimeZone')!,
      dateStyle: this.get('DateStyle')!,
      intervalStyle: this.get('IntervalStyle')!,
      extraFloatDigits: Number(this.get('extra_float_digits')),
      byteaOutput: this.get('bytea_output') === 'escape' ? 'escape' : 'hex',
    };
    return this.cachedOutput;
  }

  /** Milliseconds of a time setting; 0: none. */
  milliseconds(name: 'statement_timeout' | 'lock_timeout'): number {
    let known = this.cachedMs[name];
    if (known === undefined) {
      known = durationMs(this.get(name) ?? '0');
      this.cachedMs[name] = known;
    }
    return known;
  }

  /** @param value as PostgreSQL writes it; null: back to the default. */
  set(name: string, value: string | null, local: boolean): void {
    const key = keyOf(name);
    if (key === 'role') this.currentRole = value === null || value === 'none' ? this.sessionRole : value;
    else {
      const target = local ? this.local : this.session;
      if (value === null) {
        delete this.session[key];
        delete this.local[key];
      } else target[key] = value;
      if (!local) delete this.local[key];
    }
    this.changed();
  }

  resetAll(): void {
    this.session = {};
    this.local = {};
    this.changed();
  }

  /** Remembers where a rollback goes back to; does nothing inside of a transaction. */
  transactionBegins(): void {
    this.saved ??= { session: { ...this.session }, role: this.currentRole };
  }

  transactionEnds(committed: boolean): void {
    const saved = this.saved;
    this.saved = null;
    const hadLocal = Object.keys(this.local).length > 0;
    if (hadLocal) this.local = {};
    if (saved !== null && !committed) {
      this.session = saved.session;
      this.currentRole = saved.role;
    }
    if (hadLocal || (saved !== null && !committed)) this.changed();
  }

  /** Reported settings whose values differ from what the client was last told; marks them as told. */
  takeReports(): [name: string, value: string][] {
    if (!this.unreported) return [];
    this.unreported = false;
    const out: [string, string][] = [];
    for (const name of REPORTED) {
      const value = this.get(name) ?? '';
      if (this.reported[name] === value) continue;
      this.reported[name] = value;
      out.push([name, value]);
    }
    return out;
  }

  private changed(): void {
    this.cachedFront = null;
    this.cachedOutput = null;
    this.cachedMs = {};
    this.unreported = true;
  }
}

export function keyOf(name: string): string {
  const key = name.toLowerCase();
  return ALIASES[key] ?? key;
}

function withoutOwn(values: Values): Values {
  for (const name of Object.keys(OWN_DEFAULTS)) delete values[name];
  return values;
}

/** One of our own settings: the front does not know its default. */
export function isOwnSetting(name: string): boolean {
  return keyOf(name) in OWN_DEFAULTS;
}

/** Checks the value of one of our own settings. */
export function checkOwnSetting(name: string, value: string): string {
  const count = Number(value);
  if (/^\d+$/.test(value) && count >= 1 && count <= 32000) return String(count);
  if (!/^[-+]?\d+$/.test(value)) throw new SqlError('22023', `invalid value for parameter "${keyOf(name)}": "${value}"`);
  throw new SqlError('22023', `${value} is outside the valid range for parameter "${keyOf(name)}" (1 .. 32000)`);
}

const UNITS: Record<string, number> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** PostgreSQL's text of a time setting (`0`, `500ms`, `5s`, `1min`) in milliseconds. */
export function durationMs(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(text);
  if (match === null) return 0;
  return Math.round(Number(match[1]) * (UNITS[match[2] || 'ms'] ?? 1));
}
