import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { assert, DamsonError } from '../../core/errors.js';
import { readJson, writeFileAtomic } from '../../core/files.js';
import type { Operations, Plan, RunListener, Step } from './step.js';

interface Journal {
  plan: Plan;
  /** Number of steps that were begun; every one before the last of them is done. */
  begun: number;
  startedAt: string;
}

/** The plan as lines, in order: what `--dry-run` prints. */
export function describePlan(plan: Plan, operations: Operations): string[] {
  return plan.steps.map((step) => operationOf(step, operations).describe(step.args));
}

function operationOf(step: Step, operations: Operations) {
  const operation = operations[step.kind];
  assert(operation !== undefined, `no operation of kind ${step.kind}`);
  return operation;
}

/**
 * Runs a plan step by step. Its journal is on disk before the first change and removed at the end. When a step fails,
 * everything begun is undone in reverse order (unless `keep`), and the error says what became of it.
 * @param journalPath file for the journal; its directory exists.
 */
export async function runPlan(
  plan: Plan,
  operations: Operations,
  listener: RunListener,
  options: { journalPath: string; keep?: boolean },
): Promise<void> {
  const journal: Journal = { plan, begun: 0, startedAt: new Date().toISOString() };
  writeJournal(options.journalPath, journal);
  try {
    for (const group of groupsOf(plan.steps)) {
      journal.begun += group.length;
      writeJournal(options.journalPath, journal);
      await runGroup(group, operations, listener);
    }
  } catch (error) {
    if (options.keep) throw error;
    await listener.task('Rolling back', () => undoAfter(error, plan.steps.slice(0, journal.begun), operations));
    rmSync(options.journalPath, { force: true });
    throw error;
  }
  rmSync(options.journalPath, { force: true });
}

/** The plan of a run that was killed; undefined without one. */
export function interruptedPlan(journalPath: string): Plan | undefined {
  return readJson<Journal>(journalPath)?.plan;
}

export function dropJournal(journalPath: string): void {
  rmSync(journalPath, { force: true });
}

/** Undoes what a run that was killed had begun. false when there is no journal. */
export async function rollBackInterrupted(journalPath: string, operations: Operations): Promise<boolean> {
  const journal = readJson<Journal>(journalPath);
  if (journal === undefined) return false;
  await undoSteps(journal.plan.steps.slice(0, journal.begun), operations);
  rmSync(journalPath, { force: true });
  return true;
}

function writeJournal(path: string, journal: Journal): void {
  writeFileAtomic(path, JSON.stringify(journal, null, 1));
}

function groupsOf(steps: Step[]): Step[][] {
  const groups: Step[][] = [];
  for (const step of steps) {
    const last = groups.at(-1);
    if (last?.[0]?.group !== undefined && last[0].group === step.group) last.push(step);
    else groups.push([step]);
  }
  return groups;
}

async function runGroup(group: Step[], operations: Operations, listener: RunListener): Promise<void> {
  const tasks = group.map((step) => {
    const operation = operationOf(step, operations);
    return {
      title: operation.describe(step.args),
      work: async (note: (text: string) => void) => {
        if (!(await operation.isDone(step.args))) await operation.apply(step.args, note);
      },
    };
  });
  const [first] = tasks;
  if (first !== undefined && tasks.length === 1) await listener.task(first.title, first.work);
  else await listener.group(tasks);
}

/** In reverse order. What a failed step needs stays: the earlier steps are left as they are, and the journal with them. */
async function undoSteps(steps: Step[], operations: Operations): Promise<void> {
  for (const step of [...steps].reverse()) {
    const operation = operationOf(step, operations);
    try {
      await operation.undo?.(step.args);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new DamsonError(`could not be taken back: ${operation.describe(step.args)}: ${why}`, {
        hint: 'mend the cause and run the command again: it takes back the rest first',
        cause: error,
      });
    }
  }
}

/** A failure to undo does not hide why it was tried. */
async function undoAfter(failure: unknown, steps: Step[], operations: Operations): Promise<void> {
  try {
    await undoSteps(steps, operations);
  } catch (error) {
    const why = failure instanceof Error ? failure.message : String(failure);
    throw new DamsonError(`${why}; and ${(error as Error).message}`, { hint: (error as DamsonError).hint ?? '', cause: failure });
  }
}

/** Path of a command's journal. */
export function journalPath(directory: string, command: string): string {
  return join(directory, `${command.replaceAll(' ', '-')}.journal`);
}

export function hasJournal(path: string): boolean {
  return existsSync(path);
}
