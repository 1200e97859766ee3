/** Median milliseconds of `runs` runs after `warm` that do not count. */
export async function medianMs(runs: number, warm: number, work: () => Promise<unknown>): Promise<number> {
  for (let i = 0; i < warm; i++) await work();
  const times: number[] = [];
  for (let i = 0; i < runs; i++) {
    const started = performance.now();
    await work();
    times.push(performance.now() - started);
  }
  return times.sort((a, b) => a - b)[Math.floor(runs / 2)] as number;
}

export const ms = (n: number) => `${n.toFixed(1)} ms`;
export const times = (n: number) => `${n.toFixed(2)} x`;
export const perSecond = (n: number, unit: string) => `${Math.round(n).toLocaleString('en-US')} ${unit}/s`;
