/** The whole main job on this machine, with the commands and the protocol that users have. Ends with exit code 2 when a check fails. */
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { ClusterStatus, ExpansionReport, ReplicaCheck } from '../src/model/admin.js';
import { connect, damson, damsonJson, rows, type Target, value } from './damson.js';
import { EVENT_COLUMNS, EVENT_TYPES, type EventFacts, eventBlocks, noFacts, repoBlocks, SCHEMA, userBlocks } from './github.js';
import { check, emphasis, failedChecks, indent, liveLine, number, say, seconds, section } from './screen.js';
import { FIRST_OWN_EVENT, startReader, startWriter, verifyWriter } from './workload.js';

const SEED = 20_240_101;
/** The repository whose stars the writer counts up. */
const COUNTED_REPO = 4242;

const { values: flags } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    directory: { type: 'string', default: './damson-demo' },
    'base-port': { type: 'string', default: '7000' },
  },
});
const events = Number(flags.events);
const directory = flags.directory;
const at = ['-d', directory];
const target: Target = { host: '127.0.0.1', port: Number(flags['base-port']) };

/** Said when the demo does not come to its end. */
function whatIsLeft(): string {
  return existsSync(`${directory}/coordinator/cluster.json`)
    ? `the cluster is left as it is: damson state -e -d ${directory} shows it, damson delete -d ${directory} removes it`
    : 'there is no cluster: nothing was made';
}

async function main(): Promise<void> {
  if (!Number.isInteger(events) || events < 1000 || !Number.isInteger(target.port)) {
    process.stderr.write(
      'Error: --events and --base-port are whole numbers, --events at least 1000\nHint: npm run demo -- --events 100000\n',
    );
    process.exit(2);
  }
  process.once('SIGINT', () => {
    process.stderr.write(`\nError: interrupted\nHint: ${whatIsLeft()}; run the demo again and it begins anew\n`);
    process.exit(130);
  });
  try {
    await createCluster();
    const facts = await loadTables();
    await askQuestions(facts);
    await showMetadata();
    await expand(facts);
    await failover(facts);
    await summary();
  } catch (error) {
    process.stderr.write(
      `\nError: ${(error as Error).message}\n${/\nHint: /.test((error as Error).message) ? '' : `Hint: ${whatIsLeft()}\n`}`,
    );
    process.exit(2);
  }
  process.exit(failedChecks().length === 0 ? 0 : 2);
}

type State = { cluster: ClusterStatus; instances: ClusterStatus['instances']; pairs: ClusterStatus['pairs'] };
const state = () => damsonJson<State>(['state', ...at]);

async function createCluster(): Promise<void> {
  section('1. A cluster on this machine: a coordinator, two segments, two mirrors');
  if (existsSync(`${directory}/coordinator/cluster.json`)) {
    say(`   ${directory} holds an earlier demo cluster; it is deleted first`);
    await damson(['delete', '-a', ...at]);
  }
  const started = performance.now();
  await damson(['demo', '--directory', directory, '--base-port', flags['base-port']], { show: true });
  const client = await connect(target);
  const version = await value(client, 'SHOW server_version');
  await client.end();
  say(`   First connection accepted after ${seconds(performance.now() - started)}; it speaks PostgreSQL ${version}`);
  const { instances } = await state();
  const pids = new Set(instances.map(({ pid }) => pid));
  check('five instances, each a process of its own', instances.length === 5 && pids.size === 5 && !pids.has(null));
  say(indent((await damson(['state', ...at])).stdout.trimEnd()));
}

async function loadTables(): Promise<EventFacts> {
  section(`2. The tables of a GitHub-events application, and ${number(events)} events through COPY`);
  const client = await connect(target);
  for (const statement of SCHEMA) {
    say(indent(`${statement};`));
    await client.query(statement);
  }
  await client.query(
    'INSERT INTO event_types VALUES ' +
      EVENT_TYPES.map(([name, category, text]) => `('${name}', '${category}', '${text}')`).join(', '),
  );
  await client.query(
    "INSERT INTO app_users VALUES (1, 'ada@example.org', 7, '2024-01-02'), (2, 'grace@example.org', 4242, '2024-02-03'), (3, 'linus@example.org', NULL, '2024-03-04')",
  );
  await copy(client, 'github_repos', 'repo_id, name, language, stars, created_at', repoBlocks(SEED + 1));
  await copy(client, 'github_users', 'user_id, login, kind, followers', userBlocks(SEED + 2));
  const facts = noFacts();
  const started = performance.now();
  const copied = await copy(client, 'github_events', EVENT_COLUMNS, eventBlocks(events, SEED, facts), facts);
  const ms = performance.now() - started;
  say(
    `   COPY ${number(copied)}: ${seconds(ms)}, ${number(Math.round(copied / (ms / 1000)))} rows/s, ${(facts.bytes / 1e6 / (ms / 1000)).toFixed(1)} MB/s (generator included)`,
  );
  check('every event is there', Number(await value(client, 'SELECT count(*) FROM github_events')) === events);
  await client.end();
  return facts;
}

