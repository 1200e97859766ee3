/** The other instance of the pair: sending the log to it as primary, taking it as mirror. */
import { join } from 'node:path';
import { SqlError } from '../../core/errors.js';
import type { BatchRef } from '../../model/log.js';
import type { ProbeResult, RoleOrder } from '../../model/task.js';
import type { Handlers } from '../../rpc/types.js';
import { mirrorHandlers } from '../replication/receiver.js';
import { MirrorSender } from '../replication/sender.js';
import type { Core } from './core.js';

export interface PairingHooks {
  /** Timeline of the last role order: replication of a lower one is refused. */
  timeline(): number;
  isMirror(): boolean;
  /** Full recovery: nothing may be applied while stores and log are made anew. */
  beforeReset(): Promise<void>;
  afterReset(): void;
}

/** How often a catching-up mirror is looked at, milliseconds. */
const LOOK_MS = 200;

export class Pairing {
  private readonly sender: MirrorSender;
  private catchingUp: NodeJS.Timeout | null = null;
  private recovering = false;

  constructor(
    private readonly core: Core,
    private readonly hooks: PairingHooks,
  ) {
    const { log, options } = core;
    const { dbid, content } = options.identity;
    this.sender = new MirrorSender({ log, logger: options.logger, dbid, content });
  }

  /** Calls of the pair's primary to this instance as its mirror. */
  handlers(): Handlers {
    const { log, stores, options } = this.core;
    const { importState } = options;
    return mirrorHandlers({
      log,
      logger: options.logger,
      check: (timeline) => this.checkMirror(timeline),
      applied: () => stores.highest(),
      // The applier watches the log itself.
      onSafe: () => undefined,
      recovery: {
        stores,
        directory: join(options.directory, 'recovery'),
        beforeReset: () => this.hooks.beforeReset(),
        afterReset: () => this.hooks.afterReset(),
        ...(importState === undefined ? {} : { importState }),
      },
    });
  }

  private checkMirror(timeline: number): void {
    const { dbid } = this.core.options.identity;
    if (!this.hooks.isMirror()) {
      throw new SqlError('55000', `instance ${dbid} is no mirror`, { hint: 'The coordinator tells instances their roles.' });
    }
    if (timeline < this.hooks.timeline()) {
      throw new SqlError(
        '55000',
        `instance ${dbid} was told of timeline ${this.hooks.timeline()}: no log of timeline ${timeline}`,
      );
    }
  }

  /** As primary: whom to send to. ALONE: nobody, and no log is kept for anybody. */
  async primary(order: RoleOrder): Promise<void> {
    this.stopLooking();
    if (order.state === 'ALONE' || order.peer === null) return this.sender.detach();
    this.sender.attach(order.peer);
    if (order.full === true) this.recover('it was asked for');
    if (order.state === 'CATCHUP') {
      this.catchingUp = setInterval(() => this.look(), LOOK_MS);
      this.catchingUp.unref();
    }
  }

  /** A mirror that is to catch up and cannot by log is made anew. */
  private look(): void {
    const reason = this.sender.needsFullResync;
    if (reason !== undefined) this.recover(reason);
  }

  private recover(reason: string): void {
    if (this.recovering) return;
    const { stores, transactions, options } = this.core;
    this.recovering = true;
    options.logger.info({ reason }, 'full recovery of the mirror');
    this.sender
      .fullResync({
        stores,
        directory: join(stores.temporaryDirectory, 'recovery'),
        oldestPrepare: () => transactions.oldestPrepare() ?? null,
        ...(options.exportState === undefined ? {} : { exportState: options.exportState }),
      })
      .catch((error: unknown) => options.logger.warn({ err: error }, 'the full recovery was interrupted'))
      .finally(() => {
        this.recovering = false;
      });
  }

  private stopLooking(): void {
    if (this.catchingUp !== null) clearInterval(this.catchingUp);
    this.catchingUp = null;
  }

  async stop(): Promise<void> {
    this.stopLooking();
    await this.sender.detach();
  }

  async ship(refs: readonly BatchRef[]): Promise<void> {
    if (refs.length > 0) await this.sender.ship(refs);
  }

  status(): ProbeResult['mirror'] {
    const status = this.sender.status();
    if (status === null) return null;
    const { dbid, durable, connected, stalledMs } = status;
    return { dbid, durable, connected, stalledMs };
  }
}
