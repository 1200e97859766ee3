/** Sequences live in the front, which is a cache: what they have given is a record of the log before anybody sees it. */
import type { CatalogOp } from '../../model/catalog.js';
import type { CatalogView } from '../catalog/types.js';
import type { InstanceEngine } from '../executor/types.js';
import { SEQUENCES, sequenceStates } from '../front/connection.js';
import type { Front, FrontDdl } from '../front/types.js';

type States = Awaited<ReturnType<Front['sequences']>>;

/** Statements that pass through as they are and may take a number. */
const TAKES_NUMBERS = /nextval|setval/i;

/** The front with its sequences as the catalog has them, every number durable before the call that took it returns. */
export async function durableSequences(
  front: Front,
  catalog: CatalogView,
  engine: Pick<InstanceEngine, 'state'>,
): Promise<Front> {
  await restore(front, catalog);
  const journal = new SequenceJournal(catalog, engine);
  const note = async <T>(result: T, states: () => Promise<States>): Promise<T> => {
    await journal.write(await states());
    return result;
  };
  const changed: Partial<Front> = {
    computeInsert: async (...args) => note(await front.computeInsert(...args), () => front.sequences()),
    computeCopy: async (...args) => note(await front.computeCopy(...args), () => front.sequences()),
    passThrough: async (messages, ...rest) => {
      const answer = await front.passThrough(messages, ...rest);
      return TAKES_NUMBERS.test(messages.toString('latin1')) ? note(answer, () => front.sequences()) : answer;
    },
    beginDdl: async (settings) => ddlWithJournal(await front.beginDdl(settings), note),
  };
  return overlay(front, changed);
}

function ddlWithJournal(ddl: FrontDdl, note: <T>(result: T, states: () => Promise<States>) => Promise<T>): FrontDdl {
  const states = async () => sequenceStates(await ddl.rows(SEQUENCES));
  return overlay(ddl, {
    exec: async (sql) => {
      const result = await ddl.exec(sql);
      return TAKES_NUMBERS.test(sql) ? note(result, states) : result;
    },
    passThrough: async (messages) => {
      const answer = await ddl.passThrough(messages);
      return TAKES_NUMBERS.test(messages.toString('latin1')) ? note(answer, states) : answer;
    },
    computeInsert: async (...args) => note(await ddl.computeInsert(...args), states),
    computeCopy: async (...args) => note(await ddl.computeCopy(...args), states),
  });
}

class SequenceJournal {
  private turn: Promise<void> = Promise.resolve();

  constructor(
    private readonly catalog: CatalogView,
    private readonly engine: Pick<InstanceEngine, 'state'>,
  ) {}

  /** One after the other, so that an older reading never overwrites a newer one. */
  write(states: States): Promise<void> {
    const next = this.turn.then(() => this.writeChanged(states));
    this.turn = next.catch(() => undefined);
    return next;
  }

  private async writeChanged(states: States): Promise<void> {
    const ops = states.flatMap(({ schema, name, lastValue, isCalled }): CatalogOp[] => {
      const key = JSON.stringify([schema, name]);
      const known = this.catalog.row('sequence', key)?.value;
      if (!isCalled || known === lastValue) return [];
      return [{ kind: 'sequence', key, row: { schema, name, value: lastValue } }];
    });
    if (ops.length > 0) await this.engine.state(ops);
  }
}

/** After the journal of DDL was replayed. Sequences that are gone are passed over. */
async function restore(front: Front, catalog: CatalogView): Promise<void> {
  const rows = catalog.rowsOf('sequence');
  if (rows.length === 0) return;
  const existing = new Set((await front.sequences()).map(({ schema, name }) => JSON.stringify([schema, name])));
  for (const { schema, name, value } of rows) {
    if (existing.has(JSON.stringify([schema, name]))) await front.setSequence(schema, name, value);
  }
}

/** The object with some methods replaced; all others run on the object itself. */
function overlay<T extends object>(object: T, changed: Partial<T>): T {
  return new Proxy(object, {
    get(target, property) {
      const own = (changed as Record<PropertyKey, unknown>)[property];
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