async function copy(
  client: pg.Client,
  table: string,
  columns: string,
  blocks: Generator<Buffer>,
  facts?: EventFacts,
): Promise<number> {
  const live = liveLine();
  const started = performance.now();
  const stream = client.query(copyFrom(`COPY ${table} (${columns}) FROM STDIN (FORMAT csv)`));
  const finished = once(stream, 'finish');
  for (const block of blocks) {
    if (!stream.write(block)) await Promise.race([once(stream, 'drain'), finished]);
    if (facts !== undefined) {
      const rate = Math.round(facts.rows / ((performance.now() - started) / 1000));
      const percent = Math.floor((100 * facts.rows) / events);
      live.update(
        `${table}: ${percent} %, ${number(facts.rows)} rows, ${(facts.bytes / 1e6).toFixed(0)} MB, ${number(rate)} rows/s`,
      );
    }
  }
  stream.end();
  await finished;
  live.done(`${table}: ${number(stream.rowCount)} rows`);
  return stream.rowCount;
}

interface Question {
  title: string;
  sql: string;
  /** The answer that the generator knows, for the first column of the first row. */
  expected?: string;
}

async function askQuestions(facts: EventFacts): Promise<void> {
  section('3. Questions, each of another kind');
  const [busiest, busiestEvents] = [...facts.byRepo].reduce((best, entry) => (entry[1] > best[1] ? entry : best));
  const questions: Question[] = [
    {
      title: 'One repository: the router sends it to one segment',
      sql: `SELECT count(*) AS events, count(DISTINCT user_id) AS users, min(created_at), max(created_at)\n  FROM github_events WHERE repo_id = ${busiest}`,
      expected: String(busiestEvents),
    },
    {
      title: 'Colocated join with aggregates: every segment joins its own shards',
      sql: `SELECT r.language, count(*) AS events, count(DISTINCT e.repo_id) AS repos, max(r.stars) AS most_stars\n  FROM github_events e JOIN github_repos r ON r.repo_id = e.repo_id\n GROUP BY r.language ORDER BY events DESC, r.language LIMIT 5`,
    },
    {
      title: 'Join with the reference table, which every segment has',
      sql: `SELECT t.category, count(*) AS events\n  FROM github_events e JOIN event_types t ON t.event_type = e.event_type\n GROUP BY t.category ORDER BY events DESC`,
      expected: 'code',
    },
    {
      title: 'A join that is not colocated: events lie by repository, users by user',
      sql: `SELECT u.kind, count(*) AS pushes\n  FROM github_events e JOIN github_users u ON u.user_id = e.user_id\n WHERE e.event_type = 'PushEvent' GROUP BY u.kind ORDER BY pushes DESC`,
    },
    {
      title: 'A local table, on the coordinator alone',
      sql: "SELECT id, email, since FROM app_users WHERE since >= date '2024-02-01' ORDER BY id",
      expected: '2',
    },
  ];
  const client = await connect(target);
  for (const question of questions) await ask(client, question);
  const types = await rows(client, 'SELECT event_type, count(*) FROM github_events GROUP BY event_type');
  check(
    'the events of each type are as the generator counted them',
    types.length === facts.byType.size && types.every(([type, n]) => facts.byType.get(type as string) === Number(n)),
  );
  await client.end();
}

async function ask(client: pg.Client, { title, sql, expected }: Question): Promise<void> {
  say(`\n  ${title}\n${indent(sql)}`);
  await client.query(sql);
  const started = performance.now();
  await client.query(sql);
  const ms = performance.now() - started;
  say(indent((await damson(['sql', ...at, '-c', sql])).stdout.trimEnd()));
  const plan = (await rows(client, `EXPLAIN ${sql}`)).map(([line]) => line as string);
  const kind = /^Damson plan: (\S+)/.exec(plan[0] ?? '')?.[1] ?? plan[0];
  say(`   ${emphasis(`Plan: ${kind}`)}   Time: ${ms.toFixed(1)} ms`);
  say(indent(plan.slice(1).join('\n'), '   '));
  if (expected !== undefined) check('the answer is the one that the generator knows', (await value(client, sql)) === expected);
}

