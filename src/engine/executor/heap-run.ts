/** Fragments that run in SQLite, set by set, their results one after another. */
import type Database from 'better-sqlite3';
import { type HeapValue, Oid, storageOf } from '../../model/storage.js';
import type { SetKey, ShardDef } from '../../model/table.js';
import type { OutputColumn, Task } from '../../model/task.js';
import { heapRowEncoder } from '../codec/encode-heap.js';
import { readError } from './errors.js';
import type { Output } from './output.js';
import { sqliteParams } from './params.js';
import { putRelations, quoteIdent } from './sql-text.js';
import { rowStatement } from './statements.js';

export interface SetRun {
  setKey: SetKey;
  relations: Map<string, ShardDef>;
}

/** Rows that the synchronous way reads before it gives up. */
const QUICK_ROWS = 512;

/** True where a column can hold integers beyond 2^53. */
export function readsWide(output: readonly OutputColumn[]): boolean {
  return output.some(({ typeOid, typmod }) => {
    const { class: kind } = storageOf(typeOid, typmod);
    if (kind === 'int') return typeOid === Oid.int8;
    return kind === 'decimal' || kind === 'timestamp' || kind === 'timestamptz' || kind === 'numeric' || kind === 'time';
  });
}

export function sqlOfSet(task: Task, run: SetRun): string {
  return putRelations(task.fragment.sql, (alias) => {
    const shard = run.relations.get(alias);
    return shard === undefined ? undefined : quoteIdent(shard.relation);
  });
}

type Encode = (row: HeapValue[], out: Output['writer']) => void;

function encoderOf(task: Task): Encode {
  if (task.form.kind !== 'datarow') throw new TypeError('rows are encoded for the form datarow only');
  return heapRowEncoder(task.fragment.output, task.form.formats, task.form.session);
}

/**
 * The router's way: one set, a reader in autocommit, all in this turn. False when there are more rows than a turn should
 * take: nothing was sent then, and the caller begins again the other way.
 */
export function runQuick(task: Task, run: SetRun, db: Database.Database, output: Output): boolean {
  try {
    const encode = encoderOf(task);
    const statement = rowStatement(db, sqlOfSet(task, run), readsWide(task.fragment.output));
    const rows = statement.iterate(sqliteParams(task.fragment.params, task.params));
    let count = 0;
    for (const row of rows) {
      if (++count > QUICK_ROWS) {
        output.writer.take();
        return false;
      }
      encode(row, output.writer);
    }
    output.wrote(count);
    return true;
  } catch (error) {
    throw readError(error);
  }
}

/** Any number of sets and rows; lets others in between. */
export async function runHeap(
  task: Task,
  runs: readonly SetRun[],
  heap: (setKey: SetKey) => Database.Database,
  output: Output,
): Promise<void> {
  const encode = encoderOf(task);
  const wide = readsWide(task.fragment.output);
  const params = sqliteParams(task.fragment.params, task.params);
  for (const run of runs) {
    for (const row of rowsOf(heap(run.setKey), sqlOfSet(task, run), wide, params)) {
      encode(row, output.writer);
      if (output.wrote(1)) await output.pause();
    }
  }
}

/** Rows of a statement; errors of the engine come out as readError says. */
export function* rowsOf(
  db: Database.Database,
  sql: string,
  wide: boolean,
  params: ReadonlyMap<number, HeapValue>,
): Generator<HeapValue[]> {
  let rows: IterableIterator<HeapValue[]>;
  try {
    rows = rowStatement(db, sql, wide).iterate(params);
  } catch (error) {
    throw readError(error);
  }
  try {
    for (;;) {
      let next: IteratorResult<HeapValue[]>;
      try {
        next = rows.next();
      } catch (error) {
        throw readError(error);
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    rows.return?.();
  }
}
