/**
 * The role of this instance, by order of the coordinator (protocols, section 7): what a primary and a mirror do, and the
 * ways between them. After a restart nothing is served before an order has come.
 */
import { DamsonError, SqlError } from '../../core/errors.js';
import type { BatchRef, Lsn } from '../../model/log.js';
import type { CoordinatorStamp, HelloResult, ProbeResult, RoleOrder } from '../../model/task.js';
import type { Handlers } from '../../rpc/types.js';
import type { Core } from './core.js';
import { FENCED, notServing } from './errors.js';
import { Pairing } from './pairing.js';
import type { RecordApplier } from './records.js';
import { type RoleMemory, readRole, writeRole } from './role-file.js';

type Mode = 'waiting' | 'primary' | 'mirror';

export class Roles {
  /** A primary that has applied its log and takes calls. */
  serving = false;
  private mode: Mode = 'waiting';
  private memory: RoleMemory | undefined;
  private readonly pairing: Pairing;
  private changing: Promise<unknown> = Promise.resolve();
  private activation: Promise<void> | null = null;

  constructor(
    private readonly core: Core,
    private readonly applier: RecordApplier,
  ) {
    this.memory = readRole(core.options.directory);
    this.pairing = new Pairing(core, {
      timeline: () => this.memory?.timeline ?? 0,
      isMirror: () => this.mode === 'mirror' || (this.mode === 'waiting' && this.memory?.role === 'm'),
      beforeReset: () => this.applier.stop(),
      afterReset: () => {
        this.applier.restart();
        this.applier.follow();
      },
    });
  }

  /** Safe is at least what a store has applied: it was safe then. */
  begin(): void {
    this.core.log.raiseSafe(this.core.stores.highest());
    this.applier.follow();
  }

  handlers(): Handlers {
    return this.pairing.handlers();
  }

  shipBatches(refs: readonly BatchRef[]): Promise<void> {
    return this.pairing.ship(refs);
  }

  /** Refuses calls that are not for a serving primary of the timeline that the sender means. */
  checkServing(stamp: CoordinatorStamp): void {
    const { dbid } = this.core.options.identity;
    if (!this.serving) throw notServing(dbid, this.mode === 'mirror' ? 'it is a mirror' : 'its log is being applied');
    if (stamp.contentTimeline !== this.memory!.timeline) {
      throw new SqlError(FENCED, `instance ${dbid} is at timeline ${this.memory!.timeline}, not ${stamp.contentTimeline}`);
    }
  }

  /** Takes an order; answered when a primary serves, and when a mirror is ready to follow. Idempotent. */
  async order(order: RoleOrder): Promise<HelloResult> {
    await this.exclusively(() => this.change(order));
    if (order.role === 'p') await this.activation;
    return this.hello(this.core.options.identity.dbid);
  }

  /** One change at a time; waiting until a primary serves is not part of it, because the next order may be what it waits for. */
  private exclusively(work: () => Promise<void>): Promise<void> {
    const next = this.changing.then(work);
    this.changing = next.catch(() => undefined);
    return next;
  }

  private async change(order: RoleOrder): Promise<void> {
    const { log, options } = this.core;
    const known = Math.max(this.memory?.timeline ?? 0, log.timeline);
    if (order.timeline < known) {
      throw new SqlError(
        FENCED,
        `instance ${options.identity.dbid} has seen timeline ${known}, the order is of ${order.timeline}`,
      );
    }
    options.logger.info({ role: order.role, timeline: order.timeline, state: order.state, peer: order.peer?.dbid }, 'role order');
    if (order.role === 'm') await this.becomeMirror(order);
    else await this.becomePrimary(order);
  }

  private async becomePrimary(order: RoleOrder): Promise<void> {
    const { log } = this.core;
    const wasServing = this.mode === 'primary';
    // Written first: from now on replication of a lower timeline is refused.
    this.remember(order);
    this.mode = 'primary';
    if (log.timeline < order.timeline) await log.startTimeline(order.timeline);
    log.setPairState(order.state);
    await this.pairing.primary(order);
    if (!wasServing) {
      this.activation = this.activate(log.end);
      this.activation.catch(() => undefined);
    }
  }

  /** All of the log that was here becomes safe, is applied, and what is prepared in it is known; then it serves. */
  private async activate(end: Lsn): Promise<void> {
    this.applier.follow();
    await this.applier.reached(end);
    await this.applier.stop();
    if (this.mode === 'primary') this.serving = true;
    this.core.options.logger.info({ end, prepared: this.core.transactions.prepared.size }, 'serving');
  }

  private async becomeMirror(order: RoleOrder): Promise<void> {
    const was = this.mode;
    this.remember(order);
    if (was === 'primary') await this.demote();
    this.mode = 'mirror';
    this.applier.follow();
  }

  /** Nothing that was not safe is shown or answered any more; the log alone says what happened. */
  private async demote(): Promise<void> {
    const { log, publisher, transactions } = this.core;
    const lost = new SqlError('57P01', 'this instance is not the primary of its segment any more');
    this.serving = false;
    this.mode = 'mirror';
    await this.pairing.stop();
    await this.applier.stop();
    this.activation = null;
    log.becomeMirror();
    await publisher.drop(lost);
    await transactions.abandon();
    this.applier.restart();
  }

  private remember(order: RoleOrder): void {
    const next: RoleMemory = { role: order.role, timeline: order.timeline, state: order.state, peer: order.peer };
    if (JSON.stringify(next) === JSON.stringify(this.memory)) return;
    writeRole(this.core.options.directory, next);
    this.memory = next;
  }

  hello(dbid: number): HelloResult {
    const { log, stores, options, transactions } = this.core;
    const { identity } = options;
    if (dbid !== identity.dbid) {
      throw new DamsonError(`this is instance ${identity.dbid} of content ${identity.content}, not instance ${dbid}`, {
        hint: 'Compare data directories and ports with gp_segment_configuration.',
      });
    }
    return {
      dbid,
      content: identity.content,
      version: identity.version,
      pid: process.pid,
      role: this.memory?.role ?? 'm',
      timeline: Math.max(log.timeline, this.memory?.timeline ?? 0),
      end: log.durable,
      safe: log.safe,
      applied: stores.applied(),
      prepared: transactions.preparedList(),
      sets: stores.sets(),
    };
  }

  async probe(): Promise<ProbeResult> {
    const { log, stores, options } = this.core;
    const diskMs = await log.checkDisk();
    return {
      dbid: options.identity.dbid,
      content: options.identity.content,
      pid: process.pid,
      role: this.memory?.role ?? 'm',
      timeline: log.timeline,
      end: log.durable,
      safe: log.safe,
      applied: stores.applied(),
      mirror: this.mode === 'primary' ? this.pairing.status() : null,
      pairState: this.memory?.state ?? 'ALONE',
      diskMs,
      rssBytes: process.memoryUsage.rss(),
    };
  }

  async close(): Promise<void> {
    this.serving = false;
    await this.changing;
    await this.pairing.stop();
    await this.applier.stop();
  }
}
