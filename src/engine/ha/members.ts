/** The coordinator's own connection to each instance, beside the links: for probes and orders, which nothing may hold up. */
import { internalError } from '../../core/errors.js';
import type { CoordinatorStamp, HelloResult, RoleOrder } from '../../model/task.js';
import { COORDINATOR_CONTENT, type Instance } from '../../model/topology.js';
import type { RpcClient } from '../../rpc/types.js';
import type { CatalogView } from '../catalog/types.js';
import type { MethodInput, MethodOutput, SegmentMethodName } from '../txn/types.js';

const ORDER_TIMEOUT_MS = 120_000;

export interface MembersOptions {
  catalog: CatalogView;
  connect(instance: Instance): Promise<RpcClient>;
  coordinator: { timeline: number; incarnation: number };
}

export class Members {
  private readonly clients = new Map<number, Promise<RpcClient>>();
  /** Order that was answered last on a connection: a restarted process has a new one, and must be told again. */
  private readonly taken = new WeakMap<RpcClient, string>();
  private readonly ordering = new Map<string, Promise<HelloResult>>();

  constructor(private readonly options: MembersOptions) {}

  async call<M extends SegmentMethodName>(
    dbid: number,
    method: M,
    body: MethodInput<M>,
    timeoutMs: number,
  ): Promise<MethodOutput<M>> {
    const instance = this.instance(dbid);
    const client = await this.client(instance);
    return client.call<MethodOutput<M>>(method, { ...body, stamp: this.stamp(instance.content) }, { timeoutMs });
  }

  /**
   * Tells an instance the role that the catalog gives it now; resolves when it has taken it: a primary when it serves, which may need
   * the next order (its mirror is lost: ALONE). So orders do not wait for one another; the same one under way is not sent twice.
   */
  async order(dbid: number, options: { full?: boolean } = {}): Promise<HelloResult> {
    const client = await this.client(this.instance(dbid));
    const order = orderFor(this.options.catalog, dbid, this.stamp(this.instance(dbid).content));
    const body: RoleOrder = options.full === true ? { ...order, full: true } : order;
    const key = keyOf(dbid, body);
    const known = this.ordering.get(key);
    if (known !== undefined) return known;
    const sent = client.call<HelloResult>('role', body, { timeoutMs: ORDER_TIMEOUT_MS });
    this.ordering.set(key, sent);
    const done = () => this.ordering.delete(key);
    sent.then(() => this.taken.set(client, keyOf(dbid, order))).then(done, done);
    return sent;
  }

  /** False when the process that answers now has taken, or is taking, the order that the catalog gives. */
  async needsOrder(dbid: number): Promise<boolean> {
    const client = await this.client(this.instance(dbid));
    const key = keyOf(dbid, orderFor(this.options.catalog, dbid, this.stamp(this.instance(dbid).content)));
    return this.taken.get(client) !== key && !this.ordering.has(key);
  }

  close(): void {
    for (const client of this.clients.values()) client.then((it) => it.close()).catch(() => undefined);
    this.clients.clear();
  }

  private client(instance: Instance): Promise<RpcClient> {
    const known = this.clients.get(instance.dbid);
    if (known !== undefined) return known;
    const connecting = this.options.connect(instance);
    this.clients.set(instance.dbid, connecting);
    const forget = () => {
      if (this.clients.get(instance.dbid) === connecting) this.clients.delete(instance.dbid);
    };
    connecting.then((client) => client.onClose(forget), forget);
    return connecting;
  }

  private instance(dbid: number): Instance {
    const instance = this.options.catalog.instance(dbid);
    if (instance === undefined) throw internalError(`instance ${dbid} is not in the catalog`);
    return instance;
  }

  private stamp(content: number): CoordinatorStamp {
    return { ...this.options.coordinator, contentTimeline: this.options.catalog.pair(content)?.timeline ?? 1 };
  }
}

function keyOf(dbid: number, order: RoleOrder): string {
  return `${dbid} ${JSON.stringify(order)}`;
}

/** The role of an instance as the catalog has it. A mirror that is marked down is no peer. */
export function orderFor(view: CatalogView, dbid: number, stamp: CoordinatorStamp): RoleOrder {
  const instance = view.instance(dbid);
  const pair = instance === undefined ? undefined : view.pair(instance.content);
  if (instance === undefined || pair === undefined) throw internalError(`instance ${dbid} has no pair`);
  const primary = pair.primaryDbid === dbid;
  const peer = primary ? (pair.state === 'ALONE' ? undefined : view.mirrorOf(pair.content)) : view.primaryOf(pair.content);
  return {
    stamp,
    role: primary ? 'p' : 'm',
    timeline: pair.timeline,
    state: pair.content === COORDINATOR_CONTENT || pair.mirrorDbid === null ? 'ALONE' : pair.state,
    peer: peer === undefined ? null : { dbid: peer.dbid, address: peer.address, port: peer.port, datadir: peer.datadir },
  };
}
