import type { Field } from '../front/types.js';
import type { Kind } from './classify.js';
import { frontRows } from './front-ddl.js';
import type { Session } from './session.js';
import { textField } from './statement.js';

const JSON_TYPE = 114;

/** Columns of what is no query; null: it returns no rows. */
export async function fieldsOf(session: Session, kind: Kind): Promise<Field[] | null> {
  switch (kind.kind) {
    case 'show':
      return await showFields(session, kind.name);
    case 'explain':
      return [textField('QUERY PLAN', kind.options.format === 'json' ? JSON_TYPE : 25)];
    case 'execute':
      return session.extended.statement(kind.name).fields;
    default:
      return null;
  }
}

const names = new Map<string, string>();

/** SHOW names its column as PostgreSQL spells the setting (`TimeZone`). */
export async function showFields(session: Session, name: string): Promise<Field[]> {
  if (name === 'all') return [textField('name'), textField('setting'), textField('description')];
  let known = names.get(name);
  if (known === undefined) {
    const [row] = await frontRows(session, 'SELECT name FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = $1', [name]);
    known = row?.[0] ?? name;
    if (row !== undefined) names.set(name, known);
  }
  return [textField(known)];
}
