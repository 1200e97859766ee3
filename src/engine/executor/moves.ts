/** Source of a shard move (protocols, section 9): the snapshot of a set, and what became of it since. */
import { closeSync, mkdirSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SqlError } from '../../core/errors.js';
import type { BatchRef, LogBody, Lsn, ShardChanges, StoreDdl, TxnBody } from '../../model/log.js';
import type { SetKey } from '../../model/table.js';
import type { MovePart, SegmentMethods } from '../../model/task.js';
import type { CallContext } from '../../rpc/types.js';
import { appendAndPublish, type Core } from './core.js';
import { PIN_LOST } from './errors.js';
import { preparedBody } from './records.js';

/** A part of a file on the wire. */
const PART = 1024 * 1024;
/** Batch files up to this travel inside their transaction; larger ones as parts before it. */
export const INLINE_BYTES = 8 * 1024 * 1024;
/** Log that one `moveTail` reads at most: the caller comes again. */
const TAIL_BYTES = 64 * 1024 * 1024;

type In<M extends keyof SegmentMethods> = SegmentMethods[M]['in'];
type Out<M extends keyof SegmentMethods> = SegmentMethods[M]['out'];

export class MoveSource {
  /** Shards of the set when it was copied: a drop since then is the move's to carry over. */
  private readonly shardsOf = new Map<string, Set<number>>();
  private copies = 0;

  constructor(private readonly core: Core) {}

  async copy({ move, setKey }: In<'moveCopy'>, context: CallContext): Promise<Out<'moveCopy'>> {
    const { core } = this;
    this.pin(move, core.stores.applied());
    // Its own: a copy whose caller has gone may still be on its way out.
    const directory = join(core.stores.temporaryDirectory, `move-${safeName(move)}-${++this.copies}`);
    mkdirSync(directory, { recursive: true });
    try {
      const snapshot = await core.stores.exportSet(setKey, directory, `${safeName(move)}-`);
      this.pin(move, snapshot.lsn);
      this.shardsOf.set(move, new Set(snapshot.shards.map((shard) => shard.shardId)));
      context.signal.throwIfAborted();
      for (const file of snapshot.files) await sendFileParts(join(directory, file.name), file.name, context);
      return snapshot;
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  /** Keeps the log from here, and from the oldest PREPARE whose COMMIT may still come. */
  private pin(move: string, lsn: Lsn): void {
    const { log, transactions } = this.core;
    log.pin(`move:${move}`, Math.max(log.start, Math.min(lsn, transactions.oldestPrepare() ?? lsn)));
  }

  async tail({ move, setKey, from }: In<'moveTail'>, context: CallContext): Promise<Out<'moveTail'>> {
    const { log, stores } = this.core;
    // Position -1: a store that no record has touched yet.
    if (from < log.start && log.start > 0) {
      throw new SqlError(PIN_LOST, `the log begins at ${log.start}, behind ${from}`, { hint: 'The move starts over.' });
    }
    // Again each time, because it follows the move, and a restart has forgotten it.
    this.pin(move, from);
    const shardIds = this.shardsOf.get(move) ?? new Set<number>();
    for (const shard of stores.shardsOfSet(setKey)) shardIds.add(shard.shardId);
    const safe = log.safe;
    let upTo = from;
    for await (const record of log.read(Math.max(from, log.start), safe)) {
      if (record.end > safe || record.lsn > from + TAIL_BYTES) break;
      if (record.lsn <= from) continue;
      const txn = await this.decided(record.body);
      const part = txn === null ? null : partOfSet(txn, setKey, shardIds);
      if (part !== null) await this.sendTxn(record.lsn, part, context);
      upTo = record.lsn;
      if (context.signal.aborted) break;
    }
    this.shardsOf.set(move, shardIds);
    return { upTo };
  }

  private async decided(body: LogBody): Promise<TxnBody | null> {
    switch (body.k) {
      case 'TXN':
      case 'MOVE_APPLY':
        return body.txn;
      case 'DECISION':
        return body.txn;
      case 'COMMIT':
        return preparedBody(this.core.log, body.prepareLsn);
      default:
        return null;
    }
  }

  private async sendTxn(lsn: Lsn, txn: TxnBody, context: CallContext): Promise<void> {
    const shards: ShardChanges[] = [];
    for (const changes of txn.shards) {
      const batches: BatchRef[] = [];
      for (const ref of changes.batches) batches.push(await this.travelling(ref, context));
      shards.push({ ...changes, batches });
    }
    await context.send({ lsn, txn: { ...txn, shards } });
  }

  private async travelling(ref: BatchRef, context: CallContext): Promise<BatchRef> {
    if (ref.inline !== undefined) return ref;
    const path = this.core.log.batchPath(ref.name);
    if (ref.bytes <= INLINE_BYTES) return { ...ref, inline: readFileSync(path) };
    await sendFileParts(path, ref.name, context);
    return ref;
  }

  end({ move }: In<'moveEnd'>): Out<'moveEnd'> {
    this.core.log.unpin(`move:${move}`);
    this.shardsOf.delete(move);
    return {};
  }

  async dropSet({ setKey }: In<'dropSet'>): Promise<Out<'dropSet'>> {
    const { core } = this;
    const ddl: StoreDdl[] = [{ op: 'dropSet', setKey }];
    const txn: TxnBody = { participants: [core.options.identity.content], locks: [], ddl, shards: [] };
    const { published } = appendAndPublish(
      core,
      { k: 'TXN', gid: `drop-${setKey}-${core.log.end}`, txn },
      {
        heapSets: new Set([setKey]),
        columnar: true,
        publish: async (lsn) => {
          await core.stores.apply(lsn, txn);
          await core.stores.flush();
        },
      },
    );
    await published;
    return {};
  }
}

/** What of a transaction concerns a set; null: nothing. Shards that it makes join `shardIds`. */
export function partOfSet(txn: TxnBody, setKey: SetKey, shardIds: Set<number>): TxnBody | null {
  const ddl = txn.ddl.filter((one) => {
    if (one.op === 'dropSet') return false;
    if (one.op !== 'createShard') return shardIds.has(one.shardId);
    if (one.shard.setKey !== setKey) return false;
    shardIds.add(one.shard.shardId);
    return true;
  });
  const shards = txn.shards.filter((changes) => shardIds.has(changes.shardId));
  if (ddl.length === 0 && shards.length === 0) return null;
  return { participants: txn.participants, locks: [], ddl, shards };
}

/** A move's id as part of a file name. */
export function safeName(text: string): string {
  return text.replace(/[^A-Za-z0-9_-]/g, '_');
}

/** Sends a file in MoveParts; an empty file is one empty part. */
export async function sendFileParts(path: string, name: string, context: Pick<CallContext, 'send'>): Promise<void> {
  const fd = openSync(path, 'r');
  try {
    for (let offset = 0; ; ) {
      const buffer = Buffer.allocUnsafe(PART);
      const read = readSync(fd, buffer, 0, PART, offset);
      if (read === 0 && offset > 0) return;
      const part: MovePart = { name, offset, bytes: buffer.subarray(0, read) };
      await context.send(part);
      offset += read;
      if (read === 0) return;
    }
  } finally {
    closeSync(fd);
  }
}
