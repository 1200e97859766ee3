import { mkdirSync, readdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { assert, DamsonError, internalError, SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { LogBody, LogRecord, Lsn } from '../../model/log.js';
import type { PairState } from '../../model/topology.js';
import { type LogState, readLogState, writeLogState } from './history.js';
import {
  damaged,
  encodeFileHeader,
  FILE_HEADER,
  findTail,
  listLogFiles,
  logFileName,
  readFileHeader,
  readMark,
  readSpan,
} from './log-files.js';
import { decodeRecord, encodeRecord, FLAG_FILES, filesOf, lengthAt, type RecordFile, recordsIn } from './record.js';
import { TailCache, wholeRecords } from './tail-cache.js';
import type { ChangeLog, TimelineHistory } from './types.js';
import { WaitList } from './wait-list.js';
import { diskError, diskFull, Writer } from './writer.js';
import type { WriterReport } from './writer-thread.js';

export interface ChangeLogOptions {
  /** Made where it does not exist. */
  directory: string;
  logger: Logger;
  /** Size of a file of the log (default 16 MiB). */
  segmentBytes?: number;
  /** Kept on the disk for what is decided already (default 4 MiB). */
  reserveBytes?: number;
  /** Where less is free on its disk, new writes are refused, so that the stores can take what is decided (default 0). */
  minFreeBytes?: number;
  /** Timeline of a log that is made new (default 1). */
  startTimeline?: number;
}

const READ_BLOCK = 1024 * 1024;
const CACHE_BYTES = 8 * 1024 * 1024;
/** A file of the log is closed when the batch files of its records are this many times its size: they can go only with a whole file. */
const BATCHES_PER_FILE = 8;
/** A store takes as much again as a batch file, and others may be on their way. */
const ROOM_FOR_BATCH = 2;
/** What may wait for the disk before new writes are refused. */
const MAX_UNWRITTEN = 512 * 1024 * 1024;
/** Records that begin something. All others say what became of it, and may use the reserve. */
const NEW_WORK: ReadonlySet<LogBody['k']> = new Set(['TXN', 'PREPARE', 'DECISION', 'MOVE_LOAD', 'MOVE_APPLY']);

/** Opens or makes the log in a directory. Its end is found by CRC: a torn tail is cut, damage before it is an error. */
export async function openChangeLog(options: ChangeLogOptions): Promise<ChangeLog> {
  const { directory } = options;
  mkdirSync(join(directory, 'batches'), { recursive: true, mode: 0o700 });
  let state = readLogState(directory);
  if (state === undefined) {
    if (listLogFiles(directory).length > 0) throw new DamsonError(`${directory} holds log files, but no history.json`);
    state = { history: [[options.startTimeline ?? 1, 0]], from: 0, crc: 0 };
    writeLogState(directory, state);
  }
  const log = new Log(options, state);
  await log.recover();
  return log;
}

function bytesOf(files: readonly RecordFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Rows that are deleted and tables that are dropped make room: a full disk does not refuse them. */
function addsRows(body: LogBody): boolean {
  if (!('txn' in body)) return true;
  return body.txn?.shards.some(({ inserted, batches }) => inserted.length + batches.length > 0) ?? false;
}

/** Bytes on their way to the disk, and what the log was before them. */
interface Group {
  op: 'write' | 'roll';
  lsn: Lsn;
  end: Lsn;
  crcBefore: number;
  /** Number of files. */
  files: number;
}

class Log implements ChangeLog {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #segmentBytes: number;
  readonly #minFreeBytes: number;
  readonly #writer: Writer;
  readonly #cache = new TailCache(CACHE_BYTES);
  readonly #durableWaiters = new WaitList();
  readonly #safeWaiters = new WaitList();
  readonly #listeners = new Set<() => void>();
  readonly #pins = new Map<string, Lsn>();
  #state: LogState;
  /** Starts of the files, ascending; the last is written to. */
  #files: Lsn[] = [];
  /** Bytes of the batch files that the records of each file name, by the file's start. */
  readonly #batchBytes = new Map<Lsn, number>();
  #batchBytesTotal = 0;
  #end: Lsn = 0;
  #written: Lsn = 0;
  #durable: Lsn = 0;
  #safe: Lsn = 0;
  #lastCrc = 0;
  #syncs = 0;
  /** Appended in this turn, not yet with the thread. */
  #pending: Buffer[] = [];
  #pendingStart: Lsn = 0;
  #pendingCrc = 0;
  #groups: Group[] = [];
  #generation = 0;
  #full = false;
  #noRoom = false;
  #closed: SqlError | undefined;
  /** undefined: a mirror, or not told yet. */
  #pairState: PairState | undefined;
  #mirrorDurable: Lsn = 0;
  #toldSafe: Lsn = 0;

  constructor(options: ChangeLogOptions, state: LogState) {
    this.#directory = options.directory;
    this.#logger = options.logger;
    this.#segmentBytes = options.segmentBytes ?? 16 * 1024 * 1024;
    this.#state = state;
    const reserveBytes = options.reserveBytes ?? 4 * 1024 * 1024;
    const minFreeBytes = options.minFreeBytes ?? 0;
    this.#minFreeBytes = minFreeBytes;
    this.#writer = new Writer(
      { directory: options.directory, segmentBytes: this.#segmentBytes, reserveBytes, headerBytes: FILE_HEADER, minFreeBytes },
      (report) => this.#onReport(report),
    );
  }

  get timeline(): number {
    return this.#state.history.at(-1)![0];
  }
  get history(): TimelineHistory {
    return this.#state.history.map(([timeline, start]) => [timeline, start]);
  }
  get end(): Lsn {
    return this.#end;
  }
  get written(): Lsn {
    return this.#written;
  }
  get durable(): Lsn {
    return this.#durable;
  }
  get safe(): Lsn {
    return this.#safe;
  }
  get start(): Lsn {
    return this.#files[0] ?? this.#state.from;
  }
  get syncs(): number {
    return this.#syncs;
  }
  refuseFull(batchBytes = 0): void {
    if (this.#full) throw diskFull();
    if (batchBytes === 0 || this.#minFreeBytes === 0) return;
    const { bavail, bsize } = statfsSync(this.#directory);
    if (bavail * bsize < this.#minFreeBytes + ROOM_FOR_BATCH * batchBytes) throw diskFull();
  }
  get batchBytes(): number {
    return this.#batchBytesTotal;
  }

  // Opening.

  async recover(): Promise<void> {
    try {
      if (this.#state.resetting) await this.#remake();
      else await this.#recoverFiles();
      await this.#sweepBatches();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #recoverFiles(): Promise<void> {
    const mark = readMark(join(this.#directory, 'mark'));
    this.#files = listLogFiles(this.#directory);
    const last = this.#files.at(-1);
    // A new file becomes one by its name, after its header is durable; an invalid header is damage.
    if (last === undefined) {
      if (mark !== undefined && mark > this.#state.from) throw damaged(join(this.#directory, logFileName(this.#state.from)), 0);
      await this.#firstFile(this.#state.from, this.#state.crc);
      return;
    }
    const tail = findTail(this.#directory, last, mark, this.#logger);
    this.#writer.order({ op: 'open', path: this.#path(last), start: last, position: tail.end });
    if (tail.dirtyEnd > tail.end) {
      await this.#writer.task({ do: 'cut', from: tail.end, to: tail.dirtyEnd, remove: [] });
    } else {
      // Its answer says that the thread has made durable what was found.
      await this.#writer.task({ do: 'remove', paths: [] });
    }
    this.#moveTo(tail.end, tail.crc);
    this.#safe = this.start;
  }

  /** Batch files that no record refers to: whoever wrote them ended before the record. */
  async #sweepBatches(): Promise<void> {
    const left = new Set(readdirSync(join(this.#directory, 'batches')));
    if (left.size === 0) return;
    try {
      for (const [n, start] of this.#files.entries()) {
        for (const file of await this.#batchesBetween(start, this.#files[n + 1] ?? this.#end)) {
          left.delete(file.name);
          this.#weigh(start, file.bytes);
        }
      }
    } catch (error) {
      this.#logger.error({ directory: this.#directory, err: error }, 'batch files are not swept, because the log cannot be read');
      return;
    }
    if (left.size === 0) return;
    this.#logger.info({ directory: this.#directory, files: left.size }, 'removing batch files that no record refers to');
    await this.#writer.task({ do: 'remove', paths: [...left].map((name) => join(this.#directory, 'batches', name)) });
  }

  async #firstFile(start: Lsn, crc: number): Promise<void> {
    this.#files = [];
    this.#moveTo(start, crc);
    this.#safe = start;
    this.#roll(start, crc);
    await this.#writer.task({ do: 'remove', paths: [] });
    if (this.#files.length === 0) throw diskError({ code: this.#full ? 'ENOSPC' : 'EIO', message: 'no file could be made' });
  }

  #moveTo(end: Lsn, crc: number): void {
    this.#end = this.#written = this.#durable = end;
    this.#lastCrc = crc;
  }

  // Appending.

  append(body: LogBody): { lsn: Lsn; end: Lsn } {
    this.#refuseClosed();
    if (NEW_WORK.has(body.k)) {
      if (this.#noRoom || (this.#full && addsRows(body))) throw diskFull();
      if (this.#end - this.#written > MAX_UNWRITTEN) {
        throw new SqlError('53200', `more than ${MAX_UNWRITTEN} bytes of changes wait for the log's disk`);
      }
    }
    const lsn = this.#end;
    const record = encodeRecord(body, lsn, this.timeline, this.#lastCrc);
    this.#add(record, record.readUInt32BE(4), bytesOf(filesOf(body)));
    return { lsn, end: this.#end };
  }

  appendRaw(lsn: Lsn, bytes: Buffer): void {
    this.#refuseClosed();
    if (lsn !== this.#end) throw internalError(`log bytes for position ${lsn} came when the log ends at ${this.#end}`);
    // All of them are checked before the first is taken.
    const records = [...recordsIn(bytes, lsn, 'what the primary sent')];
    const first = records[0];
    if (first !== undefined && first.crcBefore !== this.#lastCrc) {
      throw internalError(`log bytes for position ${lsn} follow another record than the one before it here`);
    }
    for (const record of records) {
      const files = record.flags & FLAG_FILES ? filesOf(decodeRecord(record).body) : [];
      this.#add(record.bytes, record.crc, bytesOf(files));
    }
  }

  /** @param batchBytes of the files that the record names. */
  #add(record: Buffer, crc: number, batchBytes: number): void {
    const fileStart = this.#files.at(-1)!;
    const full =
      this.#end + record.length - fileStart > this.#segmentBytes ||
      (this.#batchBytes.get(fileStart) ?? 0) + batchBytes > BATCHES_PER_FILE * this.#segmentBytes;
    if (this.#end > fileStart && full) {
      this.#flush();
      this.#roll(this.#end, this.#lastCrc);
    }
    if (batchBytes > 0) this.#weigh(this.#files.at(-1)!, batchBytes);
    if (this.#pending.length === 0) {
      this.#pendingStart = this.#end;
      this.#pendingCrc = this.#lastCrc;
      queueMicrotask(() => this.#flush());
    }
    this.#pending.push(record);
    this.#end += record.length;
    this.#lastCrc = crc;
  }

  #weigh(fileStart: Lsn, bytes: number): void {
    this.#batchBytes.set(fileStart, (this.#batchBytes.get(fileStart) ?? 0) + bytes);
    this.#batchBytesTotal += bytes;
  }

  #roll(start: Lsn, crc: number): void {
    this.#groups.push({
      op: 'roll',
      lsn: start,
      end: start,
      crcBefore: crc,
      files: this.#files.length,
    });
    this.#files.push(start);
    this.#writer.order({
      op: 'roll',
      generation: this.#generation,
      path: this.#path(start),
      start,
      header: encodeFileHeader(start, crc),
    });
  }

  /** Gives the thread what was appended: one copy, in memory that both threads see. */
  #flush(): void {
    if (this.#pending.length === 0) return;
    const lsn = this.#pendingStart;
    const shared = Buffer.from(new SharedArrayBuffer(this.#end - lsn));
    let offset = 0;
    for (const record of this.#pending) offset += record.copy(shared, offset);
    this.#pending = [];
    this.#groups.push({ op: 'write', lsn, end: this.#end, crcBefore: this.#pendingCrc, files: this.#files.length });
    this.#cache.add(lsn, shared);
    this.#writer.order({ op: 'write', generation: this.#generation, lsn, bytes: shared });
    this.#notify();
  }

  // What the thread says.

  #onReport(report: Exclude<WriterReport, { r: 'done' }>): void {
    if (report.r === 'fatal') {
      // After a failed sync nobody knows what the disk holds; only a restart, which reads it, does.
      this.#logger.fatal({ directory: this.#directory }, report.message);
      process.exit(1);
    }
    if (report.r === 'space') {
      const was = this.#full;
      this.#full = report.full;
      this.#noRoom = report.none;
      if (report.full === was) return;
      if (report.full)
        this.#logger.error({ directory: this.#directory }, 'the disk of the change log is full: new writes are refused');
      else this.#logger.info({ directory: this.#directory }, 'the disk of the change log has room');
      return;
    }
    if (report.r === 'failed') {
      this.#onFailed(report);
    } else if (report.r === 'written') {
      this.#written = report.end;
    } else {
      this.#syncs = report.syncs;
      this.#durable = report.end;
      while (this.#groups.length > 0 && this.#groups[0]!.end <= report.end) this.#groups.shift();
      this.#cache.trim(report.end);
      this.#durableWaiters.reached(report.end);
      this.#raise();
    }
    this.#notify();
  }

  /** A write failed before anybody else had its bytes: the log ends where it ended before. */
  #onFailed(report: Extract<WriterReport, { r: 'failed' }>): void {
    this.#flush();
    const group = this.#groups.find(({ op, lsn }) => op === report.op && lsn === report.lsn);
    if (group === undefined || report.generation !== this.#generation) return;
    this.#generation++;
    this.#groups = this.#groups.slice(0, this.#groups.indexOf(group));
    this.#files.length = group.files;
    this.#end = group.lsn;
    this.#lastCrc = group.crcBefore;
    this.#cache.cut(group.lsn);
    const error = diskError(report);
    this.#logger.error({ directory: this.#directory, lsn: group.lsn, code: report.code }, error.message);
    this.#durableWaiters.fail(group.lsn, error);
    this.#safeWaiters.fail(group.lsn, error);
  }

  // Durable and safe.

  waitDurable(end: Lsn): Promise<void> {
    if (end <= this.#durable) return Promise.resolve();
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return this.#durableWaiters.add(end);
  }

  waitSafe(end: Lsn): Promise<void> {
    if (end <= this.#safe) return Promise.resolve();
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return this.#safeWaiters.add(end);
  }

  setPairState(state: PairState): void {
    this.#pairState = state;
    this.#raise();
  }

  becomeMirror(): void {
    this.#pairState = undefined;
    this.#mirrorDurable = 0;
    this.#safeWaiters.fail(this.#safe, new SqlError('57P01', 'this instance is not a primary any more'));
  }

  mirrorDurable(end: Lsn): void {
    this.#mirrorDurable = end;
    this.#raise();
  }

  raiseSafe(lsn: Lsn): void {
    this.#toldSafe = Math.max(this.#toldSafe, lsn);
    this.#raise();
  }

  #raise(): void {
    const own =
      this.#pairState === undefined ? 0 : this.#waitsForMirror() ? Math.min(this.#durable, this.#mirrorDurable) : this.#durable;
    const safe = Math.max(own, Math.min(this.#durable, this.#toldSafe));
    if (safe <= this.#safe) return;
    this.#safe = safe;
    this.#safeWaiters.reached(safe);
    this.#notify();
  }

  #waitsForMirror(): boolean {
    return this.#pairState === 'IN_SYNC' || this.#pairState === 'JOINING';
  }

  onProgress(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }

  // Reading.

  async *read(from: Lsn, upTo?: Lsn): AsyncIterable<LogRecord> {
    this.#flush();
    const bound = Math.min(upTo ?? this.#end, this.#end);
    for (let at = from; at < bound; ) {
      const bytes = await this.#block(at, READ_BLOCK, this.#end);
      if (bytes.length === 0) return;
      for (const record of recordsIn(bytes, at, this.#path(this.#fileOf(at)))) {
        if (record.lsn >= bound) return;
        yield decodeRecord(record);
      }
      at += bytes.length;
    }
  }

  async readRaw(from: Lsn, limit: number): Promise<{ bytes: Buffer; end: Lsn }> {
    const bytes = await this.#block(from, limit, this.#written);
    return { bytes, end: from + bytes.length };
  }

  async crcBefore(end: Lsn): Promise<number> {
    if (end === this.#end) return this.#lastCrc;
    if (end < this.start || end > this.#end) throw new DamsonError(`position ${end} is not in the change log`);
    const fileStart = this.#fileOf(end);
    if (end === fileStart) return readFileHeader(this.#directory, fileStart)!;
    this.#flush();
    for (let at = fileStart; at < end; ) {
      const bytes = await this.#block(at, READ_BLOCK, this.#end);
      if (bytes.length === 0) break;
      for (const record of recordsIn(bytes, at, this.#path(fileStart))) if (record.end === end) return record.crc;
      at += bytes.length;
    }
    throw new DamsonError(`position ${end} is not between two records of the change log`);
  }

  /** Whole records from `from`, below `bound`: from memory, else from the one file that holds `from`. */
  async #block(from: Lsn, limit: number, bound: Lsn): Promise<Buffer> {
    if (from >= bound) return Buffer.alloc(0);
    if (from < this.start) throw new DamsonError(`the change log begins at ${this.start}; position ${from} is gone`);
    const cached = this.#cache.read(from, limit, bound);
    if (cached !== undefined) return cached;
    const at = this.#fileOf(from);
    const fileEnd = Math.min(this.#files.find((start) => start > at) ?? bound, bound, this.#written);
    const path = this.#path(at);
    const offset = FILE_HEADER + from - at;
    let bytes = await readSpan(path, offset, Math.min(Math.max(limit, 4096), fileEnd - from));
    const first = lengthAt(bytes, 0);
    if (first === undefined || first > fileEnd - from) throw damaged(path, offset);
    if (first > bytes.length) bytes = await readSpan(path, offset, first);
    return bytes.subarray(0, wholeRecords(bytes, 0, bytes.length, limit, true));
  }

  #fileOf(lsn: Lsn): Lsn {
    let found = this.#files[0]!;
    for (const start of this.#files) if (start <= lsn) found = start;
    return found;
  }

  #path(start: Lsn): string {
    return join(this.#directory, logFileName(start));
  }

  // Cutting, timelines, recycling.

  async truncateTail(end: Lsn): Promise<void> {
    this.#refuseClosed();
    await this.#settle();
    if (end === this.#end) return;
    assert(end < this.#end, `cut at ${end}, but the log ends at ${this.#end}`);
    if (end < this.#safe) throw new DamsonError(`the log cannot be cut at ${end}: everything below ${this.#safe} is safe`);
    const crc = await this.crcBefore(end);
    const later = this.#files.filter((start) => start > end);
    const from = this.#end;
    this.#files = this.#files.filter((start) => start <= end);
    if (later.length > 0) {
      const last = this.#files.at(-1)!;
      this.#writer.order({ op: 'open', path: this.#path(last), start: last, position: end });
    }
    this.#cache.cut(end);
    this.#moveTo(end, crc);
    await this.#writer.task({ do: 'cut', from: end, to: from, remove: later.reverse().map((start) => this.#path(start)) });
    this.#logger.warn({ directory: this.#directory, from: end, to: from }, 'the tail of the log, never safe, was cut');
    const history = this.#state.history.filter(([, start], n) => n === 0 || start <= end);
    if (history.length < this.#state.history.length) this.#saveState({ ...this.#state, history });
    this.#notify();
  }

  async startTimeline(timeline: number): Promise<void> {
    this.#refuseClosed();
    if (timeline === this.timeline) return;
    assert(timeline > this.timeline, `timeline ${timeline} is not above ${this.timeline}`);
    await this.#settle();
    this.#saveState({ ...this.#state, history: [...this.#state.history, [timeline, this.#end]] });
    this.#logger.info({ directory: this.#directory, timeline, start: this.#end }, 'a new timeline begins');
  }

  adoptHistory(history: TimelineHistory): void {
    this.#refuseClosed();
    if (JSON.stringify(history) !== JSON.stringify(this.#state.history)) this.#saveState({ ...this.#state, history });
  }

  async reset(history: TimelineHistory, from: Lsn, crc = 0): Promise<void> {
    this.#refuseClosed();
    await this.#settle();
    this.#saveState({ history, from, crc, resetting: true });
    await this.#remake();
    this.#notify();
  }

  async #remake(): Promise<void> {
    const batches = join(this.#directory, 'batches');
    const files = listLogFiles(this.#directory).map((start) => this.#path(start));
    await this.#writer.task({ do: 'clear', remove: [...files, batches] });
    mkdirSync(batches, { recursive: true, mode: 0o700 });
    this.#cache.clear();
    this.#batchBytes.clear();
    this.#toldSafe = this.#mirrorDurable = 0;
    const { history, from, crc } = this.#state;
    await this.#firstFile(from, crc);
    this.#saveState({ history, from, crc });
  }

  #saveState(state: LogState): void {
    writeLogState(this.#directory, state);
    this.#state = state;
  }

  async recycle(below: Lsn): Promise<void> {
    this.#refuseClosed();
    const batches = new Map<Lsn, string[]>();
    for (const start of this.#droppable(below)) {
      const files = await this.#batchesBetween(start, this.#files.find((next) => next > start)!);
      batches.set(
        start,
        files.map(({ name }) => name),
      );
    }
    // A pin may have come meanwhile; from here on none can: the log's start moves now.
    const dropped = this.#droppable(below).filter((start) => batches.has(start));
    if (dropped.length === 0) return;
    this.#files = this.#files.slice(dropped.length);
    for (const start of dropped) this.#batchBytes.delete(start);
    // Batch files die with their records, and before them, so that none is left without.
    const names = dropped.flatMap((start) => batches.get(start)!);
    await this.#writer.task({ do: 'remove', paths: names.map((name) => this.batchPath(name)) });
    await this.#writer.task({ do: 'remove', paths: dropped.map((start) => this.#path(start)) });
  }

  /** Starts of the files, oldest first, that hold nothing from the limit on. The file that is written to stays. */
  #droppable(below: Lsn): Lsn[] {
    const limit = Math.min(below, this.#safe, ...this.#pins.values());
    return this.#files.filter((_, n) => n + 1 < this.#files.length && this.#files[n + 1]! <= limit);
  }

  newest(logBytes: number, batchBytes: number): Lsn {
    let from = this.#end;
    let batches = 0;
    for (const start of [...this.#files].reverse()) {
      batches += this.#batchBytes.get(start) ?? 0;
      if (this.#end - start > logBytes || batches > batchBytes) break;
      from = start;
    }
    return from;
  }

  /** The batch files that the records between two positions refer to. */
  async #batchesBetween(from: Lsn, end: Lsn): Promise<RecordFile[]> {
    const files: RecordFile[] = [];
    for (let at = from; at < end; ) {
      const bytes = await this.#block(at, READ_BLOCK, end);
      for (const record of recordsIn(bytes, at, this.#path(this.#fileOf(at)))) {
        if (record.flags & FLAG_FILES) files.push(...filesOf(decodeRecord(record).body));
      }
      at += bytes.length;
    }
    return files;
  }

  pin(name: string, lsn: Lsn): void {
    if (lsn < this.start) throw new DamsonError(`the change log begins at ${this.start}; position ${lsn} is gone`);
    this.#pins.set(name, lsn);
  }

  unpin(name: string): void {
    this.#pins.delete(name);
  }

  // Batch files and the disk.

  batchPath(name: string): string {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) throw internalError(`"${name}" is not a name of a batch file`);
    return join(this.#directory, 'batches', name);
  }

  async syncBatch(name: string): Promise<void> {
    await this.#writer.task({ do: 'sync', path: this.batchPath(name), directory: join(this.#directory, 'batches') });
  }

  removeBatch(name: string): void {
    this.#writer.task({ do: 'remove', paths: [this.batchPath(name)] }).catch((error: Error) => {
      if (this.#closed === undefined) this.#logger.warn({ name, err: error }, 'a batch file could not be removed');
    });
  }

  async checkDisk(): Promise<number> {
    return (await this.#writer.task({ do: 'disk', path: join(this.#directory, 'disk-check') }))!;
  }

  async close(): Promise<void> {
    if (this.#closed !== undefined) return;
    this.#flush();
    this.#closed = new SqlError('57P01', 'the change log is closed');
    // Answered after all that was appended is durable.
    await this.#writer.task({ do: 'close' }).catch(() => {});
    this.#durableWaiters.fail(-1, this.#closed);
    this.#safeWaiters.fail(-1, this.#closed);
    this.#listeners.clear();
  }

  /** Until all that was appended is durable. */
  async #settle(): Promise<void> {
    this.#flush();
    await this.waitDurable(this.#end);
  }

  #refuseClosed(): void {
    if (this.#closed !== undefined) throw this.#closed;
  }
}
