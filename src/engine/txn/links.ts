import { SqlError } from '../../core/errors.js';
import type { Logger } from '../../core/log.js';
import type { CoordinatorStamp, HelloResult } from '../../model/task.js';
import { COORDINATOR_CONTENT, type Instance } from '../../model/topology.js';
import type { RpcClient } from '../../rpc/types.js';
import type { CatalogView } from '../catalog/types.js';
import type { SegmentLink } from '../executor/types.js';
import { Readings, StampedConnection } from './connection.js';
import type { Connection, Links } from './types.js';

/** How long a statement waits for a link while a failover is being decided. */
const DEFAULT_WAIT_MS = 10_000;
const RETRY_MS = 100;

export interface LinksOptions {
  catalog: CatalogView & { onChange(listener: (kinds: ReadonlySet<string>) => void): () => void };
  /** This process's own engine. */
  local: SegmentLink;
  coordinator: { timeline: number; incarnation: number };
  connect(instance: Instance): Promise<RpcClient>;
  /** Tells the instance that it is primary, unless it knows; resolves when it serves as such. */
  ensurePrimary(content: number): Promise<void>;
  /** Called in the turn in which the link becomes ready, before anybody else can use it: the outstanding decisions. */
  onReady(connection: Connection, hello: HelloResult): void;
  logger: Logger;
  waitMs?: number;
}

type LinkState = 'IDLE' | 'CONNECTING' | 'READY' | 'DOWN' | 'CLOSED';

/** The ways of a link; a pair without a row is a defect. */
export const LINK_ROWS: readonly { from: LinkState; to: LinkState; why: string }[] = [
  { from: 'IDLE', to: 'CONNECTING', why: 'the content has a primary that is not connected' },
  { from: 'CONNECTING', to: 'READY', why: 'hello is answered by the primary of the catalog' },
  { from: 'CONNECTING', to: 'IDLE', why: 'it cannot be reached, or another instance became primary' },
  { from: 'CONNECTING', to: 'DOWN', why: 'both instances of the content are gone' },
  { from: 'CONNECTING', to: 'CLOSED', why: 'the coordinator stops' },
  { from: 'READY', to: 'IDLE', why: 'the connection is gone, or another instance became primary' },
  { from: 'READY', to: 'CLOSED', why: 'the coordinator stops' },
  { from: 'IDLE', to: 'DOWN', why: 'both instances of the content are gone' },
  { from: 'IDLE', to: 'CLOSED', why: 'the coordinator stops' },
  { from: 'DOWN', to: 'IDLE', why: 'the content is served again' },
  { from: 'DOWN', to: 'CLOSED', why: 'the coordinator stops' },
];

interface Slot {
  content: number;
  state: LinkState;
  generation: number;
  connection: StampedConnection | null;
  client: RpcClient | null;
  paused: number;
  waiters: { resolve(connection: Connection): void; reject(error: Error): void; timer: NodeJS.Timeout }[];
  lastError: string | null;
}

/** One FIFO link to the current primary of each content; it follows the catalog by itself. */
export class ClusterLinks implements Links {
  readonly reads = new Readings();
  private readonly slots = new Map<number, Slot>();
  private readonly own: StampedConnection;
  private readonly unsubscribe: () => void;
  private stopped = false;

  constructor(private readonly options: LinksOptions) {
    this.own = new StampedConnection(COORDINATOR_CONTENT, this.ownDbid(), 1, options.local, () =>
      this.stamp(COORDINATOR_CONTENT),
    );
    this.unsubscribe = options.catalog.onChange((kinds) => {
      if (kinds.has('pair') || kinds.has('instance')) this.follow();
    });
    this.follow();
  }

  stamp(content: number): CoordinatorStamp {
    const { timeline, incarnation } = this.options.coordinator;
    return { timeline, incarnation, contentTimeline: this.options.catalog.pair(content)?.timeline ?? 1 };
  }

