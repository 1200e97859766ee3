/** Rows of the relations that users query, made from the catalog: text values in the order of the columns in front/bootstrap.sql. */
import type { CatalogKind } from '../../model/catalog.js';
import type { Shard, TableDef } from '../../model/table.js';
import { COORDINATOR_CONTENT, type Instance } from '../../model/topology.js';
import type { CatalogView } from './types.js';

export type Row = (string | null)[];

/** What is not in the catalog but shown with it. */
export interface LiveFacts {
  database: string;
  shardBytes: ReadonlyMap<number, number>;
  replication: ReadonlyMap<number, { pid: number; sent: number; flushed: number; replayed: number }>;
}

export interface CatalogRelation {
  schema: string;
  name: string;
  /** Kinds of rows that it is made from. */
  from: readonly CatalogKind[];
  /** Shows live facts too, which change without the catalog. */
  live?: 'shardBytes' | 'replication';
  rows(view: CatalogView, facts: LiveFacts): Row[];
}

export const RELATIONS: readonly CatalogRelation[] = [
  { schema: 'pg_catalog', name: 'pg_dist_node', from: ['instance', 'pair', 'node'], rows: distNode },
  { schema: 'pg_catalog', name: 'pg_dist_partition', from: ['table'], rows: distPartition },
  { schema: 'pg_catalog', name: 'pg_dist_shard', from: ['table', 'shard'], rows: distShard },
  { schema: 'pg_catalog', name: 'pg_dist_placement', from: ['table', 'shard', 'placement', 'node'], rows: distPlacement },
  { schema: 'pg_catalog', name: 'pg_dist_colocation', from: ['colocation'], rows: distColocation },
  { schema: 'damson', name: 'shard_size', from: ['shard'], live: 'shardBytes', rows: shardSize },
  { schema: 'pg_catalog', name: 'gp_segment_configuration', from: ['instance'], rows: segmentConfiguration },
  { schema: 'pg_catalog', name: 'gp_configuration_history', from: ['history'], rows: configurationHistory },
  {
    schema: 'pg_catalog',
    name: 'gp_distribution_policy',
    from: ['table', 'shard', 'placement', 'node'],
    rows: distributionPolicy,
  },
  { schema: 'pg_catalog', name: 'gp_stat_replication', from: ['instance', 'pair'], live: 'replication', rows: statReplication },
  { schema: 'gpexpand', name: 'status', from: ['expansion'], rows: expandStatus },
  { schema: 'gpexpand', name: 'status_detail', from: ['queue', 'table'], rows: expandStatusDetail },
];

const bool = (value: boolean): string => (value ? 't' : 'f');
const groupOf = (content: number): number => content + 1;

/** Tables that Citus would know: all but the local ones. In the running front only. */
function spread(view: CatalogView): { table: TableDef; oid: string }[] {
  const found: { table: TableDef; oid: string }[] = [];
  for (const table of view.tables()) {
    const oid = view.oidOf(table.tableId);
    if (table.distribution.kind !== 'local' && oid !== undefined) found.push({ table, oid: String(oid) });
  }
  return found;
}

function distNode(view: CatalogView): Row[] {
  const nodes = new Set(view.rowsOf('node').map((node) => node.content));
  return view
    .instances()
    .filter((instance) => nodes.has(instance.content))
    .map((instance) => {
      const primary = view.pair(instance.content)?.primaryDbid === instance.dbid;
      return [
        String(instance.dbid),
        String(groupOf(instance.content)),
        instance.address,
        String(instance.port),
        'default',
        bool(primary),
        bool(instance.status === 'u'),
        primary ? 'primary' : 'secondary',
        'default',
        bool(primary),
        bool(instance.content !== COORDINATOR_CONTENT),
        'f',
        '0',
      ];
    });
}

function distPartition(view: CatalogView): Row[] {
  return spread(view).map(({ table, oid }) => {
    const { distribution } = table;
    const hashed = distribution.kind === 'distributed';
    return [
      oid,
      hashed ? 'h' : 'n',
      hashed ? partitionKey(table, distribution.attnum) : null,
      String(distribution.kind === 'local' ? 0 : distribution.colocationId),
      distribution.kind === 'reference' ? 't' : 's',
      'f',
    ];
  });
}

/** The distribution column as PostgreSQL prints a Var, which is what Citus keeps. */
function partitionKey(table: TableDef, attnum: number): string {
  const column = table.columns.find((candidate) => candidate.attnum === attnum);
  const type = column?.typeOid ?? 0;
  const collation = [25, 1042, 1043].includes(type) ? 100 : type === 19 ? 950 : 0;
  return (
    `{VAR :varno 1 :varattno ${attnum} :vartype ${type} :vartypmod ${column?.typmod ?? -1} :varcollid ${collation} ` +
    `:varnullingrels (b) :varlevelsup 0 :varreturningtype 0 :varnosyn 1 :varattnosyn ${attnum} :location -1}`
  );
}

