import type { LiveFacts } from '../catalog/relations.js';
import type { Catalog } from '../catalog/types.js';
import type { FaultTolerance } from '../ha/fts.js';
import type { Links } from '../txn/types.js';

/** Sizes are asked for at most this often: a catalog query must not wait for every segment each time. */
const SIZES_MS = 5000;
const SIZES_TIMEOUT_MS = 2000;

/** What our relations show beside the catalog. Segments that do not answer leave their part as it was. */
export class LiveFactSource {
  private readonly bytes = new Map<number, number>();
  private askedMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly parts: { catalog: Catalog; links: Links; fts: FaultTolerance; database: string }) {}

  async facts(): Promise<LiveFacts> {
    await this.askSizes();
    return { database: this.parts.database, shardBytes: this.bytes, replication: this.replication() };
  }

  private async askSizes(): Promise<void> {
    if (performance.now() - this.askedMs < SIZES_MS) return;
    this.askedMs = performance.now();
    const { catalog, links } = this.parts;
    const asked = [-1, ...catalog.contents()].map(async (content) => {
      const { shards } = (await links.now(content)?.call('sizes', {}, { timeoutMs: SIZES_TIMEOUT_MS })) ?? { shards: [] };
      for (const shard of shards) {
        this.bytes.set(shard.shardId, shard.bytes);
        const table = catalog.shard(shard.shardId)?.tableId;
        if (table !== undefined && content >= 0) this.rowsByShard.set(shard.shardId, shard.rows);
      }
    });
    await Promise.allSettled(asked);
    for (const shardId of this.bytes.keys()) if (catalog.shard(shardId) === undefined) this.bytes.delete(shardId);
    for (const table of catalog.tables()) {
      const rows = catalog.shards(table.tableId).reduce((total, shard) => total + (this.rowsByShard.get(shard.shardId) ?? 0), 0);
      if (rows > 0) catalog.setRows(table.tableId, rows);
    }
  }

  private readonly rowsByShard = new Map<number, number>();

  private replication(): LiveFacts['replication'] {
    const found = new Map<number, { pid: number; sent: number; flushed: number; replayed: number }>();
    for (const pair of this.parts.catalog.rowsOf('pair')) {
      const primary = this.parts.fts.lastProbe(pair.primaryDbid);
      const mirror = pair.mirrorDbid === null ? null : this.parts.fts.lastProbe(pair.mirrorDbid);
      if (!primary?.mirror?.connected) continue;
      found.set(pair.content, {
        pid: primary.pid,
        sent: primary.end,
        flushed: primary.mirror.durable,
        replayed: mirror?.applied ?? primary.mirror.durable,
      });
    }
    return found;
  }
}
