/**
 * Administration as data. A plan is a list of steps; a step names a kind of operation and its arguments, so that a plan can be
 * printed (`--dry-run`), compared in tests, journalled before the first change, resumed and rolled back.
 */
export interface Step {
  kind: string;
  args: Record<string, unknown>;
  /** Steps of equal group, next to each other, run at once. */
  group?: string;
}

export interface Plan {
  command: string;
  steps: Step[];
}

/** A kind of step. Every function is idempotent. */
export interface Operation<Args extends Record<string, unknown> = Record<string, unknown>> {
  describe(args: Args): string;
  isDone(args: Args): Promise<boolean>;
  apply(args: Args, report: (note: string) => void): Promise<void>;
  /** Takes back what `apply` did, also when it did only a part. Absent: there is nothing to take back. */
  undo?(args: Args): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: each operation narrows its own arguments
export type Operations = Record<string, Operation<any>>;

/** How a run tells what it does; the screen listens. */
export interface RunListener {
  /** Runs `work` as one visible task. */
  task<T>(title: string, work: (note: (text: string) => void) => Promise<T>): Promise<T>;
  /** Several visible tasks at once. */
  group(tasks: { title: string; work: (note: (text: string) => void) => Promise<void> }[]): Promise<void>;
}
