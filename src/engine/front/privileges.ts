/** Whether a role may run a statement: PostgreSQL's executor checks it, so that EXPLAIN tells. */
import type { FrontConnection } from './connection.js';
import { bindAndExecute, errorOf, parse, query, SYNC } from './messages.js';
import type { Analyzed, FrontSettings } from './types.js';

/** 1 SELECT to 5 MERGE: what EXPLAIN takes. */
const LAST_EXPLAINABLE = 5;

export class Privileges {
  private generation = -1;
  private readonly superusers = new Map<string, boolean>();
  /** Roles that passed, for each analysed statement that is still in use. */
  private passed = new WeakMap<Analyzed, Set<string>>();

  constructor(private readonly connection: FrontConnection) {}

  async check(sql: string, analyzed: Analyzed, settings: FrontSettings): Promise<void> {
    this.dropOld();
    const role = effectiveRole(settings);
    const roles = this.passed.get(analyzed) ?? new Set();
    if (analyzed.relations.length === 0 || roles.has(role) || (await this.isSuperuser(role))) return;
    if (!analyzed.queries.every((tree) => typeof tree.commandType === 'number' && tree.commandType <= LAST_EXPLAINABLE)) return;
    await this.explain(sql, analyzed, settings);
    roles.add(role);
    this.passed.set(analyzed, roles);
  }

  private async explain(sql: string, analyzed: Analyzed, settings: FrontSettings): Promise<void> {
    const { paramTypes } = analyzed;
    const explain = [parse(`EXPLAIN (GENERIC_PLAN) ${sql}`, paramTypes), bindAndExecute(paramTypes.map(() => null)), SYNC];
    await this.connection.scope(settings, async (scope) => {
      const messages = await scope.exec(Buffer.concat([query(scope.begin), ...explain, query(scope.end)]));
      const error = messages.find((m) => m.type === 'E');
      if (error !== undefined) throw errorOf(error.body);
    });
  }

  async isSuperuser(role: string): Promise<boolean> {
    this.dropOld();
    const known = this.superusers.get(role);
    if (known !== undefined) return known;
    const found = await this.connection.rows('SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = $1', [role]);
    const is = found[0]?.[0] === 't';
    this.superusers.set(role, is);
    return is;
  }

  private dropOld(): void {
    if (this.generation === this.connection.generation) return;
    this.generation = this.connection.generation;
    this.superusers.clear();
    this.passed = new WeakMap();
  }
}

function effectiveRole(settings: FrontSettings): string {
  const { role } = settings.gucs;
  return role === undefined || role === 'none' ? settings.role : role;
}
