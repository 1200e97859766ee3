import type { Logger } from '../../core/log.js';
import type { ProbeResult } from '../../model/task.js';
import { COORDINATOR_CONTENT, type Pair } from '../../model/topology.js';
import type { CatalogView } from '../catalog/types.js';
import type { InstanceEngine } from '../executor/types.js';
import { changesOf } from './changes.js';
import { type Act, decide, type FtsSettings, type MemberFacts } from './decide.js';
import type { Members } from './members.js';

export interface FtsOptions {
  catalog: CatalogView;
  engine: Pick<InstanceEngine, 'state'>;
  members: Members;
  logger: Logger;
}

/** Failed probes are repeated sooner than at the next interval. */
const RETRY_MS = 200;
const NOBODY: MemberFacts = { failures: 0, seen: false, probe: null };

/**
 * The fault tolerance service: probes every instance, decides for each content, writes the decision as a STATE record, and only
 * when that is safe gives the orders that follow from it.
 */
export class FaultTolerance {
  private readonly facts = new Map<number, MemberFacts>();
  private readonly startedMs = performance.now();
  private readonly busy = new Map<number, Promise<unknown>>();
  private readonly held = new Set<number>();
  private timer: NodeJS.Timeout | null = null;
  private cycle: Promise<void> | null = null;
  private stopped = false;

  constructor(private readonly options: FtsOptions) {}

  start(): void {
    void this.run();
  }

  /** Probes all now; resolves when that and what follows from it is done. */
  async probeNow(): Promise<void> {
    if (this.cycle !== null) await this.cycle;
    await this.run();
  }

  /** The last answer of an instance; null when it did not answer its last probe. */
  lastProbe(dbid: number): ProbeResult | null {
    const facts = this.facts.get(dbid);
    return facts !== undefined && facts.failures === 0 ? facts.probe : null;
  }

  /** Runs work that changes a content's pair; the service decides nothing about it meanwhile. */
  async holding<T>(content: number, work: () => Promise<T>): Promise<T> {
    this.held.add(content);
    try {
      await this.busy.get(content)?.catch(() => undefined);
      return await work();
    } finally {
      this.held.delete(content);
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.cycle?.catch(() => undefined);
  }

  private run(): Promise<void> {
    if (this.cycle !== null) return this.cycle;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.cycle = this.probeAll()
      .catch((error) => this.options.logger.error({ err: error }, 'probing failed'))
      .finally(() => {
        this.cycle = null;
        this.schedule();
      });
    return this.cycle;
  }

  private schedule(): void {
    if (this.stopped) return;
    const failing = [...this.facts.values()].some((facts) => facts.failures > 0 && facts.failures < this.settings().retries);
    this.timer = setTimeout(() => void this.run(), failing ? RETRY_MS : this.settings().intervalMs);
    this.timer.unref();
  }

  private async probeAll(): Promise<void> {
    const pairs = this.options.catalog.rowsOf('pair').filter((pair) => pair.content !== COORDINATOR_CONTENT);
    await Promise.all(pairs.map((pair) => this.lookAt(pair)));
  }

  private async lookAt(pair: Pair): Promise<void> {
    const dbids = pair.mirrorDbid === null ? [pair.primaryDbid] : [pair.primaryDbid, pair.mirrorDbid];
    await Promise.all(dbids.map((dbid) => this.probe(dbid)));
    if (this.held.has(pair.content) || this.busy.has(pair.content) || this.stopped) return;
    const work = this.settle(pair.content)
      .catch((error) => this.options.logger.error({ content: pair.content, err: error }, 'a decision could not be carried out'))
      .finally(() => this.busy.delete(pair.content));
    this.busy.set(pair.content, work);
    // Orders may take long (a promotion applies the log): probing goes on meanwhile.
    await Promise.race([work, new Promise((resolve) => setTimeout(resolve, this.settings().intervalMs).unref())]);
  }

  private async probe(dbid: number): Promise<void> {
    const before = this.facts.get(dbid) ?? NOBODY;
    try {
      const probe = await this.options.members.call(dbid, 'probe', {}, this.settings().timeoutMs);
      this.facts.set(dbid, { failures: 0, seen: true, probe });
    } catch (error) {
      this.facts.set(dbid, { ...before, failures: before.failures + 1 });
      if (before.failures === 0) this.options.logger.warn({ dbid, err: error }, 'instance does not answer its probe');
    }
  }

  private async settle(content: number): Promise<void> {
    const { catalog, logger, engine } = this.options;
    const pair = catalog.pair(content);
    if (pair === undefined) return;
    const primary = this.facts.get(pair.primaryDbid) ?? NOBODY;
    const mirror = pair.mirrorDbid === null ? null : (this.facts.get(pair.mirrorDbid) ?? NOBODY);
    const decision = decide({ pair, primary, mirror, probingMs: performance.now() - this.startedMs }, this.settings());
    if (decision.act !== 'nothing') {
      logger.warn({ content, from: pair.state, ...decision }, 'fault tolerance service decides');
      await engine.state(changesOf(catalog, content, decision.act, new Date()));
    }
    this.giveOrders(content, decision.act);
  }

  /**
   * Orders repeat what the catalog says to everybody who does not stand as it says; a mirror that is marked down is left alone. They
   * are not waited for: a primary answers when it serves, and what it needs for that may be the next decision.
   */
  private giveOrders(content: number, act: Act): void {
    const { catalog } = this.options;
    const pair = catalog.pair(content);
    if (pair === undefined) return;
    const mirror = catalog.mirrorOf(content);
    const order = async (dbid: number, standsRight: boolean) => {
      if (act === 'promote' || !standsRight || (await this.options.members.needsOrder(dbid)))
        await this.options.members.order(dbid);
    };
    const send = (dbid: number, standsRight: boolean) => {
      order(dbid, standsRight).catch((error) => this.options.logger.warn({ dbid, err: error }, 'an order was not taken'));
    };
    const primary = this.lastProbe(pair.primaryDbid);
    if (act === 'promote' || primary !== null) send(pair.primaryDbid, primary !== null && stands(pair, primary, 'p'));
    if (mirror === undefined || mirror.status !== 'u') return;
    const probe = this.lastProbe(mirror.dbid);
    if (probe !== null) send(mirror.dbid, stands(pair, probe, 'm'));
  }

  private settings(): FtsSettings & { intervalMs: number; timeoutMs: number } {
    const number = (name: string, fallback: number) => Number(this.options.catalog.setting(name) ?? fallback);
    return {
      intervalMs: number('damson.fts_probe_interval', 1) * 1000,
      timeoutMs: number('damson.fts_probe_timeout', 5) * 1000,
      retries: number('damson.fts_probe_retries', 3),
      stallMs: number('damson.fts_mirror_stall', 5) * 1000,
      graceMs: number('damson.fts_start_grace', 20) * 1000,
    };
  }
}

/** Does the instance know what the catalog says of it? */
function stands(pair: Pair, probe: ProbeResult, role: 'p' | 'm'): boolean {
  if (probe.role !== role) return false;
  // The log of a mirror takes the timeline from its primary, later than the order.
  if (role === 'm') return true;
  return probe.timeline === pair.timeline && (pair.mirrorDbid === null || probe.pairState === pair.state);
}
