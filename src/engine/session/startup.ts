import { SqlError } from '../../core/errors.js';
import { quoteIdent } from '../executor/sql-text.js';
import type { Startup } from '../wire/connection.js';
import { keyOf, SessionSettings } from './settings.js';
import type { SessionDeps } from './types.js';

/** PostgreSQL's version that clients see: the front's. */
let serverVersion: string | undefined;

/** Lets a client in: the cluster's state, the database, the role; gives the session its settings. */
export async function admit(deps: SessionDeps, startup: Startup): Promise<SessionSettings> {
  refuseByState(deps, startup);
  if (startup.parameters['replication'] !== undefined && startup.parameters['replication'] !== 'false') {
    throw new SqlError('0A000', 'replication connections are not supported', { fatal: true, hint: 'Read the tables with COPY.' });
  }
  const role = await roleOf(deps, startup.user);
  if (startup.database !== deps.cluster.database) {
    throw new SqlError('3D000', `database "${startup.database}" does not exist`, {
      fatal: true,
      hint: `The cluster has one database: "${deps.cluster.database}".`,
    });
  }
  serverVersion ??= (await deps.front.rows('SHOW server_version'))[0]?.[0] ?? '18.0';
  const base = { ...clusterSettings(deps), ...role.settings, ...(await startupSettings(deps, startup)) };
  return new SessionSettings(startup.user, base, { serverVersion, isSuperuser: role.superuser });
}

/** Settings of the whole cluster (`damson config set`) that sessions start with. */
const CLUSTER_WIDE = [
  'default_table_access_method',
  'statement_timeout',
  'lock_timeout',
  'timezone',
  'datestyle',
  'intervalstyle',
  'search_path',
];

function clusterSettings(deps: SessionDeps): Record<string, string> {
  const out: Record<string, string> = {};
  for (const name of CLUSTER_WIDE) {
    const value = deps.catalog.setting(name);
    if (value !== undefined) out[name] = value;
  }
  return out;
}

function refuseByState(deps: SessionDeps, startup: Startup): void {
  const state = deps.cluster.state();
  if (state === 'up') return;
  if (state === 'restricted') {
    if (startup.user === deps.cluster.adminRole) return;
    throw new SqlError('57P03', 'the cluster is in restricted mode', {
      fatal: true,
      hint: `Only "${deps.cluster.adminRole}" may connect.`,
    });
  }
  const text = state === 'starting' ? 'the database system is starting up' : 'the database system is shutting down';
  throw new SqlError('57P03', text, { fatal: true });
}

interface RoleFacts {
  superuser: boolean;
  settings: Record<string, string>;
}

async function roleOf(deps: SessionDeps, name: string): Promise<RoleFacts> {
  const rows = await deps.front.rows(
    'SELECT rolsuper, rolcanlogin, rolconfig::pg_catalog.text FROM pg_catalog.pg_roles WHERE rolname = $1',
    [name],
  );
  const row = rows[0];
  if (row === undefined) throw new SqlError('28000', `role "${name}" does not exist`, { fatal: true });
  if (row[1] !== 't' && row[1] !== 'true')
    throw new SqlError('28000', `role "${name}" is not permitted to log in`, { fatal: true });
  const settings: Record<string, string> = {};
  if (row[2] !== null && row[2] !== undefined) {
    const pairs = await deps.front.rows('SELECT pg_catalog.unnest($1::pg_catalog.text[])', [row[2]]);
    for (const [pair] of pairs) readPair(pair ?? '', settings);
  }
  return { superuser: row[0] === 't' || row[0] === 'true', settings };
}

function readPair(pair: string, into: Record<string, string>): void {
  const at = pair.indexOf('=');
  if (at > 0) into[keyOf(pair.slice(0, at))] = pair.slice(at + 1);
}

/** Settings in the startup message: parameters of their own, and `-c name=value` in `options`. Checked by the front. */
async function startupSettings(deps: SessionDeps, startup: Startup): Promise<Record<string, string>> {
  const wanted: Record<string, string> = {};
  for (const [name, value] of Object.entries(startup.parameters)) {
    if (name === 'options') readOptions(value, wanted);
    else if (!['user', 'database', 'replication'].includes(name) && !name.startsWith('_pq_.')) wanted[keyOf(name)] = value;
  }
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(wanted)) {
    const text = name === 'client_encoding' ? utf8Only(value) : value;
    out[name] = PLAIN.has(name) ? text : await checked(deps, startup.user, name, text);
  }
  return out;
}

/** Any text is a value of these. */
const PLAIN = new Set(['application_name', 'client_encoding']);

function utf8Only(value: string): string {
  if (/^'?(utf-?8|unicode|sql_ascii)'?$/i.test(value)) return 'UTF8';
  throw new SqlError('0A000', `client encoding "${value}" is not supported`, { fatal: true, hint: 'Use UTF8.' });
}

async function checked(deps: SessionDeps, role: string, name: string, value: string): Promise<string> {
  const sql = `SET ${name.split('.').map(quoteIdent).join('.')} = '${value.replaceAll("'", "''")}'`;
  try {
    const values = await deps.front.setting(sql, { role, gucs: {} }, [name]);
    return values[name] ?? value;
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    throw new SqlError(error.sqlstate, error.message, { ...error.fields, fatal: true });
  }
}

/** `-c name=value`, `--name=value`; a backslash escapes a blank. */
function readOptions(text: string, into: Record<string, string>): void {
  const words = text.match(/(?:\\.|[^\s\\])+/g)?.map((word) => word.replace(/\\(.)/g, '$1')) ?? [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === '-c') readPair(words[++i] ?? '', into);
    else if (word.startsWith('-c')) readPair(word.slice(2), into);
    else if (word.startsWith('--'))
      readPair(
        word.slice(2).replace(/^([^=]*)/, (name) => name.replaceAll('-', '_')),
        into,
      );
  }
}
