/** Figures as ratios: everything is measured in this one run, against raw DuckDB and, where `postgres` is found, PostgreSQL. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { damson } from '../demo/damson.js';
import { SCHEMA } from '../demo/github.js';
import { renderTable } from '../src/ui/table.js';
import { benchAggregate } from './aggregate.js';
import { benchCopy } from './copy.js';
import { settled, startDamson } from './damson-cluster.js';
import { startPostgres } from './postgres.js';
import { benchRouter } from './router.js';

/** One figure: what was measured, ours, the comparator's, and their ratio. */
export interface Figure {
  what: string;
  ours: string;
  comparator: string;
  ratio: string;
  aim: string;
}

const { values: flags } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    seconds: { type: 'string', default: '6' },
    json: { type: 'boolean', default: false },
  },
});

const directory = mkdtempSync(join(tmpdir(), 'damson-bench-'));
const note = (text: string) => process.stderr.write(`${text}\n`);
const figures: Figure[] = [];
try {
  note('Starting a cluster …');
  const cluster = await startDamson(join(directory, 'cluster'));
  figures.push(...cluster.figures);
  const postgres = await startPostgres(join(directory, 'postgres'));
  if (postgres === null) note('No postgres on this machine: its comparisons are left out.');
  try {
    for (const statement of SCHEMA) await cluster.client.query(statement);
    note('COPY …');
    const { figures: copied, duckdb } = await benchCopy(
      cluster.client,
      postgres?.client ?? null,
      directory,
      Number(flags.events),
    );
    figures.push(...copied);
    await settled(join(directory, 'cluster'));
    await postgres?.client.query('CHECKPOINT');
    note('Aggregates …');
    figures.push(...(await benchAggregate(cluster.client, duckdb)));
    note('Router …');
    figures.push(...(await benchRouter(cluster, postgres, directory, Number(flags.seconds))));
  } finally {
    await postgres?.stop();
    await cluster.client.end();
    await damson(['delete', '-a', '-d', join(directory, 'cluster')]);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (flags.json) process.stdout.write(`${JSON.stringify(figures, null, 1)}\n`);
else {
  const table = figures.map(({ what, ours, comparator, ratio, aim }) => [what, ours, comparator, ratio, aim]);
  process.stdout.write(`${renderTable(['Figure', 'Damson', 'Comparator', 'Ratio', 'Aim'], table)}\n`);
}
process.exit(0);
