import type { DuckDBConnection } from '@duckdb/node-api';
import type pg from 'pg';
import type { Figure } from './main.js';
import { medianMs, ms, times } from './measure.js';

const STATEMENTS: [title: string, sql: string][] = [
  [
    'count, min, max, sum by type',
    'SELECT event_type, count(*), min(created_at), max(created_at), sum(user_id) FROM github_events GROUP BY event_type ORDER BY event_type',
  ],
  ['filter and count', "SELECT count(*) FROM github_events WHERE event_type = 'PushEvent' AND user_id < 1000"],
  ['top repositories', 'SELECT repo_id, count(*) AS n FROM github_events GROUP BY repo_id ORDER BY n DESC, repo_id LIMIT 10'],
];

/** Aggregates over the columnar table through the coordinator, against the same statements in one DuckDB process with two threads. */
export async function benchAggregate(client: pg.Client, duckdb: DuckDBConnection): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [title, sql] of STATEMENTS) {
    const ours = await medianMs(51, 30, () => client.query(sql));
    const raw = await medianMs(51, 30, async () => (await duckdb.runAndReadAll(sql)).getRows());
    figures.push({
      what: `Aggregate, ${title}, against raw DuckDB`,
      ours: ms(ours),
      comparator: ms(raw),
      ratio: times(ours / raw),
      aim: 'at most 2 x',
    });
  }
  const nothing = await medianMs(51, 10, () =>
    client.query({ name: 'one_repo', text: 'SELECT count(*) FROM github_events WHERE repo_id = $1', values: [7] }),
  );
  figures.push({
    what: '… of which one round trip to one segment and one shard',
    ours: ms(nothing),
    comparator: '',
    ratio: '',
    aim: '',
  });
  return figures;
}
