/** First come, first served, one at a time. */
export class Mutex {
  private tail: Promise<void> = Promise.resolve();

  /**
   * @param limit who waits longer gives up with this error.
   * @returns the release, to be called once; further calls do nothing.
   */
  async acquire(limit?: { ms: number; error: () => Error }): Promise<() => void> {
    let release: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      release = resolve;
    });
    const before = this.tail;
    this.tail = before.then(() => mine);
    if (limit === undefined || (await within(before, limit.ms))) {
      await before;
      return release;
    }
    // Its place in the queue passes as if it had been used.
    release();
    throw limit.error();
  }

  async run<T>(work: () => Promise<T>, limit?: { ms: number; error: () => Error }): Promise<T> {
    const release = await this.acquire(limit);
    try {
      return await work();
    } finally {
      release();
    }
  }
}

async function within(promise: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
