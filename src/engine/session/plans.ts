import type { CatalogView } from '../catalog/types.js';
import type { Analyzed, Front, FrontDdl, FrontSettings } from '../front/types.js';
import { planFallback, planStatement } from '../planner/plan.js';
import type { Plan, PlannerCatalog, ReadPlan } from '../planner/types.js';

/** An analysed statement with its plan. */
export interface Planned {
  analyzed: Analyzed;
  plan: Plan;
  /** The plan of a read that PostgreSQL finishes; `bare`: over all rows of its tables. */
  fallback(bare?: boolean): ReadPlan;
  /** Tables of ours that it reads or writes. */
  tableIds: number[];
  /** Versions that it was made from. */
  generation: number;
  catalogVersion: number;
}

/** Statements whose plans are kept, over all sessions. */
const MAX_CACHED = 2000;
/** Longer ones are rarely sent again. */
const MAX_CACHED_LENGTH = 16 * 1024;

/**
 * Plans by statement text, parameter types, role and settings. A plan knows tables and columns, not placements, so moves and failovers
 * leave it as it is; it is made again when a definition (front's generation) or the catalog has changed.
 */
export class PlanCache {
  private readonly entries = new Map<string, Planned>();

  constructor(private readonly front: Front) {}

  /** The plan, if it is known and still holds; without waiting. */
  peek(sql: string, paramTypes: readonly number[], settings: FrontSettings, view: CatalogView): Planned | undefined {
    if (sql.length > MAX_CACHED_LENGTH) return undefined;
    const key = keyOf(sql, paramTypes, settings);
    const known = this.entries.get(key);
    if (known === undefined) return undefined;
    if (known.generation !== this.front.generation) {
      this.entries.delete(key);
      return undefined;
    }
    if (known.catalogVersion === view.version) return known;
    const again = planOf(known.analyzed, view);
    this.entries.set(key, again);
    return again;
  }

  /**
   * Analyses, checks privileges, plans.
   * @param own what the session's transaction has changed: the front where it holds it, and a catalog of its own; no plan of it is kept.
   */
  async make(
    sql: string,
    paramTypes: number[],
    settings: FrontSettings,
    view: CatalogView,
    own: { ddl: FrontDdl | null; changed: boolean },
  ): Promise<Planned> {
    if (own.ddl !== null) return planOf(await own.ddl.analyze(sql, paramTypes), view);
    const known = own.changed ? undefined : this.peek(sql, paramTypes, settings, view);
    if (known !== undefined) return known;
    const analyzed = await this.front.analyze(sql, paramTypes, settings);
    await this.front.checkPrivileges(sql, analyzed, settings);
    const planned = planOf(analyzed, view);
    if (!own.changed && analyzed.cacheable && sql.length <= MAX_CACHED_LENGTH && analyzed.generation === this.front.generation) {
      this.store(keyOf(sql, paramTypes, settings), planned);
    }
    return planned;
  }

  private store(key: string, planned: Planned): void {
    if (this.entries.size >= MAX_CACHED) {
      const oldest = this.entries.keys().next();
      if (!oldest.done) this.entries.delete(oldest.value);
    }
    this.entries.set(key, planned);
  }
}

function planOf(analyzed: Analyzed, view: CatalogView): Planned {
  const catalog = plannerCatalog(view);
  return {
    analyzed,
    plan: planStatement(analyzed, catalog),
    fallback: (bare) => planFallback(analyzed, catalog, bare),
    tableIds: analyzed.relations.map((relation) => view.tableByOid(relation.oid)?.tableId).filter((id) => id !== undefined),
    generation: analyzed.generation,
    catalogVersion: view.version,
  };
}

function plannerCatalog(view: CatalogView): PlannerCatalog {
  return {
    tableByOid: (oid) => view.tableByOid(oid),
    shards: (tableId) => view.shards(tableId),
    shardCount: (colocationId) => view.shardCount(colocationId),
    placement: (setKey) => view.placement(setKey),
    rows: (tableId) => view.rows(tableId),
    table: (tableId) => view.table(tableId),
    rowChecks: (tableId) => {
      const table = view.table(tableId);
      return table?.rowChecks ?? table?.needsFront ?? false;
    },
  };
}

/** Settings objects stay the same until something changes, so their part of the key is made once for each. */
const settingsKeys = new WeakMap<FrontSettings, string>();

function keyOf(sql: string, paramTypes: readonly number[], settings: FrontSettings): string {
  let part = settingsKeys.get(settings);
  if (part === undefined) {
    const gucs = Object.entries(settings.gucs)
      .filter(([name]) => name !== 'application_name')
      .sort(([a], [b]) => (a < b ? -1 : 1));
    part = `${settings.role}\0${JSON.stringify(gucs)}`;
    settingsKeys.set(settings, part);
  }
  return `${sql}\0${paramTypes.join()}\0${part}`;
}
