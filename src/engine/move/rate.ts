/** A limit in bytes each second over all moves; bursts of a fifth of a second. */
export class RateLimiter {
  private allowance = 0;
  private last = performance.now();

  /** @param bytesPerSecond null: no limit. */
  constructor(public bytesPerSecond: number | null) {}

  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const rate = this.bytesPerSecond;
    if (rate === null) return;
    const now = performance.now();
    this.allowance = Math.min(rate / 5, this.allowance + ((now - this.last) / 1000) * rate) - bytes;
    this.last = now;
    if (this.allowance >= 0) return;
    const waitMs = (-this.allowance / rate) * 1000;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      }, waitMs);
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}
