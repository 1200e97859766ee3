import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { EVENT_COLUMNS, eventBlocks, noFacts, repoBlocks } from '../demo/github.js';
import type { Figure } from './main.js';
import { perSecond, times } from './measure.js';

const EVENTS_IN_POSTGRES = `CREATE TABLE github_events (event_id bigint, event_type text, event_public boolean, repo_id bigint,
  payload jsonb, repo jsonb, user_id bigint, org jsonb, created_at timestamp)`;
const REPOS_IN_POSTGRES =
  'CREATE TABLE github_repos (repo_id bigint PRIMARY KEY, name text NOT NULL, language text, stars integer NOT NULL, created_at timestamp)';
const REPO_COLUMNS = 'repo_id, name, language, stars, created_at';

/** Loads the same file everywhere. The raw DuckDB that comes back holds the events, as the comparator of the aggregates. */
export async function benchCopy(
  client: pg.Client,
  postgres: pg.Client | null,
  directory: string,
  events: number,
): Promise<{ figures: Figure[]; duckdb: DuckDBConnection }> {
  const file = join(directory, 'events.csv');
  const facts = noFacts();
  const out = createWriteStream(file);
  for (const block of eventBlocks(events, 1, facts)) if (!out.write(block)) await once(out, 'drain');
  out.end();
  await once(out, 'finish');

  const reposFile = join(directory, 'repos.csv');
  await pipeline(repoBlocks(2), createWriteStream(reposFile));
  const ours = await load(client, 'github_events', EVENT_COLUMNS, file);
  await load(client, 'github_repos', REPO_COLUMNS, reposFile);

  const instance = await DuckDBInstance.create(join(directory, 'raw.duckdb'), { threads: '2' });
  const duckdb = await instance.connect();
  const started = performance.now();
  await duckdb.run(`CREATE TABLE github_events AS SELECT * FROM read_csv('${file}', header = false, auto_detect = false, columns = {
    event_id: 'BIGINT', event_type: 'VARCHAR', event_public: 'BOOLEAN', repo_id: 'BIGINT', payload: 'VARCHAR', repo: 'VARCHAR',
    user_id: 'BIGINT', org: 'VARCHAR', created_at: 'TIMESTAMP' })`);
  const raw = performance.now() - started;

  const rate = (ms: number) => `${perSecond(events / (ms / 1000), 'rows')}, ${(facts.bytes / 1e6 / (ms / 1000)).toFixed(1)} MB/s`;
  const figures: Figure[] = [
    {
      what: `COPY of ${events.toLocaleString('en-US')} events, columnar, with mirrors, against raw DuckDB reading the file`,
      ours: rate(ours),
      comparator: rate(raw),
      ratio: times(raw / ours),
      aim: '',
    },
  ];
  if (postgres !== null) {
    await postgres.query(EVENTS_IN_POSTGRES);
    await postgres.query(REPOS_IN_POSTGRES);
    const theirs = await load(postgres, 'github_events', EVENT_COLUMNS, file);
    await load(postgres, 'github_repos', REPO_COLUMNS, reposFile);
    await postgres.query('ANALYZE');
    figures.push({
      what: "… against PostgreSQL 15's COPY",
      ours: rate(ours),
      comparator: rate(theirs),
      ratio: times(theirs / ours),
      aim: '',
    });
  }
  return { figures, duckdb };
}

async function load(client: pg.Client, table: string, columns: string, file: string): Promise<number> {
  const started = performance.now();
  await pipeline(
    createReadStream(file, { highWaterMark: 256 * 1024 }),
    client.query(copyFrom(`COPY ${table} (${columns}) FROM STDIN (FORMAT csv)`)),
  );
  return performance.now() - started;
}
