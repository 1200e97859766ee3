import type { Field } from '../front/types.js';
import type { Kind } from './classify.js';
import type { Session } from './session.js';
import { textField } from './statement.js';

const JSON_TYPE = 114;

/** Columns of what is no query; null: it returns no rows. */
export async function fieldsOf(session: Session, kind: Kind): Promise<Field[] | null> {
  switch (kind.kind) {
    case 'show':
      return kind.name === 'all' ? [textField('name'), textField('setting'), textField('description')] : [textField(kind.name)];
    case 'explain':
      return [textField('QUERY PLAN', kind.options.format === 'json' ? JSON_TYPE : 25)];
    case 'execute':
      return session.extended.statement(kind.name).fields;
    default:
      return null;
  }
}
