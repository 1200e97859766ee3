import { type CoordinatorStamp, type KnownRead, type QuickAnswer, type QuickRead, QuickRefusal } from '../../model/task.js';
import type { OpenCall } from '../../rpc/types.js';
import type { SegmentLink } from '../executor/types.js';
import type { Connection, MethodInput, MethodOutput, ReadRegistry, ReadToken, SegmentMethodName } from './types.js';

/** A link that puts the stamp on every message and counts the calls that are not answered yet. */
export class StampedConnection implements Connection {
  private pending = 0;
  /** Numbers of the reads that the instance was told on this connection. */
  private readonly known = new WeakMap<KnownRead, number>();
  private lastKnown = 0;
  private idle: (() => void)[] = [];

  constructor(
    readonly content: number,
    readonly dbid: number,
    readonly generation: number,
    private readonly link: SegmentLink,
    private readonly stamp: () => CoordinatorStamp,
  ) {}

  get closed(): boolean {
    return this.link.closed;
  }

  call<M extends SegmentMethodName>(
    method: M,
    body: MethodInput<M>,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<MethodOutput<M>> {
    return this.counted(this.link.call<MethodOutput<M>>(method, { ...body, stamp: this.stamp() }, options));
  }

  open<M extends SegmentMethodName>(method: M, body: MethodInput<M>): OpenCall<MethodOutput<M>> {
    const call = this.link.open<MethodOutput<M>>(method, { ...body, stamp: this.stamp() });
    this.counted(call.result).catch(() => undefined);
    return call;
  }

  quick(
    read: KnownRead,
    shards: number[],
    params: (string | null)[],
    done: (error: unknown, answer: QuickAnswer | undefined) => void,
  ): void {
    const id = this.known.get(read) ?? this.tell(read);
    const { timeline, incarnation, contentTimeline } = this.stamp();
    const body: QuickRead = [timeline, incarnation, contentTimeline, id, shards, params];
    this.pending += 1;
    this.link.ask('quick', body, (error, answer) => {
      this.ended();
      if (answer === QuickRefusal.unknown) this.known.delete(read);
      done(error, answer as QuickAnswer | undefined);
    });
  }

  /** The stream is in order: the read is known there before it is asked for. */
  private tell(read: KnownRead): number {
    this.lastKnown += 1;
    const id = this.lastKnown;
    this.known.set(read, id);
    const { fragment, formats, session } = read;
    this.call('know', { id, fragment, formats, session }).catch(() => this.known.delete(read));
    return id;
  }

  onClose(listener: (reason: Error) => void): void {
    this.link.onClose(listener);
  }

  get pendingCalls(): number {
    return this.pending;
  }

  /** Resolves when no call is open. */
  whenIdle(): Promise<void> {
    return this.pending === 0 ? Promise.resolve() : new Promise((resolve) => this.idle.push(resolve));
  }

  private counted<T>(result: Promise<T>): Promise<T> {
    this.pending += 1;
    const ended = () => this.ended();
    result.then(ended, ended);
    return result;
  }

  private ended(): void {
    this.pending -= 1;
    if (this.pending > 0 || this.idle.length === 0) return;
    for (const resolve of this.idle.splice(0)) resolve();
  }
}

/** Open readings, in the order in which they began. */
export class Readings implements ReadRegistry {
  private readonly open = new Map<ReadToken, number>();
  private waiters: { left: Set<ReadToken>; resolve: () => void }[] = [];

  begin(): ReadToken {
    const token: ReadToken = { end: () => this.end(token) };
    this.open.set(token, performance.now());
    return token;
  }

  drained(signal?: AbortSignal): Promise<void> {
    if (this.open.size === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = { left: new Set(this.open.keys()), resolve };
      this.waiters.push(waiter);
      const onAbort = () => {
        this.waiters = this.waiters.filter((other) => other !== waiter);
        reject(signal?.reason);
      };
      if (signal?.aborted) return onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  oldestMs(): number | null {
    const first = this.open.values().next();
    return first.done ? null : performance.now() - first.value;
  }

  private end(token: ReadToken): void {
    if (!this.open.delete(token) || this.waiters.length === 0) return;
    for (const waiter of this.waiters) waiter.left.delete(token);
    const done = this.waiters.filter((waiter) => waiter.left.size === 0);
    this.waiters = this.waiters.filter((waiter) => waiter.left.size > 0);
    for (const waiter of done) waiter.resolve();
  }
}
