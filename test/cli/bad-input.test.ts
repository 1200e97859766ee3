/** What users get wrong: a clear error with a hint, the right exit code, and nothing lost. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type CommandResult, DemoCluster, damson, freePorts, psql, psqlVersion, startDamson } from '../helpers/damson.js';

vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let cluster: DemoCluster;

beforeAll(async () => {
  cluster = await DemoCluster.start(['--primaries', '1']);
  const made = await cluster.run(
    'sql',
    '-c',
    'create table t(a int primary key, b text) distributed by (a)',
    '-c',
    "insert into t values (1, 'x')",
  );
  if (made.code !== 0) throw new Error(made.stderr);
});

afterAll(() => cluster?.remove());

/** One line of error, a hint, no stack trace, nothing on standard output. */
function expectError(result: CommandResult, code: number, error: RegExp, hint: RegExp): void {
  const lines = result.stderr.split('\n').filter((line) => !/^\d{8}:/.test(line));
  expect(lines[0]).toMatch(/^Error: /);
  expect(lines[0]).toMatch(error);
  expect(lines[1]).toMatch(/^Hint: /);
  expect(lines[1]).toMatch(hint);
  expect(result.stderr).not.toMatch(/^\s+at /m);
  expect(result.stdout).toBe('');
  expect(result.code).toBe(code);
}

describe('SQL', () => {
  it('refuses a table distributed by a column that it has not', async () => {
    const { stderr, code } = await cluster.run('sql', '-c', 'create table wrong(a int) distributed by (nope)');
    expect(stderr).toMatch(/column "nope" .*does not exist/);
    expect(stderr).toMatch(/HINT/);
    expect(code).toBe(2);
    expect(await cluster.rows("select 1 from pg_class where relname = 'wrong'")).toEqual([]);
  });

  it('refuses a primary key without the distribution column', async () => {
    const { stderr, code } = await cluster.run('sql', '-c', 'create table wrong(a int primary key, b int) distributed by (b)');
    expect(stderr).toMatch(/cannot create constraint on "wrong"/);
    expect(stderr).toMatch(/HINT/);
    expect(code).toBe(2);
  });

  it.skipIf(psqlVersion === undefined)('keeps nothing of a COPY with a broken row in the middle', async () => {
    const file = join(cluster.home, 'broken.csv');
    writeFileSync(file, '2,b\nbroken,c\n4,d\n');
    const { stderr, code } = await psql(cluster.port, ['-c', `\\copy t from '${file}' with (format csv)`]);
    expect(stderr).toMatch(/invalid input syntax for type integer: "broken"/);
    expect(stderr).toMatch(/COPY t, line 2, column a/);
    expect(code).toBe(1);
    expect(await cluster.rows('select count(*) as n from t')).toEqual([{ n: '1' }]);
  });

  it.skipIf(psqlVersion === undefined)('turns away psql at the ports of primary and mirror', async () => {
    for (const port of [cluster.port + 2, cluster.port + 3]) {
      const { stderr, code } = await psql(port, ['-c', 'select 1']);
      expect(stderr).toMatch(/segment 0 of a Damson cluster[\s\S]*HINT: .*coordinator/);
      expect(code).toBe(2);
    }
  });
});

describe('damson demo', () => {
  it('names the ports that are taken and makes nothing', async () => {
    const directory = join(cluster.home, 'other');
    const result = await damson(['demo', '--directory', directory, '--base-port', String(cluster.port)]);
    expectError(result, 2, new RegExp(`port ${cluster.port} of 127.0.0.1 is already taken`), /--base-port/);
    expect(existsSync(directory)).toBe(false);
  });

  it('leaves a directory that is not empty as it is', async () => {
    const directory = join(cluster.home, 'full');
    mkdirSync(join(directory, 'coordinator'), { recursive: true });
    writeFileSync(join(directory, 'coordinator', 'mine'), 'x');
    const ports = String(await freePorts(6));
    expectError(
      await damson(['demo', '--directory', directory, '--base-port', ports]),
      2,
      /coordinator is not empty/,
      /--directory/,
    );
    expect(readdirSync(directory)).toEqual(['coordinator']);
    const file = join(directory, 'coordinator', 'mine');
    expectError(await damson(['demo', '--directory', file, '--base-port', ports]), 2, /mine is a file/, /--directory/);
  });
});

