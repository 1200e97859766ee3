import type { Finding } from '../cluster/state/findings.js';
import type { ClusterStatus, ExpansionReport, InstanceStatus } from '../model/admin.js';
import { bytesText, durationText, renderPairs, renderTable } from './table.js';

const ROLE = { p: 'Primary', m: 'Mirror' } as const;
const STATUS = { u: 'Up', d: 'Down' } as const;
const MODE = { s: 'Synchronized', n: 'Not In Sync' } as const;

const byContent = (a: InstanceStatus, b: InstanceStatus) => a.content - b.content || a.dbid - b.dbid;

function expansionState(report: ExpansionReport): string {
  if (report.expansion === null) return 'No Expansion Detected';
  if (report.expansion.status === 'EXPANSION COMPLETE') return 'Expansion Complete';
  return report.running ? 'Data Distribution - Active' : 'Data Distribution - Paused';
}

/** The summary of `damson state`. */
export function renderSummary(status: ClusterStatus): string {
  const segments = status.instances.filter(({ content }) => content >= 0);
  const mirrors = segments.filter(({ preferred_role }) => preferred_role === 'm');
  const count = (list: InstanceStatus[], test: (instance: InstanceStatus) => boolean) => String(list.filter(test).length);
  const standby = status.instances.find(({ content, role }) => content === -1 && role === 'm');
  return renderPairs([
    ['Coordinator', `Active, process ${status.coordinator.pid}, ${status.coordinator.sessions} sessions`],
    ['Standby', standby === undefined ? 'No standby configured' : STATUS[standby.status]],
    ['Segments', String(status.pairs.filter(({ content }) => content >= 0).length)],
    ['Instances', String(segments.length)],
    ['Instances up', count(segments, ({ status: s }) => s === 'u')],
    ['Instances down', count(segments, ({ status: s }) => s === 'd')],
    [
      'Mirrors in sync',
      mirrors.length === 0 ? 'Mirrors not configured' : count(segments, ({ role, mode }) => role === 'm' && mode === 's'),
    ],
    ['Mirrors acting as primaries', count(segments, ({ role, preferred_role }) => role === 'p' && preferred_role === 'm')],
    ['Cluster expansion', expansionState(status.expansion)],
    ['Operation running', status.operation ?? 'none'],
  ]);
}

/** `-s`: every detail of every instance. */
export function renderDetails(status: ClusterStatus): string {
  const oldest = status.coordinator.oldestSnapshotMs;
  const head = renderPairs([
    ['Cluster', status.clusterId],
    ['Version', status.version],
    ['Coordinator timeline', String(status.coordinator.timeline)],
    ['Coordinator started', status.coordinator.startedAt],
    ['Oldest open snapshot', oldest === null ? 'none' : durationText(oldest)],
    ['Coordinator memory', bytesText(status.coordinator.rssBytes)],
  ]);
  const blocks = [...status.instances].sort(byContent).map((instance) =>
    renderPairs([
      ['Instance', `dbid ${instance.dbid}, content ${instance.content}`],
      ['Host', `${instance.hostname} (${instance.address}:${instance.port})`],
      ['Data directory', instance.datadir],
      ['Role', `${ROLE[instance.role]} (preferred ${ROLE[instance.preferred_role]})`],
      ['Configured as', `${STATUS[instance.status]}, ${MODE[instance.mode]}`],
      ['Process', instance.pid === null ? `not running: ${instance.error ?? 'no answer'}` : String(instance.pid)],
      ['Timeline', instance.timeline === null ? '-' : String(instance.timeline)],
      ['Log end, safe, applied', [instance.end, instance.safe, instance.applied].map((lsn) => lsn ?? '-').join(', ')],
      [
        'Mirror has',
        instance.mirrorDurable === null
          ? '-'
          : `${instance.mirrorDurable} (${(instance.end ?? 0) - instance.mirrorDurable} bytes behind)`,
      ],
      ['Shards', String(instance.shards)],
      ['Memory', instance.rssBytes === null ? '-' : bytesText(instance.rssBytes)],
    ]),
  );
  return [head, ...blocks].join('\n\n');
}

/** `-m`: mirrors. */
export function renderMirrors(status: ClusterStatus): string {
  const mirrors = status.instances
    .filter(({ content, preferred_role }) => content >= 0 && preferred_role === 'm')
    .sort(byContent);
  if (mirrors.length === 0) return 'Mirrors not configured';
  const state = (instance: InstanceStatus) => {
    if (instance.status === 'd') return 'Failed';
    return instance.role === 'p' ? 'Acting as Primary' : 'Passive';
  };
  return renderTable(
    ['Mirror', 'Datadir', 'Port', 'Status', 'Data Status'],
    mirrors.map((instance) => [instance.hostname, instance.datadir, String(instance.port), state(instance), MODE[instance.mode]]),
  );
}

