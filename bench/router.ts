import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Target } from '../demo/damson.js';
import type { BenchCluster } from './damson-cluster.js';
import type { Figure } from './main.js';
import { perSecond, times } from './measure.js';
import type { BenchPostgres } from './postgres.js';

const SQL = 'SELECT repo_id, name, language, stars, created_at FROM github_repos WHERE repo_id = ';
const CLIENTS = 8;

/** Selects by key with the extended protocol, eight connections: pgbench where it is found, else node-postgres for both. */
export async function benchRouter(
  cluster: BenchCluster,
  postgres: BenchPostgres | null,
  directory: string,
  seconds: number,
): Promise<Figure[]> {
  const measure = hasPgbench()
    ? (target: Target) => pgbench(target, directory, seconds)
    : (target: Target) => nodeClients(target, seconds);
  const ours = await measure(cluster.target);
  const theirs = postgres === null ? null : await measure(postgres.target);
  return [
    {
      what: `Router select by key, prepared, ${CLIENTS} connections, against PostgreSQL 15`,
      ours: perSecond(ours, 'statements'),
      comparator: theirs === null ? 'no postgres here' : perSecond(theirs, 'statements'),
      ratio: theirs === null ? '' : times(ours / theirs),
      aim: 'over 0.2 x',
    },
  ];
}

function hasPgbench(): boolean {
  return spawnSync('pgbench', ['--version']).status === 0;
}

async function pgbench({ host, port }: Target, directory: string, seconds: number): Promise<number> {
  const script = join(directory, 'router.sql');
  writeFileSync(script, `\\set id random(1, 50000)\n${SQL}:id;\n`);
  const run = (time: number) =>
    spawnSync(
      'pgbench',
      [
        '-h',
        host,
        '-p',
        String(port),
        '-U',
        'postgres',
        '-n',
        '-M',
        'prepared',
        '-c',
        String(CLIENTS),
        '-j',
        '1',
        '-T',
        String(time),
        '-f',
        script,
        'postgres',
      ],
      { encoding: 'utf8' },
    );
  run(2);
  const result = run(seconds);
  const tps = /tps = ([\d.]+)/.exec(result.stdout)?.[1];
  if (result.status !== 0 || tps === undefined) throw new Error(`pgbench: ${result.stderr}`);
  return Number(tps);
}

async function nodeClients(target: Target, seconds: number): Promise<number> {
  let count = 0;
  const deadline = performance.now() + seconds * 1000;
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const client = await connect(target);
      while (performance.now() < deadline) {
        await client.query({ name: 'by_key', text: `${SQL}$1`, values: [1 + Math.floor(Math.random() * 50_000)] });
        count++;
      }
      await client.end();
    }),
  );
  return count / seconds;
}
