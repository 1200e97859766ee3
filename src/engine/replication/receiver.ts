import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { internalError, SqlError } from '../../core/errors.js';
import { readJson, syncDirectory, writeFileAtomic } from '../../core/files.js';
import type { Logger } from '../../core/log.js';
import type { Lsn } from '../../model/log.js';
import type { ReplicationMethods } from '../../model/task.js';
import type { CallContext, Handlers, ServerConnection } from '../../rpc/types.js';
import type { ChangeLog, TimelineHistory } from '../changelog/types.js';
import type { Stores } from '../store/types.js';
import { ReceivedFiles } from './receive-files.js';

export interface MirrorOptions {
  log: ChangeLog;
  logger: Logger;
  /** Throws where this instance takes no replication of that timeline: it is a primary, or was told of a higher one. */
  check(timeline: number): void;
  /** Highest position that any store has applied. */
  applied(): Lsn;
  /** Safe has risen: records below it may be applied. Also called where it has not. */
  onSafe(lsn: Lsn): void;
  /** Full recovery. `directory`: for its files and its mark; nothing else may be in it. */
  recovery: {
    stores: Stores;
    directory: string;
    /** Stops applying, before stores and log are made anew. */
    beforeReset(): Promise<void>;
    /** Everything has arrived: applying goes on in the log at `from`; stores skip what they have. */
    afterReset(from: Lsn): Promise<void> | void;
    /** What the primary exports beside shard stores. */
    importState?(lsn: Lsn, bytes: Buffer): Promise<void>;
  };
}

/** Handlers of ReplicationMethods: a mirror's side. One connection at a time replicates, the one that said hello last. */
export function mirrorHandlers(options: MirrorOptions): Handlers {
  const receiver = new Receiver(options);
  const methods: { [M in keyof ReplicationMethods]: (body: ReplicationMethods[M]['in'], context: CallContext) => unknown } = {
    replHello: (body, { connection }) => receiver.hello(body, connection),
    replAppend: (body, { connection }) => receiver.append(body, connection),
    replBatch: (body, { connection }) => receiver.batch(body, connection),
    replCut: (body, { connection }) => receiver.cut(body, connection),
    replReset: (body, { connection }) => receiver.reset(body, connection),
    replFile: (body, { connection }) => receiver.file(body, connection),
    replState: (body, { connection }) => receiver.state(body, connection),
    replDone: (body, { connection }) => receiver.done(body, connection),
  };
  return methods as Handlers;
}

/** How far a full recovery is; kept in a file until the log has caught up with what it brought. */
interface RecoveryMark {
  incomplete: boolean;
  imported: Lsn;
}

class Receiver {
  readonly #options: MirrorOptions;
  readonly #log: ChangeLog;
  readonly #markPath: string;
  #mark: RecoveryMark | undefined;
  #connection: ServerConnection | undefined;
  /** The primary's, not yet taken over. */
  #history: TimelineHistory | undefined;
  #files = new ReceivedFiles();

  constructor(options: MirrorOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#markPath = join(options.recovery.directory, 'recovery.json');
    this.#mark = readJson<RecoveryMark>(this.#markPath);
  }