/** `-c`: primary to mirror. */
export function renderPairsOf(status: ClusterStatus): string {
  const byDbid = new Map(status.instances.map((instance) => [instance.dbid, instance]));
  const side = (dbid: number | null) => {
    const instance = dbid === null ? undefined : byDbid.get(dbid);
    return instance === undefined ? ['-', '-', '-'] : [instance.hostname, instance.datadir, String(instance.port)];
  };
  return renderTable(
    ['Segment', 'State', 'Timeline', 'Primary', 'Datadir', 'Port', 'Mirror', 'Datadir', 'Port'],
    status.pairs
      .filter(({ content }) => content >= 0)
      .sort((a, b) => a.content - b.content)
      .map((pair) => [
        String(pair.content),
        pair.down ? 'DOWN' : pair.state,
        String(pair.timeline),
        ...side(pair.primaryDbid),
        ...side(pair.mirrorDbid),
      ]),
  );
}

/** `-e`: what is not right. */
export function renderFindings(findings: Finding[]): string {
  if (findings.length === 0) return 'All segments are running normally';
  return findings.map(({ what, hint }) => `${what}\n  Hint: ${hint}`).join('\n');
}

export function renderInstances(status: ClusterStatus, columns: 'ports' | 'versions' | 'quick'): string {
  const rows = [...status.instances].sort(byContent);
  if (columns === 'ports') {
    return renderTable(
      ['Host', 'Datadir', 'Port'],
      rows.map(({ hostname, datadir, port }) => [hostname, datadir, String(port)]),
    );
  }
  if (columns === 'versions') {
    const table = renderTable(
      ['Host', 'Datadir', 'Port', 'Version'],
      rows.map(({ hostname, datadir, port, version }) => [hostname, datadir, String(port), version ?? 'unknown']),
    );
    const versions = new Set(rows.map(({ version }) => version).filter((version) => version !== null));
    return `${table}\n${versions.size <= 1 ? 'All instances run the same version' : 'Instances run different versions'}`;
  }
  const down = rows.filter(({ status: s }) => s === 'd');
  const head = renderPairs([
    ['Instances up, from the catalog', String(rows.length - down.length)],
    ['Instances down, from the catalog', String(down.length)],
  ]);
  const table = renderTable(
    ['Down', 'Datadir', 'Port'],
    down.map(({ hostname, datadir, port }) => [hostname, datadir, String(port)]),
  );
  return down.length === 0 ? head : `${head}\n${table}`;
}

/** `-f`: the standby. */
export function renderStandby(status: ClusterStatus): string {
  const standby = status.instances.find(({ content, role }) => content === -1 && role === 'm');
  if (standby === undefined) return 'No standby configured';
  return renderPairs([
    ['Standby address', standby.address],
    ['Standby data directory', standby.datadir],
    ['Standby port', String(standby.port)],
    ['Standby process', standby.pid === null ? 'not running' : String(standby.pid)],
    ['Standby status', STATUS[standby.status]],
  ]);
}

/** `-x` and `expand status`: the queue and the whole. */
export function renderExpansion(report: ExpansionReport): string {
  if (report.expansion === null) return 'Cluster Expansion State = No Expansion Detected';
  const tables = [...report.tables].sort((a, b) => a.rank - b.rank || a.name.localeCompare(b.name));
  const percent = (done: number, all: number) => (all === 0 ? '-' : `${Math.floor((100 * done) / all)} %`);
  const table = renderTable(
    ['Rank', 'Table', 'Status', 'Size', 'To move', 'Moved', 'Sets', 'Done'],
    tables.map((row) => [
      String(row.rank),
      `${row.schema}.${row.name}`,
      row.error === null ? row.status : `${row.status}: ${row.error}`,
      bytesText(row.sourceBytes),
      bytesText(row.bytesToMove),
      bytesText(row.bytesDone),
      `${row.movesDone}/${row.moves}`,
      row.status === 'COMPLETED' ? '100 %' : percent(row.movesDone, row.moves),
    ]),
    { numeric: [true, false, false, true, true, true, true, true] },
  );
  const whole = renderPairs([
    ['Cluster Expansion State', expansionState(report)],
    ['Tables expanded', String(report.tablesDone)],
    ['Tables in progress', String(report.tablesInProgress)],
    ['Tables left', String(report.tablesLeft)],
    ['Bytes moved', bytesText(report.bytesDone)],
    ['Bytes left', bytesText(report.bytesLeft)],
    ['Estimated rate', report.rate === null ? '-' : `${bytesText(report.rate)}/s`],
    ['Estimated end', report.estimatedEnd ?? '-'],
  ]);
  return tables.length === 0 ? whole : `${table}\n\n${whole}`;
}
