/** Promises for positions of a log, settled in the order of the positions. */
export class WaitList {
  #waiters: { end: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  #head = 0;

  add(end: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { end, resolve, reject };
      // Nearly always the last: positions are waited for as they are given.
      let at = this.#waiters.length;
      while (at > this.#head && this.#waiters[at - 1]!.end > end) at--;
      this.#waiters.splice(at, 0, waiter);
    });
  }

  /** Resolves what waits for at most `position`. */
  reached(position: number): void {
    while (this.#head < this.#waiters.length && this.#waiters[this.#head]!.end <= position)
      this.#waiters[this.#head++]!.resolve();
    if (this.#head === this.#waiters.length || this.#head > 1024) {
      this.#waiters.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Rejects what waits for more than `position`. */
  fail(position: number, error: Error): void {
    const waiting = this.#waiters.slice(this.#head);
    this.#waiters = waiting.filter(({ end }) => end <= position);
    this.#head = 0;
    for (const waiter of waiting) if (waiter.end > position) waiter.reject(error);
  }
}
