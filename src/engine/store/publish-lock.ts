/**
 * Publications and openings of snapshots exclude each other (protocols, section 6): any number of publications may run together, and any number of
 * openings, but never both. Whoever waits is served in order, a run of the same kind at once, so that neither side starves.
 */
export type Side = 'publish' | 'open';

export class PublishLock {
  private side: Side | null = null;
  private holders = 0;
  private readonly queue: { side: Side; granted: () => void }[] = [];

  /** Takes the lock at once, if that is possible without passing anyone who waits. */
  tryAcquire(side: Side): boolean {
    if (this.queue.length > 0 || (this.holders > 0 && this.side !== side)) return false;
    this.side = side;
    this.holders++;
    return true;
  }

  acquire(side: Side): Promise<void> {
    if (this.tryAcquire(side)) return Promise.resolve();
    return new Promise((resolve) => this.queue.push({ side, granted: resolve }));
  }

  release(): void {
    this.holders--;
    if (this.holders > 0) return;
    this.side = this.queue[0]?.side ?? null;
    while (this.queue.length > 0 && this.queue[0]!.side === this.side) {
      this.holders++;
      this.queue.shift()!.granted();
    }
  }

  async hold<T>(side: Side, work: () => T | Promise<T>): Promise<T> {
    await this.acquire(side);
    try {
      return await work();
    } finally {
      this.release();
    }
  }
}
