/**
 * The order of publication (protocols, sections 1 and 6). Records that change stores are entered when they are appended, so
 * in lsn order, and are published in that order once the log says they are safe. Readings are cut into the same order: a
 * reading stands behind every second phase that was received before it, and ahead of every record appended after it.
 */

import type { Lsn } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';
import type { ChangeLog } from '../changelog/types.js';

/** Stores that a reading needs or a publication touches. */
export interface Touched {
  heapSets: Iterable<SetKey>;
  columnar: boolean;
}

export interface Publication {
  lsn: Lsn;
  end: Lsn;
  heapSets: ReadonlySet<SetKey>;
  columnar: boolean;
  /** May be begun beside its neighbours: a session's own stores, which gather commits. All others are published alone, in order. */
  concurrent?: boolean;
  /** A received second phase: readings that come later wait for it. */
  decided: boolean;
  /** Runs once, in the turn in which the record is found safe, before anything is published. */
  onSafe?: (publication: { decided: boolean }) => void;
  publish(): Promise<void>;
}

interface Entry extends Publication {
  safe: boolean;
  resolve(): void;
  reject(error: Error): void;
  followers: { open(): Promise<void>; reject(error: Error): void }[];
}

/** Publications begun together; the stores gather them into one commit where they can. */
const BATCH = 256;

export class Publisher {
  private readonly queue: Entry[] = [];
  private readonly opening = new Set<Promise<unknown>>();
  private pumping: Promise<void> | null = null;
  private failed = false;

  constructor(
    private readonly log: Pick<ChangeLog, 'waitSafe'>,
    private readonly onFatal: (error: Error) => void,
    /** Everything up to here that concerns the stores has been given to them. */
    private readonly onPublished: (lsn: Lsn) => void = () => undefined,
  ) {}

  /**
   * Enters a record in the turn in which it was appended. Resolves when it is published; rejects when the role is lost
   * before, or when the disk refused the record and it was cut off again.
   */
  add(publication: Publication): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry: Entry = { ...publication, safe: false, resolve, reject, followers: [] };
      this.queue.push(entry);
      this.log.waitSafe(publication.end).then(
        () => {
          entry.safe = true;
          this.wake();
        },
        (error: Error) => this.remove(entry, error),
      );
    });
  }

  private remove(entry: Entry, error: Error): void {
    const at = this.queue.indexOf(entry);
    if (at >= 0) this.queue.splice(at, 1);
    refuse(entry, error);
  }

  /** True when a synchronous reading of these stores, in this turn, stands right in the order. */
  free(need: Touched): boolean {
    return this.lastDecided(need) === undefined;
  }

  /** Opens a reading at its place in the order. `open` is begun at once where nothing is in the way. */
  reading<T>(need: Touched, open: () => Promise<T>): Promise<T> {
    const after = this.lastDecided(need);
    if (after === undefined) return this.hold(open());
    return new Promise<T>((resolve, reject) => {
      after.followers.push({ open: () => open().then(resolve, reject), reject });
    });
  }

  /** Publications wait while this is going on, as for a reading that is being opened. */
  private hold<T>(opened: Promise<T>): Promise<T> {
    const settled = opened.then(
      () => undefined,
      () => undefined,
    );
    this.opening.add(settled);
    void settled.then(() => this.opening.delete(settled));
    return opened;
  }

  private lastDecided(need: Touched): Entry | undefined {
    for (let i = this.queue.length - 1; i >= 0; i--) {
      const entry = this.queue[i]!;
      if (!entry.decided) continue;
      if (need.columnar && entry.columnar) return entry;
      for (const set of need.heapSets) if (entry.heapSets.has(set)) return entry;
    }
    return undefined;
  }

  private wake(): void {
    if (this.pumping !== null || this.failed || !this.headIsSafe()) return;
    this.pumping = this.pump().then(
      () => {
        this.pumping = null;
        this.wake();
      },
      (error: unknown) => {
        // What is decided is never aborted: the instance ends and replays.
        this.failed = true;
        this.pumping = null;
        this.onFatal(error instanceof Error ? error : new Error(String(error)));
      },
    );
  }

  private headIsSafe(): boolean {
    return this.queue[0]?.safe === true;
  }

  private async pump(): Promise<void> {
    while (this.headIsSafe()) {
      const batch = this.nextBatch();
      if (this.opening.size > 0) await Promise.all([...this.opening]);
      await Promise.all(batch.map((entry) => entry.publish()));
      this.queue.splice(0, batch.length);
      this.onPublished(batch.at(-1)!.lsn);
      for (const entry of batch) entry.resolve();
      await Promise.all(batch.flatMap((entry) => entry.followers.map((follower) => follower.open())));
    }
  }

  /** The safe head of the queue, up to the first entry that a reading stands behind. */
  private nextBatch(): Entry[] {
    const batch: Entry[] = [];
    for (const entry of this.queue) {
      if (!entry.safe || batch.length >= BATCH) break;
      if (batch.length > 0 && entry.concurrent !== true) break;
      batch.push(entry);
      entry.onSafe?.(entry);
      if (entry.followers.length > 0 || entry.concurrent !== true) break;
    }
    return batch;
  }

  /** Waits until nothing is being published, then drops what was not safe. */
  async drop(error: Error): Promise<void> {
    while (this.pumping !== null) await this.pumping;
    for (const entry of this.queue.splice(0)) refuse(entry, error);
  }

  /** Resolves when everything that is safe now has been published. */
  async settled(): Promise<void> {
    while (this.pumping !== null) await this.pumping;
  }
}

function refuse(entry: Entry, error: Error): void {
  entry.reject(error);
  for (const follower of entry.followers) follower.reject(error);
}
