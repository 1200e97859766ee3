import type { Clock } from '../../core/clock.js';
import type { Lsn } from '../../model/log.js';
import type { RpcClient } from '../../rpc/types.js';
import { decodeRecord, FLAG_FILES, filesOf, type RecordFile, recordsIn } from '../changelog/record.js';
import type { ChangeLog } from '../changelog/types.js';
import { sendFile } from './send-files.js';
import { callPeer, PART_BYTES } from './types.js';

/** What may be on its way unanswered. */
const MAX_APPENDS = 16;
const MAX_BYTES = 8 * 1024 * 1024;
/** Batch files on their way at once: while the mirror makes one durable, the next comes. */
const FILES_AHEAD = 4;
/** Safe is told with the next records, or alone after this time. */
const TELL_SAFE_MS = 3;
const HEARTBEAT_MS = 1000;

/** What is told at each answer. */
export interface StreamProgress {
  durable: Lsn;
  applied: Lsn;
  /** The mirror has what the primary had when it sent. */
  caughtUp: boolean;
}

/**
 * Streams the log to a mirror over one connection: records as soon as they are written, several appends at once, each batch
 * file before the records that refer to it.
 */
export class LogStream {
  readonly #client: RpcClient;
  readonly #log: ChangeLog;
  readonly #clock: Clock;
  readonly #onProgress: (progress: StreamProgress) => void;
  readonly #timeline: number;
  /** Batch files that the mirror has, or is being sent. Forgotten when their records are. */
  readonly #sent = new Map<string, Promise<void>>();
  /** Everything below has been sent. */
  #position: Lsn;
  #pumping = false;
  #stopped = false;
  #appends = 0;
  #bytes = 0;
  #toldSafe = -1;
  #tellTimer: ReturnType<typeof setTimeout> | undefined;
  /** Since when nothing has come back of what was sent or waits. */
  #waitingSince: number;
  #fail!: (error: unknown) => void;

  constructor(client: RpcClient, log: ChangeLog, from: Lsn, clock: Clock, onProgress: (progress: StreamProgress) => void) {
    this.#client = client;
    this.#log = log;
    this.#position = from;
    this.#clock = clock;
    this.#onProgress = onProgress;
    this.#timeline = log.timeline;
    this.#waitingSince = clock.monotonicMs();
  }

  /** Streams until something fails, which it rejects with. */
  async run(): Promise<never> {
    const failed = new Promise<never>((_, reject) => {
      this.#fail = (error) => {
        this.#stopped = true;
        reject(error);
      };
    });
    this.#client.onClose(this.#fail);
    const unsubscribe = this.#log.onProgress(() => this.#pump());
    const heartbeat = setInterval(() => {
      if (this.#appends === 0 && !this.#pumping) this.#send(EMPTY);
    }, HEARTBEAT_MS);
    try {
      // The first one makes the mirror take over the history, and tells safe.
      this.#send(EMPTY);
      this.#pump();
      return await failed;
    } finally {
      this.#stopped = true;
      unsubscribe();
      clearInterval(heartbeat);
      clearTimeout(this.#tellTimer);
    }
  }

  /** How long the mirror has answered nothing of what it should. */
  get stalledMs(): number {
    const waits = this.#appends > 0 || this.#position < this.#log.written;
    return waits ? this.#clock.monotonicMs() - this.#waitingSince : 0;
  }

  /** Makes batch files durable on the mirror before a record refers to them. */
  async ship(files: readonly RecordFile[]): Promise<void> {
    const under: Promise<void>[] = [];
    for (const file of files) {
      under.push(this.#shipOne(file));
      if (under.length >= FILES_AHEAD) await under.shift();
    }
    await Promise.all(under);
  }

  #pump(): void {
    if (this.#pumping || this.#stopped) return;
    if (this.#position >= this.#log.written) {
      this.#tellSafeSoon();
      return;
    }
    if (this.#appends === 0) this.#waitingSince = this.#clock.monotonicMs();
    this.#pumping = true;
    this.#sendAll()
      .catch(this.#fail)
      .finally(() => {
        this.#pumping = false;
        // What was appended between the last look and now.
        if (!this.#stopped && this.#mayGoOn()) this.#pump();
        else this.#tellSafeSoon();
      });
  }

  async #sendAll(): Promise<void> {
    while (!this.#stopped && this.#mayGoOn()) {
      const { bytes, end } = await this.#log.readRaw(this.#position, PART_BYTES);
      for (const record of recordsIn(bytes, this.#position)) {
        if (record.flags & FLAG_FILES) await this.ship(filesOf(decodeRecord(record).body));
      }
      if (this.#stopped) return;
      this.#send(bytes);
      this.#position = end;
    }
  }

  #mayGoOn(): boolean {
    return this.#position < this.#log.written && this.#appends < MAX_APPENDS && this.#bytes < MAX_BYTES;
  }

  #send(bytes: Buffer): void {
    const { safe, written } = this.#log;
    if (this.#appends === 0 && this.#position >= written) this.#waitingSince = this.#clock.monotonicMs();
    this.#appends++;
    this.#bytes += bytes.length;
    this.#toldSafe = safe;
    callPeer(this.#client, 'replAppend', { timeline: this.#timeline, lsn: this.#position, bytes, safe }).then((answer) => {
      this.#appends--;
      this.#bytes -= bytes.length;
      if (this.#stopped) return;
      this.#waitingSince = this.#clock.monotonicMs();
      this.#onProgress({ ...answer, caughtUp: answer.durable >= written });
      this.#pump();
    }, this.#fail);
  }

  #tellSafeSoon(): void {
    if (this.#tellTimer !== undefined || this.#stopped || this.#log.safe <= this.#toldSafe) return;
    this.#tellTimer = setTimeout(() => {
      this.#tellTimer = undefined;
      if (!this.#stopped && !this.#pumping && this.#log.safe > this.#toldSafe && this.#position >= this.#log.written)
        this.#send(EMPTY);
    }, TELL_SAFE_MS);
  }

  #shipOne(file: RecordFile): Promise<void> {
    let shipping = this.#sent.get(file.name);
    if (shipping === undefined) {
      shipping = sendFile(this.#log.batchPath(file.name), file.bytes, async (part) => {
        await callPeer(this.#client, 'replBatch', {
          timeline: this.#timeline,
          name: file.name,
          checksum: file.checksum,
          ...part,
        });
        this.#waitingSince = this.#clock.monotonicMs();
      });
      shipping.catch(() => this.#sent.delete(file.name));
      this.#sent.set(file.name, shipping);
      if (this.#sent.size > MAX_REMEMBERED) this.#sent.delete(this.#sent.keys().next().value!);
    }
    return shipping;
  }
}

const EMPTY = Buffer.alloc(0);
/** Names of sent batch files; one that is forgotten and needed again is sent again. */
const MAX_REMEMBERED = 4096;
