/** Target of a shard move (protocols, section 9): installs the snapshot, then applies what the source has decided since. */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, existsSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { DamsonError, internalError } from '../../core/errors.js';
import type { BatchRef, Lsn, MoveFile, ShardChanges, TxnBody } from '../../model/log.js';
import type { MovePart, SegmentMethods } from '../../model/task.js';
import type { CallContext } from '../../rpc/types.js';
import { appendAndPublish, type Core, touchedBy } from './core.js';
import { safeName } from './moves.js';

/** Content above this is a file of its own here: it must not sit in log records. */
const INLINE_LIMIT = 256 * 1024;

type In<M extends keyof SegmentMethods> = SegmentMethods[M]['in'];
type Out<M extends keyof SegmentMethods> = SegmentMethods[M]['out'];
type Shapes = Out<'moveCopy'>;

export class MoveTarget {
  /** The last call for each set: a call whose caller has gone may still be at work when the next one comes. */
  private readonly turns = new Map<string, Promise<unknown>>();
  private loads = 0;

  constructor(private readonly core: Core) {}

  /** One call at a time for each set. One whose caller has gone meanwhile changes nothing: its place may have been taken. */
  private async inTurn<T>(setKey: string, work: () => Promise<T>): Promise<T> {
    const before = this.turns.get(setKey);
    const mine = before === undefined ? work() : before.then(work);
    const ended = mine.then(
      () => undefined,
      () => undefined,
    );
    this.turns.set(setKey, ended);
    try {
      return await mine;
    } finally {
      if (this.turns.get(setKey) === ended) this.turns.delete(setKey);
    }
  }

  /** Parts: the files as MoveParts, and, first or last, the result of the source's `moveCopy` (the shapes). */
  async load(body: In<'moveLoad'>, context: CallContext): Promise<Out<'moveLoad'>> {
    const { core } = this;
    const prefix = `load-${safeName(body.move)}-${core.log.end}-${++this.loads}-`;
    let shapes: Shapes | undefined;
    const names = new Set<string>();
    const writer = new FileWriter((name) => {
      const own = `${prefix}${safeFile(name)}`;
      names.add(own);
      return core.log.batchPath(own);
    });
    try {
      for await (const part of context.parts) {
        if (isShapes(part)) shapes = part;
        else writer.write(part as MovePart);
      }
      if (shapes === undefined) throw internalError('a set was sent without its shapes');
      const arrived = shapes;
      return await this.inTurn(body.setKey, () => this.install(body, arrived, prefix, context));
    } catch (error) {
      // No record names them, unless it is the publication that failed.
      const files = core.batches.files();
      for (const name of names) if (existsSync(core.log.batchPath(name))) files.removeBatch(name);
      throw error;
    } finally {
      writer.close();
    }
  }

  private async install(
    { move, setKey, source }: In<'moveLoad'>,
    shapes: Shapes,
    prefix: string,
    context: CallContext,
  ): Promise<Out<'moveLoad'>> {
    const { core } = this;
    const files: MoveFile[] = [];
    for (const file of shapes.files) {
      const name = `${prefix}${safeFile(file.name)}`;
      await this.settle(name, file.checksum);
      files.push({ ...file, name });
    }
    await core.shipBatches(files.map((file) => refOfFile(file)));
    const { lsn, shards, nextRids } = shapes;
    context.signal.throwIfAborted();
    const { published } = appendAndPublish(
      core,
      { k: 'MOVE_LOAD', move, setKey, src: { content: source, lsn }, shards, nextRids, files },
      {
        heapSets: new Set([setKey]),
        columnar: true,
        publish: (at) =>
          core.stores.importSet(at, setKey, shards, nextRids, files, (name) => core.log.batchPath(name), {
            content: source,
            lsn,
          }),
      },
    );
    await published;
    return {};
  }

  /** Durable here, and what was sent. */
  private async settle(name: string, checksum: string): Promise<void> {
    const { log } = this.core;
    await log.syncBatch(name);
    const found = await sha256(log.batchPath(name));
    if (found !== checksum) throw new DamsonError(`file ${name} arrived damaged`, { hint: 'The move is tried again.' });
  }

  async apply(body: In<'moveApply'>, context: CallContext): Promise<Out<'moveApply'>> {
    if (body.files === true) await this.receiveBatches(body.move, context);
    return this.inTurn(body.setKey, () => this.applyAll(body, context));
  }

