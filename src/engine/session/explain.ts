import { notSupported, SqlError } from '../../core/errors.js';
import { frontMessages, readAnswer } from '../dispatch/datarow.js';
import type { Executed, TaskFigures } from '../dispatch/types.js';
import { explainJson, explainPlan } from '../planner/explain.js';
import { dataRow } from '../wire/messages.js';
import { classify, type Kind } from './classify.js';
import type { Answer, Session } from './session.js';
import { type RawStatement, shiftPosition, splitStatements } from './split.js';
import { type Bound, expandFormats, textField } from './statement.js';

type ExplainKind = Kind & { kind: 'explain' };

const JSON_TYPE = 114;

/** EXPLAIN: the plan, where its parts run, and with ANALYZE what each of them did. */
export async function runExplain(session: Session, kind: ExplainKind, bound: Bound, answer: Answer): Promise<string> {
  const [inner] = splitStatements(kind.inner);
  if (inner === undefined) throw new SqlError('42601', 'syntax error at end of input');
  try {
    await explain(session, inner, kind, bound, answer);
  } catch (error) {
    throw shiftPosition(error, kind.innerOffset);
  }
  return 'EXPLAIN';
}

async function explain(session: Session, inner: RawStatement, kind: ExplainKind, bound: Bound, answer: Answer): Promise<void> {
  const query = classify(inner);
  if (query.kind !== 'query') throw notSupported('EXPLAIN of this statement is not supported', 'Explain the query itself.');
  const { analyze, verbose, format } = kind.options;
  const started = performance.now();
  const planned = await session.plan(inner.sql, bound.paramTypes);
  const planning = performance.now() - started;
  if (planned.plan.kind === 'catalog') return await explainInFront(session, inner, kind, bound, answer);

  const ran = analyze ? await runIt(session, inner, query.command, bound) : null;
  const view = session.tx.view();
  if (format === 'json') {
    const figures = ran === null ? {} : { 'Planning Time': round(planning), 'Execution Time': round(ran.ms), Tasks: ran.tasks };
    const [plan] = explainJson(planned.plan, view, { verbose }) as [Record<string, unknown>];
    return await give(answer, bound, [JSON.stringify([{ ...plan, ...figures }], null, 2)], JSON_TYPE);
  }
  const lines = explainPlan(planned.plan, view, { verbose });
  if (ran !== null)
    lines.push(...figureLines(ran.tasks), `Planning Time: ${round(planning)} ms`, `Execution Time: ${round(ran.ms)} ms`);
  await give(answer, bound, lines, 25);
}

/** Runs the statement, counts what comes, and gives nothing to the client. */
async function runIt(
  session: Session,
  inner: RawStatement,
  command: string,
  bound: Bound,
): Promise<{ tasks: TaskFigures[]; ms: number }> {
  const started = performance.now();
  let executed: Executed | undefined;
  const counting: Answer = {
    describe: () => undefined,
    rows: () => undefined,
    executed: (figures) => {
      executed = figures;
    },
  };
  await session.runQuery(inner, command, { params: bound.params, paramTypes: bound.paramTypes, formats: [] }, counting);
  return { tasks: executed?.tasks ?? [], ms: performance.now() - started };
}

function figureLines(tasks: readonly TaskFigures[]): string[] {
  return [...tasks]
    .sort((a, b) => (a.input === b.input ? a.content - b.content : a.input < b.input ? -1 : 1))
    .map(({ input, content, shards, rows, bytes, ms }) => {
      const where = content < 0 ? 'coordinator' : `segment ${content}`;
      return `  ${input} on ${where}: shards=${shards} rows=${rows} bytes=${bytes} time=${round(ms)} ms`;
    });
}

/** What PostgreSQL alone answers it also explains alone. */
async function explainInFront(
  session: Session,
  inner: RawStatement,
  kind: ExplainKind,
  bound: Bound,
  answer: Answer,
): Promise<void> {
  const options = [
    `FORMAT ${kind.options.format}`,
    `VERBOSE ${kind.options.verbose}`,
    `ANALYZE ${kind.options.analyze && inner.tag === 'SelectStmt'}`,
  ];
  const messages = frontMessages(`EXPLAIN (${options.join(', ')}) ${inner.sql}`, bound.params, bound.paramTypes, bound.formats);
  const { front } = session.shared.deps;
  const reply = readAnswer(
    await (session.tx.ddl?.passThrough(messages) ??
      front.passThrough(messages, session.settings.front(), session.currentScope())),
  );
  answer.describe([textField('QUERY PLAN', kind.options.format === 'json' ? JSON_TYPE : 25)], expandFormats(bound.formats, 1));
  if (reply.count > 0) await answer.rows(reply.rows, reply.count);
}

async function give(answer: Answer, bound: Bound, lines: string[], typeOid: number): Promise<void> {
  answer.describe([textField('QUERY PLAN', typeOid)], expandFormats(bound.formats, 1));
  await answer.rows(Buffer.concat(lines.map((line) => dataRow([line]))), lines.length);
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