  now(content: number): Connection | null {
    if (content === COORDINATOR_CONTENT) return this.own;
    const slot = this.slots.get(content);
    return slot !== undefined && slot.state === 'READY' && slot.paused === 0 ? slot.connection : null;
  }

  of(content: number): Promise<Connection> {
    const ready = this.now(content);
    if (ready !== null) return Promise.resolve(ready);
    return this.wait(content);
  }

  async all(contents: Iterable<number>): Promise<Map<number, Connection>> {
    const wanted = [...new Set(contents)];
    for (;;) {
      const missing = wanted.filter((content) => this.now(content) === null);
      if (missing.length === 0) return new Map(wanted.map((content) => [content, this.now(content) as Connection]));
      await Promise.all(missing.map((content) => this.of(content)));
    }
  }

  /** For decisions, which a pause must not hold up. */
  evenPaused(content: number): StampedConnection | null {
    if (content === COORDINATOR_CONTENT) return this.own;
    const slot = this.slots.get(content);
    return slot?.state === 'READY' ? slot.connection : null;
  }

  /** New users of the content wait until `resume`; those who have a connection go on with it. */
  pause(content: number): void {
    this.slot(content).paused += 1;
  }

  resume(content: number): void {
    const slot = this.slot(content);
    slot.paused = Math.max(0, slot.paused - 1);
    if (slot.state === 'READY') this.release(slot);
  }

  /** Looks at the catalog again and connects where a link is missing. */
  follow(): void {
    if (this.stopped) return;
    const { catalog } = this.options;
    const contents = catalog.rowsOf('pair').map((pair) => pair.content);
    for (const content of contents) if (content !== COORDINATOR_CONTENT) this.followOne(this.slot(content));
    for (const slot of this.slots.values()) {
      if (catalog.pair(slot.content) === undefined && slot.state !== 'CLOSED') this.shut(slot);
    }
  }

  async close(): Promise<void> {
    this.stopped = true;
    this.unsubscribe();
    for (const slot of this.slots.values()) if (slot.state !== 'CLOSED') this.shut(slot);
  }

  private followOne(slot: Slot): void {
    const pair = this.options.catalog.pair(slot.content);
    if (pair === undefined || slot.state === 'CLOSED') return;
    if (slot.state === 'READY' && (pair.down || slot.connection?.dbid !== pair.primaryDbid))
      this.drop(slot, 'another instance is primary now');
    if (pair.down && slot.state === 'IDLE') {
      this.to(slot, 'DOWN');
      this.refuse(slot, segmentDown(slot));
    } else if (!pair.down && slot.state === 'DOWN') {
      this.to(slot, 'IDLE');
    }
    if (slot.state === 'IDLE') void this.connect(slot);
  }

  private async connect(slot: Slot): Promise<void> {
    this.to(slot, 'CONNECTING');
    const instance = this.options.catalog.primaryOf(slot.content);
    let client: RpcClient | null = null;
    try {
      if (instance === undefined) throw new Error('the catalog has no primary for it');
      client = await this.options.connect(instance);
      await this.greet(slot, instance, client);
    } catch (error) {
      client?.close();
      slot.lastError = error instanceof Error ? error.message : String(error);
      if ((slot.state as LinkState) === 'CONNECTING') this.to(slot, 'IDLE');
      this.again(slot);
    }
  }

