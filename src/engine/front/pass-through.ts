/** Statements of clients, run in a PGlite as they were sent, inside a scope that takes back all they did. */
import { notSupported } from '../../core/errors.js';
import type { Scope } from './connection.js';
import { type BackendMessage, commandTag, errorOf, query, SYNC, splitMessages } from './messages.js';

/** Answers for the connection, not for the client: ParseComplete, BindComplete, CloseComplete, ReadyForQuery, ParameterStatus. */
const INTERNAL = new Set(['1', '2', '3', 'Z', 'S']);

/**
 * @param messages frontend messages: Query, or Parse, Bind, Describe, Execute; no Sync.
 * @param prepare SQL that runs first in the scope, in one message.
 * @returns raw messages for the client: RowDescription, ParameterDescription, NoData, DataRow, CommandComplete, EmptyQueryResponse, PortalSuspended,
 *   notices, and those of COPY TO STDOUT. An ErrorResponse is thrown as SqlError.
 */
export async function passThrough(scope: Scope, messages: Buffer, options: { maxOutput?: number } = {}): Promise<Buffer> {
  const end = namesStatement(messages) ? `${scope.end}; DEALLOCATE ALL` : scope.end;
  const bytes = Buffer.concat([query(scope.begin), messages, SYNC, query(end)]);
  const body = bodyOf(await scope.exec(bytes, options));
  const answer = clientMessages(body);
  refuseWrites(body);
  return answer;
}

/** Tags of statements that only read; COPY can be one too, and is told by its output. */
const READING = /^(SELECT|SHOW|EXPLAIN|FETCH)\b/;

/** For the client, or thrown. */
export function clientMessages(messages: readonly BackendMessage[]): Buffer {
  const out: Buffer[] = [];
  for (const message of messages) {
    if (message.type === 'E') throw errorOf(message.body);
    if (!INTERNAL.has(message.type)) out.push(message.whole);
  }
  return Buffer.concat(out);
}

/** What such a statement did was taken back: to say that it was done would be a lie. */
function refuseWrites(messages: readonly BackendMessage[]): void {
  const copiesOut = messages.some((m) => m.type === 'H');
  for (const message of messages) {
    if (message.type !== 'C') continue;
    const tag = commandTag(message.body);
    if (READING.test(tag) || (copiesOut && tag.startsWith('COPY'))) continue;
    throw notSupported(
      `${tag.replace(/[ \d]+$/, '')} is not possible here`,
      'Relations of the catalog change through the commands of the cluster only.',
    );
  }
}

/** Without the answers of the first and the last message, which open and close the scope: each ends with ReadyForQuery. */
function bodyOf(messages: readonly BackendMessage[]): readonly BackendMessage[] {
  const ready = messages.flatMap((m, i) => (m.type === 'Z' ? [i] : []));
  const first = ready[0] ?? 0;
  const last = ready.at(-2) ?? messages.length;
  return messages.slice(first + 1, last + 1);
}

/** Whether a named statement is parsed: those survive a rollback. */
function namesStatement(messages: Buffer): boolean {
  return splitMessages(messages).some(
    (m) => (m.type === 'P' && m.body[0] !== 0) || (m.type === 'Q' && /\bprepare\b/i.test(m.body.toString('utf8'))),
  );
}
