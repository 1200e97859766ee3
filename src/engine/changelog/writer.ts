import { Worker } from 'node:worker_threads';
import { SqlError } from '../../core/errors.js';
import { type WriterOptions, type WriterOrder, type WriterReport, type WriterTask, writerThread } from './writer-thread.js';

/** `__name` is what some compilers put around functions. */
const SOURCE = (options: WriterOptions): string =>
  `const __name = (f) => f; (${writerThread.toString()})(require('node:fs'), require('node:worker_threads'), ${JSON.stringify(options)})`;

type Progress = Exclude<WriterReport, { r: 'done' }>;

/** The log's thread, seen from the main thread. */
export class Writer {
  readonly #worker: Worker;
  readonly #tasks = new Map<number, { resolve: (value: number | undefined) => void; reject: (error: Error) => void }>();
  #nextTask = 1;
  #gone: Error | undefined;

  /** @param onReport progress of what was appended; `fatal` also where the thread ends by itself. */
  constructor(options: WriterOptions, onReport: (report: Progress) => void) {
    this.#worker = new Worker(SOURCE(options), { eval: true, name: 'damson-log' });
    this.#worker.on('message', (report: WriterReport) => {
      if (report.r === 'done') this.#done(report);
      else onReport(report);
    });
    this.#worker.on('error', (error) => onReport({ r: 'fatal', message: `the log's thread failed: ${error.message}` }));
    this.#worker.on('exit', () => {
      this.#gone = new SqlError('57P01', 'the change log is closed');
      for (const task of this.#tasks.values()) task.reject(this.#gone);
      this.#tasks.clear();
    });
  }

  order(order: WriterOrder): void {
    this.#worker.postMessage(order);
  }

  /** Carried out after all that was ordered before. */
  task(task: WriterTask): Promise<number | undefined> {
    if (this.#gone !== undefined) return Promise.reject(this.#gone);
    const id = this.#nextTask++;
    return new Promise((resolve, reject) => {
      this.#tasks.set(id, { resolve, reject });
      this.order({ op: 'task', id, task });
    });
  }

  #done(report: Extract<WriterReport, { r: 'done' }>): void {
    const task = this.#tasks.get(report.id);
    this.#tasks.delete(report.id);
    if (report.error === undefined) task?.resolve(report.value);
    else task?.reject(diskError(report.error));
  }
}

/** 53100 where the disk is full, else 58030. */
export function diskError(error: { code: string; message: string }): SqlError {
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT') return diskFull();
  return new SqlError('58030', `the change log could not be written: ${error.message}`);
}

export function diskFull(): SqlError {
  return new SqlError('53100', 'the disk of the change log is full', { hint: 'Free space on the disk of the data directory.' });
}