  /** hello, role, hello: the second one tells what a promoted or restarted primary holds prepared. */
  private async greet(slot: Slot, instance: Instance, client: RpcClient): Promise<void> {
    const { options } = this;
    const generation = slot.generation + 1;
    const connection = new StampedConnection(slot.content, instance.dbid, generation, client, () => this.stamp(slot.content));
    await connection.call('hello', { dbid: instance.dbid }, { timeoutMs: 10_000 });
    await options.ensurePrimary(slot.content);
    const hello = await connection.call('hello', { dbid: instance.dbid }, { timeoutMs: 10_000 });
    const pair = options.catalog.pair(slot.content);
    if (slot.state !== 'CONNECTING' || pair?.primaryDbid !== instance.dbid) throw new Error('the primary changed meanwhile');
    if (hello.role !== 'p' || hello.timeline !== pair.timeline) {
      throw new Error(`instance ${instance.dbid} has role ${hello.role}, timeline ${hello.timeline}; wanted p, ${pair.timeline}`);
    }
    slot.generation = generation;
    slot.connection = connection;
    slot.client = client;
    slot.lastError = null;
    client.onClose(() => {
      if (slot.connection === connection) this.drop(slot, 'connection lost');
    });
    this.to(slot, 'READY');
    options.onReady(connection, hello);
    if (slot.paused === 0) this.release(slot);
  }

  private drop(slot: Slot, why: string): void {
    this.options.logger.info({ content: slot.content, why }, 'link to segment is gone');
    const { client } = slot;
    slot.connection = null;
    slot.client = null;
    this.to(slot, 'IDLE');
    client?.close();
    this.again(slot);
  }

  private again(slot: Slot): void {
    if (this.stopped) return;
    setTimeout(() => this.followOne(slot), RETRY_MS).unref();
  }

  private shut(slot: Slot): void {
    const { client } = slot;
    slot.connection = null;
    slot.client = null;
    this.to(slot, 'CLOSED');
    client?.close();
    this.refuse(slot, new SqlError('57P01', 'the coordinator is stopping'));
  }

  private wait(content: number): Promise<Connection> {
    const slot = this.slots.get(content);
    if (slot === undefined || slot.state === 'CLOSED')
      return Promise.reject(new SqlError('57P03', `segment ${content} is not part of the cluster now`));
    if (slot.state === 'DOWN') return Promise.reject(segmentDown(slot));
    return new Promise((resolve, reject) => {
      const entry = {
        resolve,
        reject,
        timer: setTimeout(() => {
          slot.waiters.splice(slot.waiters.indexOf(entry), 1);
          reject(segmentDown(slot));
        }, this.options.waitMs ?? DEFAULT_WAIT_MS),
      };
      slot.waiters.push(entry);
    });
  }

  private release(slot: Slot): void {
    const { connection } = slot;
    if (connection === null || slot.paused > 0) return;
    for (const waiter of slot.waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.resolve(connection);
    }
  }

  private refuse(slot: Slot, error: Error): void {
    for (const waiter of slot.waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(error);
    }
  }

  private slot(content: number): Slot {
    let slot = this.slots.get(content);
    if (slot === undefined || (slot.state === 'CLOSED' && !this.stopped && this.options.catalog.pair(content) !== undefined)) {
      const generation = slot?.generation ?? 0;
      slot = { content, state: 'IDLE', generation, connection: null, client: null, paused: 0, waiters: [], lastError: null };
      this.slots.set(content, slot);
    }
    return slot;
  }

  private to(slot: Slot, to: LinkState): void {
    const row = LINK_ROWS.find((candidate) => candidate.from === slot.state && candidate.to === to);
    if (row === undefined) throw new SqlError('XX000', `link to segment ${slot.content}: no way from ${slot.state} to ${to}`);
    this.options.logger.debug({ content: slot.content, from: slot.state, to, why: row.why }, 'link');
    slot.state = to;
  }

  private ownDbid(): number {
    return this.options.catalog.primaryOf(COORDINATOR_CONTENT)?.dbid ?? 1;
  }
}

function segmentDown(slot: Slot): SqlError {
  return new SqlError('57P03', `segment ${slot.content} is down`, {
    ...(slot.lastError === null ? {} : { detail: slot.lastError }),
    hint: 'Its primary does not answer and no mirror in sync can take over. `damson state -e` shows why; `damson start` or `damson recover` brings it back.',
  });
}