  private async applyAll({ move, setKey, source, txns, upTo }: In<'moveApply'>, context: CallContext): Promise<Out<'moveApply'>> {
    const { core } = this;
    let last: Promise<void> | undefined;
    let reached = core.stores.moveSource(setKey)?.lsn ?? -1;
    for (const { lsn, txn } of txns) {
      if (lsn <= reached) continue;
      const own = await this.settled(move, txn);
      context.signal.throwIfAborted();
      last = this.append(move, setKey, { content: source, lsn }, own);
      reached = lsn;
    }
    context.signal.throwIfAborted();
    // Records of the source that did not concern the set: its position goes on all the same.
    if (upTo > reached) {
      last = this.append(move, setKey, { content: source, lsn: upTo }, { participants: [], locks: [], ddl: [], shards: [] });
      reached = upTo;
    }
    await last;
    if (last !== undefined) await core.stores.flush();
    return { src: reached };
  }

  private append(move: string, setKey: string, src: { content: number; lsn: Lsn }, txn: TxnBody): Promise<void> {
    const { core } = this;
    const touched = touchedBy(core.stores, txn);
    const { published } = appendAndPublish(
      core,
      { k: 'MOVE_APPLY', move, setKey, src, txn },
      {
        ...touched,
        publish: (lsn) => core.stores.applyMoved(lsn, setKey, src, txn),
      },
    );
    return published;
  }

  private async receiveBatches(move: string, context: CallContext): Promise<void> {
    const writer = new FileWriter((name) => this.core.log.batchPath(batchName(move, name)));
    try {
      for await (const part of context.parts) writer.write(part as MovePart);
    } finally {
      writer.close();
    }
  }

  /** The transaction with its larger batches as files of this instance, durable on the pair. */
  private async settled(move: string, txn: TxnBody): Promise<TxnBody> {
    const shards: ShardChanges[] = [];
    const ship: BatchRef[] = [];
    for (const changes of txn.shards) {
      const batches: BatchRef[] = [];
      for (const ref of changes.batches) {
        if (ref.inline !== undefined && ref.inline.length <= INLINE_LIMIT) {
          batches.push(ref);
          continue;
        }
        const own = await this.ownBatch(move, ref);
        batches.push(own);
        ship.push(own);
      }
      shards.push({ ...changes, batches });
    }
    if (ship.length > 0) await this.core.shipBatches(ship);
    return { ...txn, shards };
  }

  private async ownBatch(move: string, ref: BatchRef): Promise<BatchRef> {
    const { inline, ...rest } = ref;
    const name = batchName(move, ref.name);
    if (inline !== undefined) {
      const writer = new FileWriter(() => this.core.log.batchPath(name));
      writer.write({ name, offset: 0, bytes: inline });
      writer.close();
    }
    await this.settle(name, ref.checksum);
    return { ...rest, name };
  }
}

function batchName(move: string, name: string): string {
  return `apply-${safeName(move)}-${safeFile(name)}`;
}

/** A file's name with its extension, and nothing that leads out of the directory. */
function safeFile(name: string): string {
  return name.replace(/[^A-Za-z0-9_.-]/g, '_').replace(/^\.+/, '_');
}

export function refOfFile(file: MoveFile): BatchRef {
  return {
    name: file.name,
    format: file.kind === 'parquet' ? 'parquet' : 'rows',
    rows: file.rows ?? 0,
    bytes: file.bytes,
    checksum: file.checksum,
  };
}

function isShapes(part: unknown): part is Shapes {
  return typeof part === 'object' && part !== null && 'files' in part && 'shards' in part;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Writes files that come in parts, one after another or mixed. */
class FileWriter {
  private readonly open = new Map<string, number>();

  constructor(private readonly pathOf: (name: string) => string) {}

  write(part: MovePart): void {
    let fd = this.open.get(part.name);
    if (fd === undefined) {
      const path = this.pathOf(part.name);
      mkdirSync(dirname(path), { recursive: true });
      fd = openSync(path, 'w', 0o600);
      this.open.set(part.name, fd);
    }
    for (let done = 0; done < part.bytes.length; ) {
      done += writeSync(fd, part.bytes, done, part.bytes.length - done, part.offset + done);
    }
  }

  close(): void {
    for (const fd of this.open.values()) closeSync(fd);
    this.open.clear();
  }
}
