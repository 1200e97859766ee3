import type { Logger } from '../../core/log.js';
import type { Front } from '../front/types.js';
import { type LiveFacts, RELATIONS } from './relations.js';
import type { Catalog } from './types.js';

export interface RefreshDeps {
  catalog: Catalog;
  front: Pick<Front, 'refresh'>;
  /** Facts of the moment; may ask the segments. */
  facts(): Promise<LiveFacts>;
  logger: Logger;
}

/** Keeps our own relations in the front as the catalog is: only those are written again whose rows may have changed. */
export class CatalogRefresher {
  private readonly dirty = new Set(RELATIONS.map((relation) => relation.name));
  private readonly shown = new Map<string, string>();
  private running: Promise<void> = Promise.resolve();
  private readonly unsubscribe: () => void;

  constructor(private readonly deps: RefreshDeps) {
    this.unsubscribe = deps.catalog.onChange((kinds) => {
      for (const relation of RELATIONS) if (relation.from.some((kind) => kinds.has(kind))) this.dirty.add(relation.name);
    });
  }

  /** Before a catalog query. Calls run one after the other; what a later one finds clean costs nothing. */
  refresh(): Promise<void> {
    const next = this.running.then(() => this.write());
    this.running = next.catch(() => undefined);
    return next;
  }

  /** After the front was rebuilt, or OIDs changed. */
  markAll(): void {
    this.shown.clear();
    for (const relation of RELATIONS) this.dirty.add(relation.name);
  }

  close(): void {
    this.unsubscribe();
  }

  private async write(): Promise<void> {
    const due = RELATIONS.filter((relation) => relation.live !== undefined || this.dirty.has(relation.name));
    if (due.length === 0) return;
    const facts = await this.deps.facts();
    for (const relation of due) {
      this.dirty.delete(relation.name);
      const rows = relation.rows(this.deps.catalog, facts);
      const text = JSON.stringify(rows);
      if (this.shown.get(relation.name) === text) continue;
      try {
        await this.deps.front.refresh({ schema: relation.schema, name: relation.name }, rows);
        this.shown.set(relation.name, text);
      } catch (error) {
        this.dirty.add(relation.name);
        this.deps.logger.error({ relation: relation.name, err: error }, 'a catalog relation could not be brought up to date');
        throw error;
      }
    }
  }
}
