import type { Logger } from '../../core/log.js';
import type { Catalog } from '../catalog/types.js';
import type { DispatchDeps } from '../dispatch/types.js';
import type { Front } from '../front/types.js';
import type { Links, TransactionManager } from '../txn/types.js';

/** What the coordinator is able to do for clients now. */
export type ClusterState = 'starting' | 'up' | 'restricted' | 'stopping';

/** Facts of the cluster that a session tells its client or goes by. */
export interface ClusterFacts {
  /** The cluster's one database. */
  readonly database: string;
  /** The administrator's role: the only one let in while restricted. */
  readonly adminRole: string;
  /** Damson's version. */
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  state(): ClusterState;
}

/** `UPDATE gpexpand.status_detail SET rank = …` reaches the expansion here. */
export interface ExpansionRanks {
  setRanks(ranks: { tableId: number; rank: number }[]): Promise<void>;
}

/** Brings our own catalog relations in the front up to the catalog, where they have changed. */
export interface CatalogRelations {
  /** Resolves when the front's relations show the catalog as it is now. Cheap when nothing has changed. */
  refresh(): Promise<void>;
}

/**
 * What the coordinator's daemon gives to the sessions. `createSessionHandler(deps)` (session/handler.ts) makes from it what the wire
 * server calls for each client.
 */
export interface SessionDeps extends DispatchDeps {
  readonly front: Front;
  readonly catalog: Catalog;
  readonly transactions: TransactionManager;
  readonly links: Links;
  readonly relations: CatalogRelations;
  readonly expansion: ExpansionRanks;
  readonly cluster: ClusterFacts;
  readonly logger: Logger;
}
