import { SqlError } from '../../core/errors.js';
import type { LockName } from '../../model/log.js';
import type { LockOptions } from './types.js';

export type LockMode = LockName['mode'];

/** Protocols, section 3: A goes with A and W, S with S and A; all else excludes. */
const COMPATIBLE: Record<LockMode, readonly LockMode[]> = {
  X: [],
  W: ['A'],
  A: ['A', 'W', 'S'],
  S: ['S', 'A'],
};

/** Modes that need not be asked for where the first is held. */
const COVERS: Record<LockMode, readonly LockMode[]> = { X: ['X', 'W', 'A', 'S'], W: ['W', 'A'], A: ['A'], S: ['S'] };

interface Waiter {
  owner: string;
  mode: LockMode;
  lock: Lock;
  /** Gives up soon: no edge of a deadlock for others. */
  yields: boolean;
  grant(): void;
  refuse(error: Error): void;
}

interface Lock {
  name: string;
  granted: Map<string, Set<LockMode>>;
  queue: Waiter[];
}

/**
 * The coordinator's locks. The queue is fair: who asks waits behind everybody who asked before and excludes him; only an owner
 * who already holds the lock goes ahead, since the others wait for him anyway. A wait that would close a circle is refused with 40P01.
 */
export class LockManager {
  private readonly locks = new Map<string, Lock>();
  private readonly held = new Map<string, Set<Lock>>();
  private readonly waiting = new Map<string, Set<Waiter>>();

  /** Takes all of them, one after the other in the order of their names, or none. 40P01, 55P03, 57014. */
  async acquire(owner: string, names: readonly LockName[], options: LockOptions = {}): Promise<void> {
    const ordered = [...names].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    const deadline = options.timeoutMs ? performance.now() + options.timeoutMs : null;
    const taken: LockName[] = [];
    try {
      for (const { name, mode } of ordered) {
        if (this.holds(owner, name, mode)) continue;
        // Without a pause where nobody is in the way: the fast path stays in one turn.
        if (!this.tryGrant(owner, name, mode)) await this.wait(owner, name, mode, deadline, options);
        taken.push({ name, mode });
      }
    } catch (error) {
      this.release(owner, taken);
      throw error;
    }
  }

  holds(owner: string, name: string, mode: LockMode): boolean {
    const modes = this.locks.get(name)?.granted.get(owner);
    return modes !== undefined && [...modes].some((have) => COVERS[have].includes(mode));
  }

  /** True where somebody who holds nothing would get the lock in mode S at once. */
  shared(name: string): boolean {
    const lock = this.locks.get(name);
    if (lock === undefined) return true;
    if (lock.queue.length > 0) return false;
    for (const modes of lock.granted.values()) for (const mode of modes) if (mode === 'X' || mode === 'W') return false;
    return true;
  }

