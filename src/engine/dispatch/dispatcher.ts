import { internalError } from '../../core/errors.js';
import type { Plan } from '../planner/types.js';
import { FinishingDuckdb } from './duckdb.js';
import { executeInsert } from './insert.js';
import type { SelectDeps } from './insert-select.js';
import { executeModify } from './modify.js';
import { executeRead, type MakeFallback } from './read.js';
import { ReferenceRids } from './rids.js';
import type { DispatchDeps, Executed, StatementContext } from './types.js';

/** Runs plans on the segments and the coordinator's own stores. One for each coordinator. */
export class Dispatcher {
  readonly load: SelectDeps;
  private readonly duckdb: FinishingDuckdb;

  /** @param directory for files of rows; emptied. */
  constructor(
    private readonly deps: DispatchDeps,
    directory: string,
  ) {
    this.duckdb = new FinishingDuckdb(directory, deps.duckdb);
    this.load = {
      ...deps,
      rids: new ReferenceRids((shardId) => deps.nextRid(shardId)),
      runRead: (ctx, plan, fallback) => executeRead(deps, this.duckdb, ctx, plan, fallback),
    };
  }

  /**
   * Rows go to `ctx.sink`; the figures come back.
   * @param fallback makes the plan of the same statement that PostgreSQL finishes.
   */
  async execute(plan: Plan, ctx: StatementContext, fallback: MakeFallback): Promise<Executed> {
    switch (plan.kind) {
      case 'read':
        return await executeRead(this.deps, this.duckdb, ctx, plan, fallback);
      case 'insert':
        return await executeInsert(this.load, ctx, plan, fallback);
      case 'modify':
        return await executeModify(ctx, plan);
      default:
        throw internalError(`a plan of kind ${plan.kind} is not for dispatch`);
    }
  }

  async close(): Promise<void> {
    await this.duckdb.close();
  }
}
