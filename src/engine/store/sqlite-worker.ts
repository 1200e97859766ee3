/**
 * A thread for SQLite work that takes long: checkpoints, fsync of WALs, folding copies, checksums. It has connections of its own.
 * Its program is text, so that it is the same under the compiler, tsx and vitest.
 */
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import type { Lsn } from '../../model/log.js';

export interface WorkerCalls {
  /** PASSIVE checkpoint. */
  checkpoint: { in: { path: string }; out: { log: number; checkpointed: number } };
  /** fdatasync of a WAL. */
  sync: { in: { path: string }; out: null };
  /** Makes one clean database of a copied file and its WAL, durable; the lsn that it stands at. */
  fold: { in: { path: string }; out: { applied: Lsn } };
  /** Begins a read transaction on each file. */
  open: { in: { paths: string[] }; out: null };
  /** SHA-256 over the rows of a relation in rid order, each as the quote() text of expressions. */
  checksum: { in: { path: string; relation: string; expressions: string[] }; out: { rows: number; checksum: string } };
}

const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const Database = require(workerData.driver);
const held = new Map();

function connect(path) {
  const db = new Database(path, { timeout: 0, fileMustExist: true });
  db.pragma('wal_autocheckpoint = 0');
  return db;
}

function fsync(path) {
  const fd = fs.openSync(path, 'r+');
  try { fs.fdatasyncSync(fd); } finally { fs.closeSync(fd); }
}

const calls = {
  checkpoint({ path }) {
    const db = connect(path);
    try {
      const row = db.pragma('wal_checkpoint(PASSIVE)')[0];
      return { log: row.log, checkpointed: row.checkpointed };
    } finally { db.close(); }
  },
  sync({ path }) {
    if (fs.existsSync(path + '-wal')) fsync(path + '-wal');
    return null;
  },
  fold({ path }) {
    const db = connect(path);
    let applied;
    try {
      applied = db.prepare("SELECT value FROM _damson WHERE key = 'applied'").pluck().get();
      db.pragma('journal_mode = DELETE');
    } finally { db.close(); }
    fsync(path);
    return { applied: applied === undefined ? -1 : applied };
  },
  open({ paths }) {
    for (const path of paths) {
      const db = connect(path);
      held.set(path, db);
      db.exec('BEGIN');
      db.prepare('SELECT 1 FROM _damson LIMIT 1').get();
    }
    return null;
  },
  checksum({ path, relation, expressions }) {
    const text = expressions.map((sql) => 'quote(' + sql + ')').join(" || ',' || ");
    const statement = held.get(path).prepare('SELECT ' + text + ' FROM "' + relation.replaceAll('"', '""') + '" ORDER BY _rid').pluck();
    const hash = createHash('sha256');
    let rows = 0;
    let block = [];
    for (const row of statement.iterate()) {
      block.push(row);
      if (block.length === 1000) { hash.update(block.join('\\n') + '\\n'); block = []; }
      rows++;
    }
    if (block.length > 0) hash.update(block.join('\\n') + '\\n');
    return { rows, checksum: hash.digest('hex') };
  },
};

parentPort.on('message', ({ id, call, input }) => {
  try {
    parentPort.postMessage({ id, result: calls[call](input) });
  } catch (error) {
    parentPort.postMessage({ id, error: error.message, code: error.code });
  }
});
`;

interface Answer {
  id: number;
  result?: unknown;
  error?: string;
  code?: string;
}

export class SqliteWorker {
  private readonly worker: Worker;
  private readonly waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  private nextId = 0;

  constructor() {
    const driver = createRequire(import.meta.url).resolve('better-sqlite3');
    this.worker = new Worker(PROGRAM, { eval: true, workerData: { driver } });
    this.worker.unref();
    this.worker.on('message', (answer: Answer) => this.onAnswer(answer));
    this.worker.on('error', (error) => this.failAll(error));
    this.worker.on('exit', () => this.failAll(new Error('the SQLite thread has ended')));
  }

  call<K extends keyof WorkerCalls>(call: K, input: WorkerCalls[K]['in']): Promise<WorkerCalls[K]['out']> {
    const id = ++this.nextId;
    this.worker.ref();
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, call, input });
    });
  }

  private onAnswer({ id, result, error, code }: Answer): void {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (this.waiting.size === 0) this.worker.unref();
    if (error === undefined) waiting?.resolve(result as never);
    else waiting?.reject(Object.assign(new Error(error), { code }));
  }

  private failAll(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }
}
