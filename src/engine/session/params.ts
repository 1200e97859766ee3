import { SqlError } from '../../core/errors.js';
import { Oid, storageOf } from '../../model/storage.js';
import { strictUtf8, textFromBinary } from '../codec/binary.js';
import { CANONICAL_OUTPUT, heapFromText, plainInteger, textFromHeap } from '../codec/heap.js';
import type { BindMessage } from '../wire/parser.js';
import type { Session } from './session.js';
import type { Statement } from './statement.js';

const BUILT_IN_TEXT = new Set([25, 1043, 1042, 19, 705]);

/**
 * Values of Bind as canonical PostgreSQL text: what is hashed, stored and compared. Without waiting where every value is of a type
 * whose text we read ourselves; the others are read and written by the front.
 */
export function bindValues(
  session: Session,
  statement: Statement,
  message: BindMessage,
): (string | null)[] | Promise<(string | null)[]> {
  const { params, paramFormats } = message;
  if (paramFormats.length > 1 && paramFormats.length !== params.length) {
    throw new SqlError('08P01', `bind message has ${paramFormats.length} parameter formats but ${params.length} parameters`);
  }
  if (params.length !== statement.paramTypes.length) {
    const name = message.statement;
    throw new SqlError(
      '08P01',
      `bind message supplies ${params.length} parameters, but prepared statement "${name}" requires ${statement.paramTypes.length}`,
    );
  }
  const waiting: { at: number; typeOid: number; text: string }[] = [];
  const values = params.map((bytes, i) => {
    if (bytes === null) return null;
    const typeOid = statement.paramTypes[i]!;
    const format = paramFormats.length === 1 ? paramFormats[0] : (paramFormats[i] ?? 0);
    if (format === 1) return textFromBinary(typeOid, bytes);
    const text = strictUtf8(bytes);
    const canonical = canonicalText(typeOid, text, session.settings.get('TimeZone')!);
    if (canonical === undefined) waiting.push({ at: i, typeOid, text });
    return canonical ?? text;
  });
  if (waiting.length === 0) return values;
  return readByFront(session, values, waiting);
}

/** The canonical text of a value, or undefined where PostgreSQL has to read it (other date styles, json, arrays, errors, …). */
export function canonicalText(typeOid: number, text: string, timeZone: string): string | undefined {
  if (BUILT_IN_TEXT.has(typeOid)) return text;
  if ((typeOid === Oid.int8 || typeOid === Oid.int4) && plainInteger(text) >= 0) return text;
  if (storageOf(typeOid, -1).class === 'opaque') return undefined;
  try {
    return textFromHeap(typeOid, -1, heapFromText(typeOid, -1, text, timeZone), CANONICAL_OUTPUT);
  } catch {
    return undefined;
  }
}

async function readByFront(
  session: Session,
  values: (string | null)[],
  waiting: { at: number; typeOid: number; text: string }[],
): Promise<(string | null)[]> {
  const { front } = session.shared.deps;
  const settings = session.settings.front();
  const canonical = { role: settings.role, gucs: { ...settings.gucs, bytea_output: 'hex', extra_float_digits: '1' } };
  for (const { at, typeOid, text } of waiting) {
    const [[type] = []] = await front.rows(
      'SELECT pg_catalog.format_type($1::pg_catalog.oid, NULL)',
      [String(typeOid)],
      canonical,
    );
    // Read in the session's style, written in ours.
    const [[value] = []] = await front.rows(
      `SELECT CAST($1::pg_catalog.text AS ${type}) AS value, pg_catalog.set_config('datestyle', 'ISO, MDY', true), pg_catalog.set_config('intervalstyle', 'postgres', true)`,
      [text],
      canonical,
    );
    values[at] = value ?? null;
  }
  return values;
}
