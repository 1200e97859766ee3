/** A writer whose every acknowledged row is known, and a reader whose every answer is. */
import type pg from 'pg';
import { connect, rows, type Target, value } from './damson.js';

/** First event_id of the writer's own events, far above the loaded ones. */
export const FIRST_OWN_EVENT = 1_000_000_000;

export interface WriterReport {
  /** event_ids whose INSERT was acknowledged. */
  acknowledged: number[];
  /** event_ids of which the answer never came: each may be there once or not at all. */
  unknown: number[];
  /** Updates of the counter row that were acknowledged, and those of which nobody knows. */
  counted: number;
  countedUnknown: number;
  /** Statements that failed and were tried again, by SQLSTATE. */
  retried: Map<string, number>;
  longestMs: number;
}

export interface Worker<T> {
  stop(): Promise<T>;
}

/** SQLSTATEs after which nothing of the statement has happened. */
const NOTHING_HAPPENED = new Set(['40001', '40P01', '57P03', '57P01', '55P03']);

/**
 * Inserts numbered events into github_events and counts up the stars of one repository, one statement after the other.
 * @param first number of the first event
 */
export function startWriter(target: Target, first: number, repoId: number): Worker<WriterReport> {
  const report: WriterReport = { acknowledged: [], unknown: [], counted: 0, countedUnknown: 0, retried: new Map(), longestMs: 0 };
  let running = true;
  const work = async () => {
    let client: pg.Client | null = null;
    let id = first;
    while (running) {
      try {
        client ??= await connect(target);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      const started = performance.now();
      const inserted = await attempt(
        client,
        report,
        'INSERT INTO github_events (event_id, event_type, event_public, repo_id, user_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)',
        [id, 'WatchEvent', true, 1 + (id % 50_000), 1 + (id % 40_000), '2024-02-01 00:00:00'],
      );
      if (inserted === 'done') report.acknowledged.push(id);
      if (inserted === 'unknown') report.unknown.push(id);
      if (inserted !== 'nothing') id++;
      const counted =
        inserted === 'unknown'
          ? 'nothing'
          : await attempt(client, report, 'UPDATE github_repos SET stars = stars + 1 WHERE repo_id = $1', [repoId]);
      if (counted === 'done') report.counted++;
      if (counted === 'unknown') report.countedUnknown++;
      report.longestMs = Math.max(report.longestMs, performance.now() - started);
      if (inserted === 'unknown' || counted === 'unknown') {
        await client.end().catch(() => undefined);
        client = null;
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await client?.end().catch(() => undefined);
  };
  const done = work();
  return {
    stop: async () => {
      running = false;
      await done;
      return report;
    },
  };
}

async function attempt(
  client: pg.Client,
  report: WriterReport,
  sql: string,
  values: unknown[],
): Promise<'done' | 'nothing' | 'unknown'> {
  try {
    await client.query(sql, values);
    return 'done';
  } catch (error) {
    const code = (error as { code?: string }).code ?? 'connection lost';
    report.retried.set(code, (report.retried.get(code) ?? 0) + 1);
    return NOTHING_HAPPENED.has(code) ? 'nothing' : 'unknown';
  }
}

export interface ReaderReport {
  reads: number;
  wrong: string[];
  failed: string[];
  longestMs: number;
}

/** Asks again and again what is known: the loaded events, all and of one repository, and each type's number. */
export function startReader(target: Target, facts: { rows: number; byRepo: Map<number, number> }): Worker<ReaderReport> {
  const report: ReaderReport = { reads: 0, wrong: [], failed: [], longestMs: 0 };
  let running = true;
  const work = async () => {
    const client = await connect(target);
    for (let n = 0; running; n++) {
      const repoId = 1 + ((n * 7919) % 50_000);
      const started = performance.now();
      try {
        const all = await value(client, `SELECT count(*) FROM github_events WHERE event_id < ${FIRST_OWN_EVENT}`);
        if (Number(all) !== facts.rows) report.wrong.push(`count(*) said ${all}`);
        const some = await value(client, 'SELECT count(*) FROM github_events WHERE repo_id = $1 AND event_id < $2', [
          repoId,
          FIRST_OWN_EVENT,
        ]);
        if (Number(some) !== (facts.byRepo.get(repoId) ?? 0))
          report.wrong.push(`repository ${repoId}: ${some} instead of ${facts.byRepo.get(repoId) ?? 0}`);
        report.reads += 2;
      } catch (error) {
        report.failed.push((error as Error).message);
      }
      report.longestMs = Math.max(report.longestMs, performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await client.end();
  };
  const done = work();
  return {
    stop: async () => {
      running = false;
      await done;
      return report;
    },
  };
}

/** What the tables hold of a writer's work: every acknowledged event once, no unknown one twice, the counter as counted. */
export async function verifyWriter(target: Target, report: WriterReport, repoId: number, starsBefore: number): Promise<string[]> {
  const client = await connect(target);
  try {
    const problems: string[] = [];
    const [first, last] = [report.acknowledged[0] ?? 0, Math.max(...report.acknowledged, ...report.unknown)];
    const found = new Map<number, number>();
    for (const [id] of await rows(client, `SELECT event_id FROM github_events WHERE event_id BETWEEN ${first} AND ${last}`)) {
      found.set(Number(id), (found.get(Number(id)) ?? 0) + 1);
    }
    const lost = report.acknowledged.filter((id) => !found.has(id));
    const doubled = [...found].filter(([, times]) => times > 1).map(([id]) => id);
    const known = new Set([...report.acknowledged, ...report.unknown]);
    const strange = [...found.keys()].filter((id) => !known.has(id));
    if (lost.length > 0) problems.push(`${lost.length} acknowledged rows are lost (${lost.slice(0, 5).join(', ')} …)`);
    if (doubled.length > 0) problems.push(`${doubled.length} rows are doubled (${doubled.slice(0, 5).join(', ')} …)`);
    if (strange.length > 0) problems.push(`${strange.length} rows were never written (${strange.slice(0, 5).join(', ')} …)`);
    const stars = Number(await value(client, 'SELECT stars FROM github_repos WHERE repo_id = $1', [repoId])) - starsBefore;
    if (stars < report.counted || stars > report.counted + report.countedUnknown) {
      problems.push(`the counter moved by ${stars} instead of ${report.counted}`);
    }
    return problems;
  } finally {
    await client.end();
  }
}
