import { EMPTY_QUERY_RESPONSE, rowDescription } from '../wire/messages.js';
import { classify } from './classify.js';
import { PortalSink } from './portal.js';
import type { Answer, Session } from './session.js';
import { type RawStatement, shiftPosition, splitStatements } from './split.js';
import { UNBOUND } from './statement.js';

/** A simple query: any number of statements, which are one transaction unless they say otherwise. */
export async function runSimple(session: Session, sql: string): Promise<void> {
  session.extended.dropUnnamed();
  const statements = splitStatements(sql);
  if (statements.length === 0) {
    session.connection.write(EMPTY_QUERY_RESPONSE);
    return;
  }
  for (const [i, statement] of statements.entries()) {
    try {
      await runOne(session, statement, i === statements.length - 1);
    } catch (error) {
      throw shiftPosition(error, statement.offset);
    }
  }
}

async function runOne(session: Session, statement: RawStatement, last: boolean): Promise<void> {
  // In a failed block this is the answer to whatever comes, known or not.
  if (statement.tag !== 'TransactionStmt') session.tx.refuseInFailed();
  const scope = session.newScope();
  try {
    const tag = await session.scoped(scope, async () => {
      const done = await session.run(statement, classify(statement), UNBOUND, simpleAnswer(session));
      if (last) await session.endImplicit();
      return done;
    });
    session.report();
    session.complete(tag);
  } finally {
    scope.end();
  }
}

function simpleAnswer(session: Session): Answer {
  const sink = new PortalSink(session.connection);
  sink.allow(Number.POSITIVE_INFINITY);
  return {
    describe: (fields, formats) => session.connection.write(rowDescription(fields, formats)),
    rows: (messages, count) => sink.rows(messages, count),
  };
}
