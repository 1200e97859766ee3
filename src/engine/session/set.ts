import { SqlError } from '../../core/errors.js';
import { frontMessages, readAnswer } from '../dispatch/datarow.js';
import { dataRow } from '../wire/messages.js';
import { constantText, type Kind, listOf } from './classify.js';
import { showFields } from './describe.js';
import type { RawNode } from './parser.js';
import type { Answer, Session } from './session.js';
import { checkOwnSetting, isOwnSetting } from './settings.js';
import type { RawStatement } from './split.js';
import { type Bound, expandFormats, textField } from './statement.js';
import { checkIsolation } from './transaction-state.js';

type SetKind = Kind & { kind: 'set' | 'discard' };

/** SET, RESET, DISCARD. Values are checked, and brought into PostgreSQL's form, by the front. */
export async function runSet(session: Session, statement: RawStatement, kind: SetKind): Promise<string> {
  if (kind.kind === 'discard') return discard(session, kind.target);
  const tag = kind.reset !== null && statement.sql.trimStart().toLowerCase().startsWith('reset') ? 'RESET' : 'SET';
  if (kind.transaction !== null) return setTransaction(session, kind);
  if (kind.characteristics !== null) {
    checkIsolation(kind.characteristics.isolation);
    if (kind.characteristics.readOnly !== null)
      session.settings.set('default_transaction_read_only', kind.characteristics.readOnly ? 'on' : 'off', false);
    return tag;
  }
  if (kind.reset === 'all') {
    session.settings.resetAll();
    return tag;
  }
  if (kind.local && !session.tx.inBlock) {
    session.notice('WARNING', new SqlError('25P01', 'SET LOCAL can only be used in transaction blocks'));
  }
  if (kind.name === 'transaction_isolation' || kind.name === 'default_transaction_isolation')
    checkIsolation(argumentText(statement.node).toLowerCase());
  if (kind.reset === 'one') session.settings.set(kind.name, null, kind.local);
  else session.settings.set(kind.name, await checkedValue(session, statement, kind.name), kind.local);
  return tag;
}

/** The value as the front takes it (an error there is PostgreSQL's own). */
async function checkedValue(session: Session, statement: RawStatement, name: string): Promise<string> {
  if (isOwnSetting(name)) return checkOwnSetting(name, argumentText(statement.node));
  const values = await session.shared.deps.front.setting(statement.sql, session.settings.front(), [name]);
  const value = values[name] ?? Object.values(values)[0];
  return value ?? argumentText(statement.node);
}

function argumentText(node: RawNode): string {
  return listOf(node.args)
    .map((argument) => constantText(argument))
    .join(', ');
}

function setTransaction(session: Session, kind: SetKind & { kind: 'set' }): string {
  if (!session.tx.inBlock)
    session.notice('WARNING', new SqlError('25P01', 'SET TRANSACTION can only be used in transaction blocks'));
  else session.tx.applyOptions(kind.transaction!);
  checkIsolation(kind.transaction!.isolation);
  return 'SET';
}

function discard(session: Session, target: string): string {
  if (target === 'ALL') {
    if (session.tx.inBlock) throw new SqlError('25001', 'DISCARD ALL cannot run inside a transaction block');
    session.extended.closePortals();
    session.extended.deallocate(null);
    session.settings.resetAll();
    session.settings.set('role', null, false);
  }
  if (target === 'PLANS') session.extended.deallocate(null);
  return `DISCARD ${target}`;
}

/** SHOW. What the session knows it answers itself, the rest the front does. */
export async function runShow(
  session: Session,
  statement: RawStatement,
  kind: Kind & { kind: 'show' },
  bound: Bound,
  answer: Answer,
): Promise<string> {
  const known = knownValue(session, kind.name);
  if (known !== undefined) {
    answer.describe([textField(kind.name)], expandFormats(bound.formats, 1));
    await answer.rows(dataRow([known]), 1);
    return 'SHOW';
  }
  const settings = session.settings.front();
  const messages = frontMessages(statement.sql, [], [], bound.formats);
  const reply = readAnswer(
    await (session.tx.ddl?.passThrough(messages) ?? session.shared.deps.front.passThrough(messages, settings)),
  );
  const fields = await showFields(session, kind.name);
  answer.describe(fields, expandFormats(bound.formats, fields.length));
  if (reply.count > 0) await answer.rows(reply.rows, reply.count);
  return reply.tag || 'SHOW';
}

function knownValue(session: Session, name: string): string | undefined {
  if (name === 'transaction_isolation' || name === 'default_transaction_isolation') return 'read committed';
  if (name === 'transaction_read_only') return session.tx.readOnly ? 'on' : 'off';
  if (name === 'role' || name === 'session_authorization' || isOwnSetting(name)) return session.settings.get(name);
  if (name === 'server_version' || name === 'is_superuser') return session.settings.get(name);
  return undefined;
}