  hello(
    body: ReplicationMethods['replHello']['in'],
    connection: ServerConnection,
  ): Promise<ReplicationMethods['replHello']['out']> {
    this.#checkTimeline(body.timeline);
    if (this.#connection !== connection) {
      this.#files.close();
      connection.onClose(() => {
        if (this.#connection !== connection) return;
        this.#connection = undefined;
        this.#files.close();
      });
    }
    this.#connection = connection;
    this.#history = body.history;
    const log = this.#log;
    // What an earlier connection brought is on its way to the disk: the answer tells a position that is durable.
    const end = log.end;
    return log.waitDurable(end).then(async () => ({
      end: log.end,
      timeline: log.timeline,
      history: log.history,
      applied: this.#options.applied(),
      lastCrc: await log.crcBefore(log.end),
      incomplete: this.#mark?.incomplete ?? false,
      imported: this.#mark?.imported ?? 0,
    }));
  }

  /** Appends before anything else happens, so that the log has the order of the calls. */
  append(
    body: ReplicationMethods['replAppend']['in'],
    connection: ServerConnection,
  ): Promise<ReplicationMethods['replAppend']['out']> {
    this.#check(body.timeline, connection);
    const log = this.#log;
    if (this.#mark?.incomplete) throw internalError('log came before the full recovery was finished');
    if (body.lsn !== log.end) throw internalError(`log bytes for position ${body.lsn} came when the log ends at ${log.end}`);
    // From here on this log is a continuation of the primary's.
    if (this.#history !== undefined) log.adoptHistory(this.#history);
    this.#history = undefined;
    if (body.bytes.length > 0) log.appendRaw(body.lsn, body.bytes);
    log.raiseSafe(body.safe);
    this.#options.onSafe(log.safe);
    return log.waitDurable(log.end).then(() => {
      this.#options.onSafe(log.safe);
      if (this.#mark !== undefined && log.durable >= this.#mark.imported) this.#setMark(undefined);
      return { durable: log.durable, applied: this.#options.applied() };
    });
  }

  async batch(body: ReplicationMethods['replBatch']['in'], connection: ServerConnection): Promise<Record<string, never>> {
    this.#check(body.timeline, connection);
    const path = this.#log.batchPath(body.name);
    this.#files.write(path, body.offset, body.bytes);
    if (body.last) {
      this.#files.finish(path, body.checksum);
      await this.#log.syncBatch(body.name);
    }
    return {};
  }

  async cut(body: ReplicationMethods['replCut']['in'], connection: ServerConnection): Promise<Record<string, never>> {
    this.#check(body.timeline, connection);
    this.#options.logger.warn({ end: this.#log.end, to: body.end }, 'the primary cuts what was never safe');
    await this.#log.truncateTail(body.end);
    return {};
  }

  // Full recovery.

  async reset(body: ReplicationMethods['replReset']['in'], connection: ServerConnection): Promise<Record<string, never>> {
    this.#check(body.timeline, connection);
    const { recovery, logger } = this.#options;
    logger.warn({ from: body.from }, 'full recovery: stores and log are made anew');
    await recovery.beforeReset();
    // From now on until `done` nothing here is worth anything, whatever happens.
    this.#setMark({ incomplete: true, imported: 0 });
    rmSync(this.#filesDirectory(), { recursive: true, force: true });
    await recovery.stores.wipe();
    await this.#log.reset(body.history, body.from, body.crc);
    this.#history = undefined;
    return {};
  }

  async file(body: ReplicationMethods['replFile']['in'], connection: ServerConnection): Promise<Record<string, never>> {
    this.#check(body.timeline, connection);
    this.#checkRecovering();
    if (body.part !== null) this.#files.write(this.#filePath(body.part.name), body.part.offset, body.part.bytes);
    if (!body.last) return {};
    for (const { name, checksum } of body.files) this.#files.finish(this.#filePath(name), checksum);
    const { stores } = this.#options.recovery;
    await stores.importSet(body.applied, body.setKey, body.shards, body.nextRids, body.files, (name) => this.#filePath(name));
    rmSync(this.#filesDirectory(), { recursive: true, force: true });
    return {};
  }

  async state(body: ReplicationMethods['replState']['in'], connection: ServerConnection): Promise<Record<string, never>> {
    this.#check(body.timeline, connection);
    this.#checkRecovering();
    const { importState } = this.#options.recovery;
    if (importState === undefined) throw internalError('the primary sends a state that this instance does not hold');
    await importState(body.lsn, body.bytes);
    return {};
  }

  async done(body: ReplicationMethods['replDone']['in'], connection: ServerConnection): Promise<Record<string, never>> {
    this.#check(body.timeline, connection);
    this.#checkRecovering();
    this.#setMark({ incomplete: false, imported: body.imported });
    await this.#options.recovery.afterReset(this.#log.start);
    this.#options.logger.info({ from: this.#log.start, imported: body.imported }, 'full recovery: the stores are here');
    return {};
  }

  #check(timeline: number, connection: ServerConnection): void {
    if (connection !== this.#connection) throw new SqlError('55000', 'another connection replicates to this mirror');
    this.#checkTimeline(timeline);
  }

  #checkTimeline(timeline: number): void {
    if (timeline < this.#log.timeline) {
      throw new SqlError('55000', `this instance is at timeline ${this.#log.timeline} and takes no log of timeline ${timeline}`, {
        hint: 'The sender was a primary once; another instance has been promoted since.',
      });
    }
    this.#options.check(timeline);
  }

  #checkRecovering(): void {
    if (!this.#mark?.incomplete) throw internalError('a file of a full recovery came outside of one');
  }

  #setMark(mark: RecoveryMark | undefined): void {
    const { directory } = this.#options.recovery;
    if (mark !== undefined) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      writeFileAtomic(this.#markPath, JSON.stringify(mark));
    } else if (existsSync(this.#markPath)) {
      rmSync(this.#markPath);
      syncDirectory(directory);
    }
    this.#mark = mark;
  }

  #filesDirectory(): string {
    return join(this.#options.recovery.directory, 'files');
  }

  #filePath(name: string): string {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw internalError(`"${name}" is not a name of a file of a recovery`);
    return join(this.#filesDirectory(), name);
  }
}
