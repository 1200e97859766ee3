import { type Clock, systemClock } from '../../core/clock.js';
import { SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { Lsn } from '../../model/log.js';
import { connectRpc } from '../../rpc/client.js';
import { ConnectionLost } from '../../rpc/errors.js';
import { socketPath } from '../../rpc/sockets.js';
import type { RpcClient } from '../../rpc/types.js';
import type { RecordFile } from '../changelog/record.js';
import type { ChangeLog } from '../changelog/types.js';
import { hello, negotiate, type PairIdentity } from './position.js';
import { fullResync, type ResyncSource } from './resync.js';
import { LogStream } from './stream.js';

export interface MirrorPeer {
  dbid: number;
  address: string;
  port: number;
  datadir: string;
}

export interface SenderOptions extends PairIdentity {
  log: ChangeLog;
  logger: Logger;
  clock?: Clock;
  /** How far the log is kept for a mirror that is away (default 1 GiB); beyond it needs a full recovery. */
  retentionBytes?: number;
}

export interface MirrorStatus {
  dbid: number;
  connected: boolean;
  durable: Lsn;
  applied: Lsn;
  /** How long nothing has come back of what the mirror should have answered; since the connection went, where it has. */
  stalledMs: number;
}

const FIRST_DELAY_MS = 50;
const MAX_DELAY_MS = 1000;
const PIN = 'mirror';

/** A primary's side of its pair: connects to the mirror, brings it to the common position, streams, and connects again. */
export class MirrorSender {
  readonly #options: SenderOptions;
  readonly #clock: Clock;
  #attached: Attachment | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Begins to send to this mirror. Idempotent; another one takes the place of the one before. */
  attach(peer: MirrorPeer): void {
    const before = this.#attached;
    if (before !== undefined && JSON.stringify(before.peer) === JSON.stringify(peer)) return;
    before?.stop();
    this.#attached = new Attachment(this.#options, this.#clock, peer);
  }

  /** Sends no more, and holds no log back. */
  async detach(): Promise<void> {
    const before = this.#attached;
    this.#attached = undefined;
    before?.stop();
    this.#options.log.unpin(PIN);
    await before?.ended;
  }

  /** null: no mirror is attached. */
  status(): MirrorStatus | null {
    return this.#attached?.status() ?? null;
  }

  /** Why the mirror cannot go on by log; undefined where it can, or is not known. */
  get needsFullResync(): string | undefined {
    return this.#attached?.needsFull;
  }

  /** What keeps the mirror from being streamed to, for people; undefined: nothing. */
  get problem(): string | undefined {
    return this.#attached?.problem;
  }

  /** The mirror was durable up to what the primary had written when it sent, at the last answer on this connection. */
  caughtUp(): boolean {
    return this.#attached?.caughtUp ?? false;
  }

  /** Makes batch files durable on a connected mirror, ahead of their records (which bring them otherwise). */
  async ship(files: readonly RecordFile[]): Promise<void> {
    await this.#attached?.ship(files);
  }

  /** Makes the mirror anew from this instance's stores, then streams from there. Rejects where it was interrupted. */
  fullResync(source: ResyncSource): Promise<void> {
    if (this.#attached === undefined) return Promise.reject(new SqlError('55000', 'there is no mirror to recover'));
    return this.#attached.fullResync(source);
  }

  close(): Promise<void> {
    return this.detach();
  }
}

/** One peer, until it is detached. */
class Attachment {
  readonly peer: MirrorPeer;
  readonly ended: Promise<void>;
  needsFull: string | undefined;
  caughtUp = false;
  readonly #options: SenderOptions;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  #wake = new AbortController();
  #client: RpcClient | undefined;
  #stream: LogStream | undefined;
  #durable: Lsn = 0;
  #applied: Lsn = 0;
  #awaySince: number;
  /** The log is kept from here; undefined: the mirror has been away for too long. */
  #kept: Lsn | undefined;
  problem: string | undefined;
  #recovery: { source: ResyncSource; resolve: () => void; reject: (error: unknown) => void } | undefined;
  readonly #unsubscribe: () => void;

  constructor(options: SenderOptions, clock: Clock, peer: MirrorPeer) {
    this.#options = options;
    this.#clock = clock;
    this.peer = peer;
    this.#awaySince = clock.monotonicMs();
    // Where the mirror stands is not known yet: everything is kept for it.
    this.#pin(options.log.start);
    options.log.mirrorDurable(0);
    this.#unsubscribe = options.log.onProgress(() => this.#limitRetention());
    this.ended = this.#run();
  }

  stop(): void {
    if (this.#stop.signal.aborted) return;
    this.#unsubscribe();
    this.#stop.abort(new ConnectionLost('the mirror was detached'));
    this.#wake.abort();
    this.#client?.close();
  }

  status(): MirrorStatus {
    return {
      dbid: this.peer.dbid,
      connected: this.#stream !== undefined,
      durable: this.#durable,
      applied: this.#applied,
      stalledMs: this.#stream?.stalledMs ?? this.#clock.monotonicMs() - this.#awaySince,
    };
  }

  async ship(files: readonly RecordFile[]): Promise<void> {
    try {
      await this.#stream?.ship(files);
    } catch (error) {
      // The records will bring them, on this connection or the next.
      this.#options.logger.debug({ err: error }, 'batch files could not be sent ahead');
    }
  }

  fullResync(source: ResyncSource): Promise<void> {
    if (this.#stop.signal.aborted) return Promise.reject(this.#stop.signal.reason);
    if (this.#recovery !== undefined) return Promise.reject(new SqlError('55000', 'a full recovery of this mirror is running'));
    return new Promise((resolve, reject) => {
      this.#recovery = { source, resolve, reject };
      this.#wake.abort();
      this.#client?.close();
    });
  }

  async #run(): Promise<void> {
    let delay = FIRST_DELAY_MS;
    while (!this.#stop.signal.aborted) {
      this.#wake = new AbortController();
      try {
        await this.#serve(() => {
          delay = FIRST_DELAY_MS;
        });
        delay = MAX_DELAY_MS;
      } catch (error) {
        this.#complain(error instanceof Error ? error.message : String(error));
      }
      if (this.#recovery === undefined) await this.#clock.sleep(delay, this.#wake.signal).catch(() => {});
      delay = Math.min(MAX_DELAY_MS, delay * 2);
    }
    this.#recovery?.reject(this.#stop.signal.reason);
  }

  /** One connection. Returns where the mirror cannot go on by log. */
  async #serve(onStreaming: () => void): Promise<void> {
    const recovery = this.#recovery;
    try {
      const client = await connectRpc(socketPath(this.peer.datadir), { name: `mirror ${this.peer.dbid}` });
      this.#client = client;
      if (this.#stop.signal.aborted) return;
      if (recovery !== undefined) await this.#recover(client, recovery);
      const position = await negotiate(client, this.#options.log, this.#options);
      if ('full' in position) {
        this.needsFull = position.full;
        this.#complain(`the mirror needs a full recovery: ${position.full}`);
        return;
      }
      onStreaming();
      await this.#streamFrom(client, position.from);
    } catch (error) {
      if (recovery !== undefined && this.#recovery === recovery) this.#settle((waiting) => waiting.reject(error));
      throw error;
    } finally {
      if (this.#stream !== undefined) this.#awaySince = this.#clock.monotonicMs() - this.#stream.stalledMs;
      this.#stream = undefined;
      this.caughtUp = false;
      this.#client?.close();
      this.#client = undefined;
    }
  }

  async #recover(client: RpcClient, recovery: { source: ResyncSource }): Promise<void> {
    const { log, logger } = this.#options;
    await hello(client, log, this.#options);
    logger.info({ mirror: this.peer.dbid }, 'full recovery begins');
    const from = await fullResync(client, log, recovery.source);
    this.#pin(from);
    this.needsFull = undefined;
    this.#settle((waiting) => waiting.resolve());
  }

  #settle(how: (waiting: { resolve: () => void; reject: (error: unknown) => void }) => void): void {
    const waiting = this.#recovery;
    this.#recovery = undefined;
    if (waiting !== undefined) how(waiting);
  }

  async #streamFrom(client: RpcClient, from: Lsn): Promise<void> {
    const { log, logger } = this.#options;
    this.needsFull = undefined;
    this.problem = undefined;
    this.#durable = from;
    this.#pin(from);
    log.mirrorDurable(from);
    logger.info({ mirror: this.peer.dbid, from, end: log.end }, 'streaming to the mirror');
    this.#stream = new LogStream(client, log, from, this.#clock, ({ durable, applied, caughtUp }) => {
      this.#durable = durable;
      this.#applied = applied;
      this.caughtUp = caughtUp;
      this.#pin(durable);
      log.mirrorDurable(durable);
    });
    await this.#stream.run();
  }

  #pin(lsn: Lsn): void {
    const { log } = this.#options;
    if (this.#stop.signal.aborted || lsn < log.start) return;
    log.pin(PIN, lsn);
    this.#kept = lsn;
  }

  #limitRetention(): void {
    const { log, logger, retentionBytes = 1024 ** 3 } = this.#options;
    if (this.#stream !== undefined || this.#kept === undefined || log.end - this.#kept < retentionBytes) return;
    const about = { mirror: this.peer.dbid, kept: this.#kept, end: log.end };
    logger.warn(about, 'the mirror has been away for too long: the log is not kept for it any longer');
    log.unpin(PIN);
    this.#kept = undefined;
  }

  /** The same problem is logged once. */
  #complain(problem: string): void {
    if (this.#stop.signal.aborted || problem === this.problem) return;
    this.problem = problem;
    this.#options.logger.warn({ mirror: this.peer.dbid }, problem);
  }
}