describe('finding the cluster', () => {
  it('says where it looked', async () => {
    const env = { COORDINATOR_DATA_DIRECTORY: '' };
    expectError(await damson(['state'], { cwd: cluster.home, env }), 2, /no cluster was named/, /-d DIR/);
    expectError(
      await damson(['state', '-d', '/nosuch']),
      2,
      /\/nosuch \(from --coordinator-dir\) holds no cluster/,
      /damson demo/,
    );
  });
});

describe('arguments', () => {
  const wrong: [string[], RegExp][] = [
    [['stat'], /no command "stat"/],
    [['expand', 'nosuch'], /no command "expand nosuch"/],
    [['state', '--nosuch'], /Nonexistent flag: --nosuch/],
    [['state', 'nosuch'], /unexpected argument: nosuch/],
    [['failover'], /missing argument: content/],
    [['failover', 'x'], /Expected an integer but received: x/],
    [['expand', 'add'], /Missing required flag input/],
    [['expand', 'rank'], /give a table and its rank/],
    [['expand', 'run', '--duration', '5'], /"5" is no duration/],
    [['expand', 'run', '--end', '2020-01-01 00:00:00'], /is past/],
    [['stop', '-M', 'slow'], /--mode=slow to be one of: smart, fast, immediate/],
    [['demo', '--primaries', '0'], /--primaries: Expected an integer greater than or equal to 1/],
    [['sql', '-c', 'select 1', '-f', 'x'], /cannot also be provided/],
  ];
  it('are refused in one line, with a hint', async () => {
    const results = await Promise.all(wrong.map(([args]) => damson(args)));
    for (const [i, result] of results.entries()) expectError(result, 2, (wrong[i] as [string[], RegExp])[1], /./);
  });
});

describe('commands on a cluster that is well', () => {
  const wrong: [string[], number, RegExp, RegExp][] = [
    [['failover', '99'], 2, /there is no segment 99/, /damson state/],
    [['expand', 'rank', 'nosuch', '1'], 2, /no table waits/, /expand add/],
    [['expand', 'run'], 2, /there is no expansion to run/, /expand add/],
    [['expand', 'finish'], 1, /there is no expansion to finish/, /./],
    [['expand', 'rollback', '-a'], 1, /there is no expansion to undo/, /./],
    [['expand', 'rollback'], 2, /no terminal to ask on/, /-a/],
    [['delete'], 2, /no terminal to ask on/, /-a/],
    [['expand', 'plan'], 2, /--segments-per-host is missing/, /--segments-per-host 1/],
    [['expand', 'add', '-i', '/nosuch'], 2, /\/nosuch cannot be read/, /expand plan/],
    [['start', '-R'], 2, /not supported/, /./],
  ];
  it('say what cannot be done, and what can', async () => {
    for (const [args, code, error, hint] of wrong) expectError(await cluster.run(...args), code, error, hint);
  });

  it('recover has nothing to do: exit code 1', async () => {
    const { code, stdout, stderr } = await cluster.run('recover', '-a');
    expect(stdout).toMatch(/Nothing to recover/);
    expect(stderr).toMatch(/Hint: /);
    expect(code).toBe(1);
  });

  it('--json prints one document, and nothing where the command fails', async () => {
    for (const args of [
      ['state'],
      ['expand', 'status'],
      ['check', 'replicas'],
      ['recover', '-a'],
      ['sql', '-c', 'select 1; select 2'],
    ]) {
      const { stdout } = await cluster.run(...args, '--json');
      expect(() => JSON.parse(stdout)).not.toThrow();
    }
    for (const args of [
      ['failover', '99'],
      ['expand', 'run'],
      ['sql', '-c', 'select nope'],
    ]) {
      const { stdout, stderr, code } = await cluster.run(...args, '--json');
      expect(stdout).toBe('');
      expect(stderr).toMatch(/^(Error|ERROR): /m);
      expect(code).toBe(2);
    }
  });

  it('sql shows where an error is, reads standard input, and does not wait for rows of COPY', async () => {
    const wrong = await damson(['sql', '-d', cluster.directory], { input: 'select 1;\nselect a,\n  nope\nfrom t; select 2' });
    expect(wrong.stdout).toMatch(/\(1 row\)/);
    expect(wrong.stdout).not.toContain('2');
    expect(wrong.stderr).toBe('ERROR:  column "nope" does not exist\nLINE 2:   nope\n          ^\n');
    expect(wrong.code).toBe(2);
    const copy = await damson(['sql', '-d', cluster.directory, '-f', '-'], { input: 'copy t from stdin;\n5\tx\n\\.\n' });
    expect(copy.stderr).toMatch(/no rows to give to COPY[\s\S]*HINT: .*psql/);
    expect(copy.code).toBe(2);
  });
});

