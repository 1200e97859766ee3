import { notSupported, SqlError } from '../../core/errors.js';
import { frontMessages, readAnswer } from '../dispatch/datarow.js';
import { cancelled } from '../dispatch/errors.js';
import { constantText, listOf } from './classify.js';
import type { RawNode } from './parser.js';
import type { Planned } from './plans.js';
import type { Answer, Session } from './session.js';
import type { RawStatement } from './split.js';
import type { Bound } from './statement.js';

/** Statements over catalogs alone: the front runs them as they were sent, over relations that show the catalog as it is now. */
export async function runCatalogQuery(
  session: Session,
  statement: RawStatement,
  command: string,
  planned: Planned,
  bound: Bound,
  formats: number[],
  answer: Answer,
): Promise<string> {
  if (command !== 'SELECT') return await changeCatalog(session, statement, command, planned, bound);
  const { front, relations } = session.shared.deps;
  if (planned.analyzed.relations.length > 0) await relations.refresh();
  const settings = session.settings.front();
  const messages = frontMessages(statement.sql, bound.params, bound.paramTypes, formats);
  const scope = session.currentScope();
  const reply = await (session.tx.ddl?.passThrough(messages) ?? front.passThrough(messages, settings, scope)).then(
    readAnswer,
    (error: unknown) => {
      throw scope.signal.aborted ? cancelled(scope.signal) : error;
    },
  );
  takeSetConfig(session, statement.node);
  if (planned.analyzed.fields !== null) answer.describe(planned.analyzed.fields, formats);
  if (reply.count > 0) {
    const waiting = answer.rows(reply.rows, reply.count);
    if (waiting !== undefined) await waiting;
  }
  return reply.tag;
}

/** `SELECT set_config('search_path', '', false)` is a SET: what it set stays in the session. */
function takeSetConfig(session: Session, select: RawNode): void {
  for (const target of listOf(select.targetList)) {
    const call = ((target.ResTarget as RawNode | undefined)?.val as RawNode | undefined)?.FuncCall as RawNode | undefined;
    const names = listOf(call?.funcname).map((part) => String((part.String as RawNode).sval));
    if (call === undefined || names.at(-1) !== 'set_config') continue;
    const args = listOf(call.args);
    if (args.length !== 3 || args.some((arg) => arg.A_Const === undefined)) {
      throw notSupported('set_config with other arguments than constants is not supported', 'Use SET.');
    }
    session.settings.set(constantText(args[0]), constantText(args[1]), constantText(args[2]) === 'true');
  }
}

/** The one relation of ours that users may write: ranks of an expansion's tables. */
async function changeCatalog(
  session: Session,
  statement: RawStatement,
  command: string,
  planned: Planned,
  bound: Bound,
): Promise<string> {
  const [relation] = planned.analyzed.relations;
  if (command === 'UPDATE' && relation?.schema === 'gpexpand' && relation.name === 'status_detail')
    return await setRanks(session, statement, bound);
  throw new SqlError('42501', `permission denied: "${relation?.schema}.${relation?.name}" is a system catalog`, {
    hint: 'The cluster keeps its catalogs itself. In gpexpand.status_detail, rank can be updated.',
  });
}

const RANKS = 'SELECT fq_name, rank FROM gpexpand.status_detail';

/** The UPDATE runs in the front, on trial; the ranks that it gives are read back and go to the expansion. */
async function setRanks(session: Session, statement: RawStatement, bound: Bound): Promise<string> {
  const { front, relations, catalog, expansion } = session.shared.deps;
  if (session.tx.inBlock) throw notSupported('ranks cannot be updated in a transaction block', 'Run the UPDATE on its own.');
  await relations.refresh();
  const trial = await front.beginDdl(session.settings.front());
  const ranks: { tableId: number; rank: number }[] = [];
  let tag: string;
  try {
    const before = new Map((await trial.rows(RANKS)) as [string, string | null][]);
    tag = readAnswer(await trial.passThrough(frontMessages(statement.sql, bound.params, bound.paramTypes, []))).tag;
    for (const [name, rank] of await trial.rows(RANKS)) {
      if (name === null || name === undefined || before.get(name) === rank) continue;
      const [schema, table] = name.split('.');
      const found = catalog.tableByName(schema ?? '', table ?? '');
      if (found === undefined) continue;
      if (rank === null || rank === undefined || Number(rank) < 0)
        throw new SqlError('22023', `rank of ${name} must be a number from 0`);
      ranks.push({ tableId: found.tableId, rank: Number(rank) });
    }
  } finally {
    await trial.rollback();
  }
  if (ranks.length > 0) await expansion.setRanks(ranks);
  return tag;
}
