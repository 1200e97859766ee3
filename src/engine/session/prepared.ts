import { SqlError } from '../../core/errors.js';
import type { Kind } from './classify.js';
import { scanTokens } from './parser.js';
import type { Answer, Session } from './session.js';
import type { Bound } from './statement.js';

type PreparedKind = Kind & { kind: 'prepare' | 'execute' | 'deallocate' };

/** PREPARE, EXECUTE, DEALLOCATE: the statements of the extended protocol, by SQL. */
export async function runPrepared(session: Session, kind: PreparedKind, answer: Answer): Promise<string> {
  switch (kind.kind) {
    case 'prepare': {
      const types = await typeOids(session, kind.argTypes);
      session.extended.define(kind.name, await session.extended.prepare(kind.query, types));
      return 'PREPARE';
    }
    case 'deallocate':
      session.extended.deallocate(kind.name);
      return kind.name === null ? 'DEALLOCATE ALL' : 'DEALLOCATE';
    case 'execute':
      return await execute(session, kind, answer);
  }
}

async function execute(session: Session, kind: PreparedKind & { kind: 'execute' }, answer: Answer): Promise<string> {
  const statement = session.extended.statement(kind.name);
  if (statement.raw === null || statement.kind === null) return 'EXECUTE';
  const params = await argumentValues(session, kind, statement.paramTypes);
  const bound: Bound = { params, paramTypes: statement.paramTypes, formats: [], fields: statement.fields };
  return await session.run(statement.raw, statement.kind, bound, answer);
}

/** The arguments' values, computed by the front and cast to the parameters' types. */
async function argumentValues(
  session: Session,
  kind: PreparedKind & { kind: 'execute' },
  types: number[],
): Promise<(string | null)[]> {
  const count = countArguments(kind.args);
  if (count !== types.length) {
    throw new SqlError('42601', `wrong number of parameters for prepared statement "${kind.name}"`, {
      detail: `Expected ${types.length} parameters but got ${count}.`,
    });
  }
  if (count === 0) return [];
  const { front } = session.shared.deps;
  const settings = session.settings.front();
  const names = await front.rows(
    `SELECT pg_catalog.format_type(t::pg_catalog.oid, NULL) FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS u(t, i) ORDER BY i`,
    [`{${types.join(',')}}`],
    settings,
  );
  const columns = names.map((_, i) => `a${i}`);
  const casts = names.map(([name], i) => `CAST(a${i} AS ${name})`);
  const style = "pg_catalog.set_config('datestyle', 'ISO, MDY', true), pg_catalog.set_config('intervalstyle', 'postgres', true)";
  const rows = await front.rows(
    `SELECT ${casts.join(', ')}, ${style} FROM (VALUES (${kind.args})) AS v(${columns.join(', ')})`,
    [],
    settings,
  );
  return (rows[0] ?? []).slice(0, types.length);
}

function countArguments(text: string): number {
  if (text.trim() === '') return 0;
  let depth = 0;
  let count = 1;
  for (const token of scanTokens(text)) {
    if (token.text === '(' || token.text === '[') depth++;
    if (token.text === ')' || token.text === ']') depth--;
    if (token.text === ',' && depth === 0) count++;
  }
  return count;
}

async function typeOids(session: Session, names: string[]): Promise<number[]> {
  const oids: number[] = [];
  for (const name of names) {
    const rows = await session.shared.deps.front.rows(
      'SELECT $1::pg_catalog.text::pg_catalog.regtype::pg_catalog.oid',
      [name],
      session.settings.front(),
    );
    oids.push(Number(rows[0]?.[0]));
  }
  return oids;
}