async function showMetadata(): Promise<void> {
  section('4. Where the shards are: the metadata, as in Citus');
  const all = 'SELECT * from pg_dist_shard;';
  const one = `SELECT
    shardid,
    node.nodename,
    node.nodeport
FROM pg_dist_placement placement
JOIN pg_dist_node node
  ON placement.groupid = node.groupid
 AND node.noderole = 'primary'::noderole
WHERE shardid = 102027;`;
  const table = (await damson(['sql', ...at, '-c', all])).stdout.trimEnd().split('\n');
  say(indent([all, ...table.slice(0, 5), ' …', ...table.slice(20, 24), ' …', table.at(-1) as string].join('\n')));
  say(indent([one, (await damson(['sql', ...at, '-c', one])).stdout.trimEnd()].join('\n')));
  const client = await connect(target);
  const shards = await rows(
    client,
    "SELECT shardid, shardminvalue, shardmaxvalue FROM pg_dist_shard WHERE logicalrelid = 'github_events'::regclass ORDER BY shardid",
  );
  check(
    'github_events has the shards 102008 to 102039',
    shards.length === 32 && shards[0]?.[0] === '102008' && shards[31]?.[0] === '102039',
  );
  check('shard 102027 covers 402653184 to 536870911', shards[19]?.join(' ') === '102027 402653184 536870911');
  check('its placement names a primary', (await rows(client, one)).length === 1);
  await client.end();
}

async function expand(facts: EventFacts): Promise<void> {
  section('5. A third segment with its mirror, while a writer and a reader work');
  const client = await connect(target);
  const before = new Map(await placements(client));
  const stars = Number(await value(client, 'SELECT stars FROM github_repos WHERE repo_id = $1', [COUNTED_REPO]));
  const writer = startWriter(target, FIRST_OWN_EVENT, COUNTED_REPO);
  const reader = startReader(target, facts);
  const file = `${directory}/coordinator/expand.txt`;
  rmSync(file, { force: true });
  say(indent((await damson(['expand', 'plan', ...at, '--segments-per-host', '1', '-o', file])).stdout.trimEnd()));
  await damson(['expand', 'add', ...at, '-i', file], { show: true });
  await damson(['expand', 'rank', ...at, 'github_events', '1']);
  say('   github_events is ranked first:');
  say(indent((await damson(['expand', 'status', ...at])).stdout.trimEnd()));
  const run = damson(['expand', 'run', ...at], { allow: [1] });
  const { shown } = await followQueue(run);
  const outcome = await run;
  say(indent(outcome.stdout.trimEnd()));
  const written = await writer.stop();
  const read = await reader.stop();
  check('the redistribution ended well', outcome.code === 0, shown);
  const problems = await verifyWriter(target, written, COUNTED_REPO, stars);
  check(
    'no row of the writer was lost or doubled',
    problems.length === 0,
    problems.join('; ') ||
      `${number(written.acknowledged.length)} inserts and ${number(written.counted)} updates, longest pause ${written.longestMs.toFixed(0)} ms`,
  );
  check(
    'no statement of the writer failed',
    written.retried.size === 0,
    [...written.retried].map(([code, n]) => `${code}: ${n}`).join(', '),
  );
  check(
    'every answer of the reader was right',
    read.wrong.length === 0 && read.failed.length === 0,
    [...read.wrong, ...read.failed].slice(0, 3).join('; ') ||
      `${number(read.reads)} reads, longest ${read.longestMs.toFixed(0)} ms`,
  );
  check(
    'every loaded event is there once',
    Number(
      await value(
        client,
        `SELECT count(*) FROM (SELECT event_id FROM github_events WHERE event_id < ${FIRST_OWN_EVENT} GROUP BY event_id) one`,
      ),
    ) === facts.rows,
  );
  const after = await placements(client);
  const moved = after.filter(([shard, group]) => before.get(shard) !== group).length;
  check(
    'about a third of the shards moved',
    moved >= 0.25 * after.length && moved <= 0.4 * after.length,
    `${moved} of ${after.length}`,
  );
  await client.end();
  await damson(['expand', 'finish', ...at], { show: true });
}

/** Shard id and the group that holds it, of every distributed table. */
async function placements(client: pg.Client): Promise<[string, string][]> {
  return (await rows(
    client,
    "SELECT p.shardid, p.groupid FROM pg_dist_placement p JOIN pg_dist_shard s ON s.shardid = p.shardid JOIN pg_dist_partition t ON t.logicalrelid = s.logicalrelid WHERE t.partmethod = 'h'",
  )) as [string, string][];
}