describe('expansion', () => {
  it('reports all that is wrong in the file at once', async () => {
    const file = join(cluster.home, 'wrong.txt');
    writeFileSync(file, 'h|127.0.0.1|x|/tmp/a|4|1|p\nh|127.0.0.1|7|relative|5|1|q\nshort|line\n');
    const result = await cluster.run('expand', 'add', '-i', file);
    expectError(
      result,
      2,
      /line 1: .*line 2: preferred_role.*line 2: .*absolute.*line 3: expected 7 parts, obtained 2/,
      /expand plan/,
    );
    writeFileSync(file, `h|127.0.0.1|${cluster.port}|/tmp/a|9|7|p\n`);
    expectError(await cluster.run('expand', 'add', '-i', file), 2, /go on from 1 .*needs one mirror.*dbids/, /expand plan/);
  });

  it('is set up once, by one of two commands that begin at the same time, and can be taken back', async () => {
    const file = join(cluster.home, 'expand.txt');
    expect((await cluster.run('expand', 'plan', '--segments-per-host', '1', '-o', file)).code).toBe(0);
    const both = await Promise.all([cluster.run('expand', 'add', '-i', file), cluster.run('expand', 'add', '-i', file)]);
    const [won, lost] = both[0].code === 0 ? both : [both[1], both[0]];
    expect(won.code).toBe(0);
    expectError(lost, 2, /another operation is running: damson expand add|an expansion is under way/, /./);
    expectError(
      await cluster.run('expand', 'add', '-i', file),
      2,
      /an expansion is under way \(SETUP DONE\)/,
      /expand run.*expand rollback/,
    );
    expectError(await cluster.run('expand', 'finish'), 2, /not redistributed yet/, /expand run/);
    expectError(await cluster.run('expand', 'rank', 'nosuch', '1'), 2, /nosuch is not in/, /expand status/);
    expect((await cluster.run('state', '-e')).code).toBe(0);
    expect((await cluster.run('expand', 'rollback', '-a')).code).toBe(0);
    expect(existsSync(join(cluster.directory, 'primary1'))).toBe(false);
    expect((await cluster.run('state', '-e')).code).toBe(0);
    expect(await cluster.rows('select a, b from t')).toEqual([{ a: '1', b: 'x' }]);
  });
});

describe('without a coordinator', () => {
  it('says how to start it; Ctrl-C ends a command with 130', async () => {
    expect((await cluster.run('stop', '-M', 'immediate')).code).toBe(0);
    for (const args of [
      ['state'],
      ['recover', '-a'],
      ['failover', '0'],
      ['expand', 'status'],
      ['check', 'replicas'],
      ['stop', '-u'],
    ]) {
      expectError(await cluster.run(...args), 2, /the coordinator of .* does not run/, /damson start/);
    }
    expectError(await cluster.run('sql', '-c', 'select 1'), 2, /no connection to 127.0.0.1/, /damson start/);
    const starting = startDamson(['start', '-d', cluster.directory]);
    const code = await new Promise<number | null>((resolve) => {
      starting.stderr.once('data', () => starting.kill('SIGINT'));
      starting.once('exit', resolve);
    });
    expect(code).toBe(130);
    const { code: again, stdout } = await cluster.run('start');
    expect([again, stdout]).toEqual([0, expect.stringMatching(/instances started|runs already/)]);
    expect(await cluster.rows('select count(*) as n from t')).toEqual([{ n: '1' }]);
  });
});
