/**
 * A PGlite in a worker thread of its own. It takes frontend bytes and gives back backend bytes, one request after the other, and knows
 * nothing of SQL. All else is on the other side (pglite-worker.ts), so that terminating this thread loses no state.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort, workerData } from 'node:worker_threads';
import { gunzipSync } from 'node:zlib';
import { PGlite } from '@electric-sql/pglite';

/** What the worker is started with: a tar of a data directory, gzip or plain. */
export interface WorkerInput {
  dataDirectory: Uint8Array;
}

export type WorkerRequest =
  | { id: number; op: 'exec'; bytes: Uint8Array /** More output than this is counted and dropped. */; maxOutput: number }
  | { id: number; op: 'dump' };

export type WorkerReply =
  | {
      id: number;
      ok: true;
      bytes: Uint8Array /** Length of all output; above bytes.length where it was dropped. */;
      total: number;
      memory: number;
    }
  | { id: number; ok: false; message: string };

/**
 * Settings at the start, before any session's. Nothing reaches a disk; no parallel workers exist; what is logged to the server's log
 * would only be formatted and thrown away.
 */
const START_PARAMS = [
  '--single',
  '-F',
  '-j',
  ...[
    'exit_on_error=false',
    'log_checkpoints=false',
    'log_min_messages=fatal',
    'log_min_error_statement=panic',
    'max_worker_processes=0',
    'max_parallel_workers=0',
    'max_parallel_workers_per_gather=0',
    'max_parallel_maintenance_workers=0',
    'io_method=sync',
    'wal_level=minimal',
    'max_wal_senders=0',
    // The files are in memory too: a larger cache would only hold their pages twice (128 MB, the default, cost 100 MB of the process).
    'shared_buffers=16MB',
  ].flatMap((setting) => ['-c', setting]),
];

async function open(input: WorkerInput): Promise<PGlite> {
  const zipped = input.dataDirectory[0] === 0x1f && input.dataDirectory[1] === 0x8b;
  const tar = zipped ? gunzipSync(input.dataDirectory) : input.dataDirectory;
  return await PGlite.create({
    dataDir: 'memory://',
    loadDataDir: new Blob([tar as Uint8Array<ArrayBuffer>]),
    startParams: START_PARAMS,
  });
}

async function exec(pg: PGlite, bytes: Uint8Array, maxOutput: number): Promise<{ bytes: Uint8Array; total: number }> {
  const parts: Buffer[] = [];
  let total = 0;
  await pg.execProtocolRawStream(bytes, {
    syncToFs: false,
    onRawData: (part) => {
      total += part.length;
      // The bytes lie in WebAssembly's memory and are overwritten: copy.
      if (total <= maxOutput) parts.push(Buffer.from(part));
    },
  });
  return { bytes: Buffer.concat(parts), total };
}

async function answer(pg: PGlite, request: WorkerRequest): Promise<WorkerReply> {
  const memory = pg.Module.HEAPU8.length;
  if (request.op === 'exec') {
    const output = await exec(pg, request.bytes, request.maxOutput);
    return { id: request.id, ok: true, memory, ...output };
  }
  const dump = new Uint8Array(await (await pg.dumpDataDir('none')).arrayBuffer());
  return { id: request.id, ok: true, memory, bytes: dump, total: dump.length };
}

function main(): void {
  const port = parentPort;
  if (port === null) throw new Error('worker.js runs as a worker thread only');
  let tail: Promise<PGlite> = open(workerData as WorkerInput);
  tail.then(
    () => {
      freeGarbage();
      port.postMessage({ id: 0, ok: true, bytes: new Uint8Array(0), total: 0, memory: 0 } satisfies WorkerReply);
    },
    (error: unknown) => port.postMessage({ id: 0, ok: false, message: String(error) } satisfies WorkerReply),
  );
  port.on('message', (request: WorkerRequest) => {
    tail = tail.then(async (pg) => {
      const reply = await answer(pg, request).catch(
        (error: unknown): WorkerReply => ({ id: request.id, ok: false, message: String(error) }),
      );
      port.postMessage(reply, reply.ok && ownsBuffer(reply.bytes) ? [reply.bytes.buffer as ArrayBuffer] : []);
      return pg;
    });
  });
}

/** Copies of the data directory are left from opening, and an idle thread would keep them: V8 does not see how large they are. */
function freeGarbage(): void {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  if (typeof gc === 'function') gc();
}

/** Small buffers come from Node's pool, which other buffers share: those are copied, not handed over. */
function ownsBuffer(bytes: Uint8Array): boolean {
  return bytes.byteLength > 0 && bytes.byteLength === bytes.buffer.byteLength;
}

main();