async function followQueue(run: Promise<unknown>): Promise<{ shown: string }> {
  let running = true;
  run.then(
    () => {
      running = false;
    },
    () => {
      running = false;
    },
  );
  const live = liveLine();
  let shown = '';
  while (running) {
    const report = await damsonJson<ExpansionReport>(['expand', 'status', ...at]);
    shown = report.tables
      .map(({ name, rank, movesDone, moves, status }) => `${name} (rank ${rank}) ${movesDone}/${moves} ${status}`)
      .join(' · ');
    if (running) live.update(shown);
  }
  live.done(shown);
  return { shown };
}

async function failover(facts: EventFacts): Promise<void> {
  section('6. A primary is killed while a writer works');
  const client = await connect(target);
  const stars = Number(await value(client, 'SELECT stars FROM github_repos WHERE repo_id = $1', [COUNTED_REPO]));
  const writer = startWriter(target, FIRST_OWN_EVENT + 500_000_000, COUNTED_REPO);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const victim = (await state()).instances.find(({ content, role }) => content === 0 && role === 'p');
  if (victim?.pid == null) throw new Error('segment 0 has no running primary');
  say(`   kill -9 ${victim.pid}: the primary of segment 0, on port ${victim.port}`);
  const killed = performance.now();
  process.kill(victim.pid, 'SIGKILL');
  await until(
    async () =>
      (await state()).instances.some(({ content, role, dbid }) => content === 0 && role === 'p' && dbid !== victim.dbid),
    'the failover',
  );
  say(`   Its mirror took over after ${seconds(performance.now() - killed)}:`);
  say(indent((await damson(['state', '-e', ...at], { allow: [1] })).stdout.trimEnd()));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await damson(['recover', '-a', ...at], { show: true });
  await until(
    async () => (await state()).pairs.every(({ state: s, content }) => content < 0 || s === 'IN_SYNC'),
    'the mirror to be in sync',
  );
  await damson(['recover', '-a', '--rebalance', ...at], { show: true });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const written = await writer.stop();
  const problems = await verifyWriter(target, written, COUNTED_REPO, stars);
  const retried = [...written.retried].map(([code, n]) => `${code}: ${n}`).join(', ') || 'none';
  check(
    'every acknowledged row is there, once',
    problems.length === 0,
    problems.join('; ') ||
      `${number(written.acknowledged.length)} inserts and ${number(written.counted)} updates; retried: ${retried}; longest pause ${seconds(written.longestMs)}`,
  );
  check(
    'every loaded event is there',
    Number(await value(client, `SELECT count(*) FROM github_events WHERE event_id < ${FIRST_OWN_EVENT}`)) === facts.rows,
  );
  await client.end();
  const { instances, pairs } = await state();
  check(
    'every instance has its preferred role again',
    instances.every(({ role, preferred_role }) => role === preferred_role),
  );
  check(
    'every pair is in sync',
    pairs.every(({ content, state: s }) => content < 0 || s === 'IN_SYNC'),
  );
  const replicas = await damsonJson<ReplicaCheck>(['check', 'replicas', ...at], [1]);
  check(
    'mirrors equal primaries, by checksum',
    replicas.differences.length === 0 && replicas.compared.length === 3,
    `${replicas.shards} shards, ${number(replicas.rows)} rows of segments ${replicas.compared.join(', ')}`,
  );
}

async function until(test: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 120_000;
  while (!(await test())) {
    if (performance.now() > deadline) throw new Error(`waited two minutes for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function summary(): Promise<void> {
  section('7. Summary');
  say(indent((await damson(['state', ...at])).stdout.trimEnd()));
  const failed = failedChecks();
  say(
    failed.length === 0
      ? '\n   Every check passed. The cluster goes on running.'
      : `\n   ${failed.length} checks failed:\n${indent(failed.join('\n'), '     ')}`,
  );
  const named = directory === './damson-demo' ? '' : ` -d ${directory}`;
  say(
    indent(
      [
        '',
        `psql      psql -h ${target.host} -p ${target.port} -U postgres postgres`,
        `JDBC      jdbc:postgresql://${target.host}:${target.port}/postgres?user=postgres`,
        `damson    npx damson sql${named}`,
        `stop      npx damson stop${named}      start   npx damson start${named}`,
        `delete    npx damson delete${named}`,
      ].join('\n'),
    ),
  );
}

await main();
