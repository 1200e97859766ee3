/** Fencing (protocols, section 4): the highest coordinator that was seen, durably; lower ones are refused. */
import { join } from 'node:path';
import { SqlError } from '../../core/errors.js';
import { readJson, writeFileAtomic } from '../../core/files.js';
import type { CoordinatorStamp } from '../../model/task.js';
import { FENCED } from './errors.js';

interface Seen {
  timeline: number;
  incarnation: number;
}

export class Stamps {
  private readonly path: string;
  private seen: Seen;

  /** @param onHigher called after a higher one is durable: what is not prepared is aborted. */
  constructor(
    directory: string,
    private readonly onHigher: () => void,
  ) {
    this.path = join(directory, 'stamp.json');
    this.seen = readJson<Seen>(this.path) ?? { timeline: 0, incarnation: 0 };
  }

  /** Throws DM002 for an older coordinator. */
  check(stamp: CoordinatorStamp): void {
    const { timeline, incarnation } = this.seen;
    if (stamp.timeline === timeline && stamp.incarnation === incarnation) return;
    if (stamp.timeline < timeline || (stamp.timeline === timeline && stamp.incarnation < incarnation)) {
      throw new SqlError(FENCED, `a newer coordinator is at work (timeline ${timeline}, incarnation ${incarnation})`, {
        hint: 'Stop the old coordinator.',
      });
    }
    this.seen = { timeline: stamp.timeline, incarnation: stamp.incarnation };
    writeFileAtomic(this.path, JSON.stringify(this.seen));
    this.onHigher();
  }
}
