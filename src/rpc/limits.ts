import { CallTimeout } from './errors.js';
import type { PendingCall } from './pending.js';

export interface CallLimits {
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** The result of a call, given up (and cancelled) at its time limit or when its signal is aborted. */
export function limited<Out>(call: PendingCall, method: string, limits: CallLimits | undefined): Promise<Out> {
  const { timeoutMs, signal } = limits ?? {};
  if (timeoutMs === undefined && signal === undefined) return call.result as Promise<Out>;
  return new Promise<Out>((resolve, reject) => {
    const giveUp = (reason: unknown): void => {
      call.cancel();
      done();
      reject(reason);
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => giveUp(new CallTimeout(method, timeoutMs)), timeoutMs);
    const onAbort = (): void => giveUp(signal?.reason);
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    call.result.then(
      (value) => {
        done();
        resolve(value as Out);
      },
      (error: unknown) => {
        done();
        reject(error);
      },
    );
  });
}
