/** Host side of worker.ts: one PGlite in a thread, requests in order, and an end by terminating the thread. */
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { internalError, SqlError } from '../../core/errors.js';
import { type BackendMessage, splitMessages } from './messages.js';
import type { WorkerInput, WorkerReply, WorkerRequest } from './worker.js';

/** The worker is gone: its deadline passed, its caller cancelled, or it broke. What it held in memory is lost. */
export class WorkerLost extends Error {
  constructor(readonly reason: SqlError) {
    super(reason.message);
    this.name = 'WorkerLost';
  }
}

export interface ExecOptions {
  /** Milliseconds for this call, from its begin. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  /** Bytes; a longer answer is 54000. */
  maxOutput?: number;
}

/** Big statements recurse deeply inside PostgreSQL: with less, JavaScript's own overflow comes before PostgreSQL's check (54001). */
const STACK_MB = 256;
const OPEN_DEADLINE_MS = 60_000;
const DEFAULT_MAX_OUTPUT = 512 * 1024 * 1024;

interface Pending {
  resolve(reply: WorkerReply): void;
  reject(error: Error): void;
}

export class PgliteWorker {
  private readonly pending = new Map<number, Pending>();
  private nextId = 1;
  private lost: WorkerLost | undefined;
  /** Bytes of WebAssembly memory, as of the last answer. */
  memory = 0;

  private constructor(private readonly thread: Worker) {
    thread.on('message', (reply: WorkerReply) => {
      const waiting = this.pending.get(reply.id);
      this.pending.delete(reply.id);
      waiting?.resolve(reply);
    });
    thread.on('error', (error) => this.lose(internalError(`the front's thread failed: ${error.message}`, error)));
    thread.on('exit', () => this.lose(internalError("the front's thread ended")));
  }

  /** @param dataDirectory tar of a data directory, gzip or plain; copied. */
  static async open(dataDirectory: Uint8Array): Promise<PgliteWorker> {
    const input: WorkerInput = { dataDirectory };
    const worker = new PgliteWorker(new Worker(entry(), { workerData: input, resourceLimits: { stackSizeMb: STACK_MB } }));
    await worker.wait(0, { deadlineMs: OPEN_DEADLINE_MS });
    return worker;
  }

  get alive(): boolean {
    return this.lost === undefined;
  }

  /** Frontend messages in, backend messages out. Throws WorkerLost where the worker ended meanwhile, SqlError 54000 where the answer is too long. */
  async exec(bytes: Buffer, options: ExecOptions): Promise<Buffer> {
    const maxOutput = options.maxOutput ?? DEFAULT_MAX_OUTPUT;
    const reply = await this.request((id) => ({ id, op: 'exec', bytes, maxOutput }), options);
    if (reply.total > maxOutput) {
      throw new SqlError('54000', `the result of the statement is larger than ${maxOutput} bytes`, {
        hint: 'Ask for fewer rows or columns at once, for example with LIMIT or a cursor.',
      });
    }
    return Buffer.from(reply.bytes.buffer, reply.bytes.byteOffset, reply.bytes.byteLength);
  }

  async messages(bytes: Buffer, options: ExecOptions): Promise<BackendMessage[]> {
    return splitMessages(await this.exec(bytes, options));
  }

  /** Tar of the data directory as it stands; call CHECKPOINT before, so that it opens without recovery. */
  async dump(deadlineMs: number): Promise<Uint8Array> {
    return (await this.request((id) => ({ id, op: 'dump' }), { deadlineMs })).bytes;
  }

  /** Ends the thread; what is under way and all later calls throw WorkerLost with this reason. */
  async terminate(reason: SqlError): Promise<void> {
    this.lose(reason);
    await this.thread.terminate();
  }

  private async request(make: (id: number) => WorkerRequest, options: ExecOptions): Promise<WorkerReply & { ok: true }> {
    if (this.lost !== undefined) throw this.lost;
    const id = this.nextId++;
    const answer = this.wait(id, options);
    this.thread.postMessage(make(id));
    return await answer;
  }

  private async wait(id: number, options: ExecOptions): Promise<WorkerReply & { ok: true }> {
    const stop = (reason: SqlError) => void this.terminate(reason);
    const timer = setTimeout(() => stop(timedOut()), options.deadlineMs);
    const onAbort = () => stop(cancelled());
    options.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const reply = await new Promise<WorkerReply>((resolve, reject) => {
        if (this.lost !== undefined) return reject(this.lost);
        this.pending.set(id, { resolve, reject });
        if (options.signal?.aborted) onAbort();
      });
      if (reply.ok) {
        this.memory = reply.memory || this.memory;
        return reply;
      }
      const broken = internalError(`the front failed: ${reply.message}`);
      await this.terminate(broken);
      throw new WorkerLost(broken);
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    }
  }

  private lose(reason: SqlError): void {
    this.lost ??= new WorkerLost(reason);
    const waiting = [...this.pending.values()];
    this.pending.clear();
    for (const { reject } of waiting) reject(this.lost);
  }
}

export function timedOut(): SqlError {
  return new SqlError('57014', 'canceling statement due to statement timeout');
}

export function cancelled(): SqlError {
  return new SqlError('57014', 'canceling statement due to user request');
}

/** The compiled entry: threads do not load TypeScript, so that tests which run from src take dist's. */
function entry(): URL {
  if (!import.meta.url.endsWith('.ts')) return new URL('./worker.js', import.meta.url);
  const path = fileURLToPath(import.meta.url).replace(/[/\\]src[/\\]engine[/\\]front[/\\]pglite-worker\.ts$/, '');
  return new URL(`file://${path}/dist/engine/front/worker.js`);
}
