/** What psql asks of the catalogs. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DemoCluster, damson, psql, psqlVersion } from '../helpers/damson.js';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let cluster: DemoCluster;

beforeAll(async () => {
  if (psqlVersion === undefined) return;
  cluster = await DemoCluster.start(['--primaries', '1', '--no-mirrors']);
  const sql = `create table github_events(event_id bigint, event_type text, repo_id bigint not null, payload jsonb, created_at timestamp)
    using columnar distributed by (repo_id)`;
  const made = await cluster.run('sql', '-c', sql, '-c', 'create table app_users(id serial primary key, email text)');
  if (made.code !== 0) throw new Error(made.stderr);
});

afterAll(() => cluster?.remove());

describe.skipIf(psqlVersion === undefined)(`psql (${psqlVersion ?? 'not installed: skipped'})`, () => {
  it.each<[string, RegExp]>([
    ['\\l', /postgres *\| postgres *\| UTF8/],
    ['\\l+', /postgres *\| postgres *\| UTF8/],
    ['\\d', /public *\| github_events *\| table/],
    ['\\d github_events', /repo_id *\| bigint *\| *\| not null/],
    ['\\d+ github_events', /Access method: columnar/],
    ['\\dt+', /github_events *\| table *\| postgres *\| permanent *\| columnar/],
    ['\\di', /app_users_pkey/],
    ['\\ds', /app_users_id_seq/],
    ['\\dn', /public/],
    ['\\du', /postgres *\| Superuser/],
    ['\\df', /List of functions/],
    ['\\dO', /List of collations/],
    ['\\dA', /columnar *\| Table/],
    ['\\conninfo', /connected to database "postgres" as user "postgres"/],
    ['\\d pg_dist_shard', /shardminvalue/],
  ])('%s', async (command, expected) => {
    const { code, stdout, stderr } = await psql(cluster.port, ['-c', command]);
    expect(stderr).toBe('');
    expect(stdout).toMatch(expected);
    expect(code).toBe(0);
  });

  it('\\timing, and an error with its place', async () => {
    const { stdout, stderr } = await psql(cluster.port, [], { input: '\\timing\nselect 1;\nselect nope;\n' });
    expect(stdout).toMatch(/Timing is on\.[\s\S]*\(1 row\)[\s\S]*Time: /);
    expect(stderr).toMatch(/column "nope" does not exist\nLINE 1: select nope;\n {15}\^/);
  });
});

describe('damson completion', () => {
  it('completes commands, flags and values in bash', async () => {
    const { stdout, code } = await damson(['completion', 'bash']);
    expect(code).toBe(0);
    const ask = (...words: string[]) =>
      `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _damson; echo "\${COMPREPLY[*]}"`;
    const questions = [
      ask('damson', 'st'),
      ask('damson', 'expand', 'r'),
      ask('damson', 'stop', '-M', ''),
      ask('damson', 'state', '--p'),
    ];
    const { spawnSync } = await import('node:child_process');
    const bash = spawnSync('bash', ['-c', [stdout, ...questions].join('\n')], { encoding: 'utf8' });
    expect(bash.stdout.trim().split('\n')).toEqual([
      'start state stop',
      'rank rollback run',
      'smart fast immediate',
      '--pairs --problems --ports',
    ]);
  });
});