  /** What the owner holds, by name. */
  heldBy(owner: string): LockName[] {
    const result: LockName[] = [];
    for (const lock of this.held.get(owner) ?? []) {
      for (const mode of lock.granted.get(owner) ?? []) result.push({ name: lock.name, mode });
    }
    return result.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Locks of a prepared transaction, from an instance's `hello`: they were granted before, whatever holds now. */
  import(owner: string, names: readonly LockName[]): void {
    for (const { name, mode } of names) this.grant(owner, this.lockOf(name), mode);
  }

  release(owner: string, names: readonly LockName[]): void {
    for (const { name, mode } of names) {
      const lock = this.locks.get(name);
      const modes = lock?.granted.get(owner);
      if (lock === undefined || modes === undefined) continue;
      modes.delete(mode);
      if (modes.size === 0) {
        lock.granted.delete(owner);
        this.forgetHeld(owner, lock);
      }
      this.advance(lock);
    }
  }

  releaseAll(owner: string): void {
    this.release(owner, this.heldBy(owner));
  }

  /** Number of requests in queues. */
  get waiters(): number {
    let count = 0;
    for (const waiters of this.waiting.values()) count += waiters.size;
    return count;
  }

  /** Broken rules, for tests: owners that hold one lock in modes that exclude each other. */
  conflicts(): string[] {
    const found: string[] = [];
    for (const lock of this.locks.values()) {
      const all = [...lock.granted].flatMap(([owner, modes]) => [...modes].map((mode) => ({ owner, mode })));
      for (const a of all) {
        for (const b of all) {
          if (a.owner < b.owner && !COMPATIBLE[a.mode].includes(b.mode))
            found.push(`${lock.name}: ${a.owner} ${a.mode}, ${b.owner} ${b.mode}`);
        }
      }
    }
    return found;
  }

  private lockOf(name: string): Lock {
    let lock = this.locks.get(name);
    if (lock === undefined) {
      lock = { name, granted: new Map(), queue: [] };
      this.locks.set(name, lock);
    }
    return lock;
  }

  private tryGrant(owner: string, name: string, mode: LockMode): boolean {
    const lock = this.lockOf(name);
    const ahead = lock.granted.has(owner) ? [] : lock.queue;
    if (this.blockers(lock, owner, mode, ahead).size > 0) return false;
    this.grant(owner, lock, mode);
    return true;
  }

  private grant(owner: string, lock: Lock, mode: LockMode): void {
    const modes = lock.granted.get(owner);
    if (modes === undefined) lock.granted.set(owner, new Set([mode]));
    else modes.add(mode);
    const held = this.held.get(owner);
    if (held === undefined) this.held.set(owner, new Set([lock]));
    else held.add(lock);
  }

  /** Owners whom a request has to wait for: holders, and those ahead of it in the queue, whose modes exclude it. */
  private blockers(lock: Lock, owner: string, mode: LockMode, ahead: readonly Waiter[]): Set<string> {
    const found = new Set<string>();
    for (const [holder, modes] of lock.granted) {
      if (holder !== owner && [...modes].some((have) => !COMPATIBLE[mode].includes(have))) found.add(holder);
    }
    for (const waiter of ahead) {
      if (waiter.owner !== owner && !COMPATIBLE[mode].includes(waiter.mode)) found.add(waiter.owner);
    }
    return found;
  }

  private wait(owner: string, name: string, mode: LockMode, deadline: number | null, options: LockOptions): Promise<void> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(cancelled(signal));
    const lock = this.lockOf(name);
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.forgetWaiting(waiter);
      };
      const waiter: Waiter = {
        owner,
        mode,
        lock,
        yields: options.yields === true,
        grant: () => {
          settle();
          resolve();
        },
        refuse: (error) => {
          lock.queue.splice(lock.queue.indexOf(waiter), 1);
          settle();
          reject(error);
          this.advance(lock);
        },
      };
      const onAbort = () => waiter.refuse(cancelled(signal as AbortSignal));
      this.enqueue(waiter);
      const circle = this.circle(owner);
      if (circle !== null) return waiter.refuse(deadlock(circle));
      signal?.addEventListener('abort', onAbort, { once: true });
      if (deadline !== null) timer = setTimeout(() => waiter.refuse(timedOut()), Math.max(0, deadline - performance.now()));
    });
  }

  private enqueue(waiter: Waiter): void {
    const { lock, owner } = waiter;
    if (lock.granted.has(owner)) {
      // Behind others who hold it and want more, before all who do not.
      const place = lock.queue.findIndex((other) => !lock.granted.has(other.owner));
      lock.queue.splice(place === -1 ? lock.queue.length : place, 0, waiter);
    } else {
      lock.queue.push(waiter);
    }
    const mine = this.waiting.get(owner);
    if (mine === undefined) this.waiting.set(owner, new Set([waiter]));
    else mine.add(waiter);
  }

  /** Grants from the head of the queue what nobody before it excludes. */
  private advance(lock: Lock): void {
    const passed: Waiter[] = [];
    for (const waiter of [...lock.queue]) {
      if (this.blockers(lock, waiter.owner, waiter.mode, passed).size > 0) {
        passed.push(waiter);
        continue;
      }
      lock.queue.splice(lock.queue.indexOf(waiter), 1);
      this.grant(waiter.owner, lock, waiter.mode);
      waiter.grant();
    }
    if (lock.granted.size === 0 && lock.queue.length === 0) this.locks.delete(lock.name);
  }

  /** A circle of waits that goes through `start`, as its edges; null without one. */
  private circle(start: string): { waiter: Waiter; blocker: string }[] | null {
    const visited = new Set<string>();
    const path: { waiter: Waiter; blocker: string }[] = [];
    const visit = (owner: string): boolean => {
      for (const waiter of this.waiting.get(owner) ?? []) {
        if (waiter.yields && owner !== start) continue;
        const ahead = waiter.lock.queue.slice(0, waiter.lock.queue.indexOf(waiter));
        for (const blocker of this.blockers(waiter.lock, owner, waiter.mode, ahead)) {
          path.push({ waiter, blocker });
          if (blocker === start) return true;
          if (!visited.has(blocker)) {
            visited.add(blocker);
            if (visit(blocker)) return true;
          }
          path.pop();
        }
      }
      return false;
    };
    return visit(start) ? path : null;
  }

  private forgetWaiting(waiter: Waiter): void {
    const mine = this.waiting.get(waiter.owner);
    mine?.delete(waiter);
    if (mine?.size === 0) this.waiting.delete(waiter.owner);
  }

  private forgetHeld(owner: string, lock: Lock): void {
    const held = this.held.get(owner);
    held?.delete(lock);
    if (held?.size === 0) this.held.delete(owner);
  }
}

function deadlock(circle: { waiter: Waiter; blocker: string }[]): SqlError {
  const lines = circle.map(({ waiter, blocker }) => {
    return `Transaction ${waiter.owner} waits for lock ${waiter.mode} on ${waiter.lock.name}; blocked by transaction ${blocker}.`;
  });
  return new SqlError('40P01', 'deadlock detected', { detail: lines.join('\n'), hint: 'Run the transaction again.' });
}

function timedOut(): SqlError {
  return new SqlError('55P03', 'canceling statement due to lock timeout');
}

function cancelled(signal: AbortSignal): Error {
  const { reason } = signal;
  return reason instanceof SqlError ? reason : new SqlError('57014', 'canceling statement due to user request');
}