function distShard(view: CatalogView): Row[] {
  return spread(view).flatMap(({ table, oid }) =>
    view
      .shards(table.tableId)
      .map((shard): Row => [oid, String(shard.shardId), 't', textOf(shard.minValue), textOf(shard.maxValue)]),
  );
}

const textOf = (value: number | null): string | null => (value === null ? null : String(value));

/** Numbered by shard and place, so that a number stays what it is as long as nothing moves. */
function distPlacement(view: CatalogView): Row[] {
  const rows: Row[] = [];
  const width = 1 + Math.max(0, ...view.rowsOf('node').map((node) => groupOf(node.content)));
  for (const { table } of spread(view)) {
    for (const shard of view.shards(table.tableId)) {
      for (const content of placesOf(view, shard)) {
        const id = shard.shardId * width + groupOf(content);
        rows.push([String(id), String(shard.shardId), '1', '0', String(groupOf(content))]);
      }
    }
  }
  return rows;
}

function placesOf(view: CatalogView, shard: Shard): number[] {
  return view.row('placement', shard.setKey)?.contents ?? [];
}

function distColocation(view: CatalogView): Row[] {
  return view
    .rowsOf('colocation')
    .sort((a, b) => a.colocationId - b.colocationId)
    .map((group) => [
      String(group.colocationId),
      String(group.shardCount),
      String(group.replicationFactor),
      String(group.distributionTypeOid),
      String(group.distributionCollation),
    ]);
}

function shardSize(view: CatalogView, facts: LiveFacts): Row[] {
  return view.rowsOf('shard').flatMap((shard): Row[] => {
    const bytes = facts.shardBytes.get(shard.shardId);
    return bytes === undefined ? [] : [[String(shard.shardId), String(bytes)]];
  });
}

function segmentConfiguration(view: CatalogView): Row[] {
  return view.instances().map((instance: Instance) => {
    const { dbid, content, role, preferred_role, mode, status, port, hostname, address, datadir } = instance;
    return [String(dbid), String(content), role, preferred_role, mode, status, String(port), hostname, address, datadir];
  });
}

function configurationHistory(view: CatalogView): Row[] {
  return view
    .rowsOf('history')
    .sort((a, b) => (a.time < b.time ? -1 : 1))
    .map((entry) => [entry.time, String(entry.dbid), entry.desc]);
}

function distributionPolicy(view: CatalogView): Row[] {
  return spread(view).map(({ table, oid }) => {
    const contents = new Set(view.shards(table.tableId).flatMap((shard) => placesOf(view, shard)));
    contents.delete(COORDINATOR_CONTENT);
    const { distribution } = table;
    const policy = distribution.kind === 'reference' ? 'r' : 'p';
    return [oid, policy, String(contents.size), distribution.kind === 'distributed' ? String(distribution.attnum) : '', ''];
  });
}

function statReplication(view: CatalogView, facts: LiveFacts): Row[] {
  return view.rowsOf('pair').flatMap((pair): Row[] => {
    const live = facts.replication.get(pair.content);
    const mirror = pair.mirrorDbid === null ? undefined : view.instance(pair.mirrorDbid);
    if (live === undefined || mirror === undefined) return [];
    const state = pair.state === 'CATCHUP' ? 'catchup' : 'streaming';
    const name = pair.content === COORDINATOR_CONTENT ? 'gp_walreceiver' : `gp_walreceiver_${mirror.dbid}`;
    const who = [
      String(pair.content),
      String(live.pid),
      null,
      null,
      name,
      null,
      mirror.hostname,
      String(mirror.port),
      null,
      null,
    ];
    const positions = [live.sent, live.flushed, live.flushed, live.replayed].map(lsnText);
    return [[...who, state, ...positions, '1', pair.state === 'IN_SYNC' ? 'sync' : 'async', 'none']];
  });
}

/** A position as PostgreSQL writes one: two hexadecimal halves. */
export function lsnText(lsn: number): string {
  const high = Math.floor(lsn / 2 ** 32);
  return `${high.toString(16).toUpperCase()}/${(lsn % 2 ** 32).toString(16).toUpperCase()}`;
}

const timestamp = (iso: string | null): string | null => (iso === null ? null : iso.replace('T', ' ').replace('Z', ''));

function expandStatus(view: CatalogView): Row[] {
  return view
    .rowsOf('expansion')
    .flatMap((expansion) => expansion.log.map((entry): Row => [entry.status, timestamp(entry.updated)]));
}

function expandStatusDetail(view: CatalogView, facts: LiveFacts): Row[] {
  return view
    .rowsOf('queue')
    .sort((a, b) => a.rank - b.rank || a.tableId - b.tableId)
    .map((entry) => {
      const table = view.table(entry.tableId);
      const oid = view.oidOf(entry.tableId);
      return [
        facts.database,
        table === undefined ? null : `${table.schema}.${table.name}`,
        oid === undefined ? null : String(oid),
        null,
        String(entry.rank),
        'f',
        entry.status,
        timestamp(entry.started),
        timestamp(entry.finished),
        String(entry.sourceBytes),
        String(entry.attempts),
        entry.error,
      ];
    });
}
