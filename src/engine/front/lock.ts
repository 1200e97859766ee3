/** First come, first served, one at a time. */
export class Mutex {
  private tail: Promise<void> = Promise.resolve();

  /** @returns the release, to be called once; further calls do nothing. */
  async acquire(): Promise<() => void> {
    let release: () => void = () => {};
    const mine = new Promise<void>((resolve) => {
      release = resolve;
    });
    const before = this.tail;
    this.tail = before.then(() => mine);
    await before;
    return release;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    const release = await this.acquire();
    try {
      return await work();
    } finally {
      release();
    }
  }
}
