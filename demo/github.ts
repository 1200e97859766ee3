/**
 * Deterministic events, repositories and users in the shape of GH Archive's: the same seed gives the same bytes. Values are
 * made as PostgreSQL prints them, jsonb included, so that what is loaded can be compared with what comes back.
 */

/** A small, fast generator of 32-bit numbers (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const EVENT_TYPES: [name: string, category: string, description: string, share: number][] = [
  ['PushEvent', 'code', 'Commits were pushed to a branch or tag', 0.5],
  ['CreateEvent', 'code', 'A branch, tag or repository was created', 0.14],
  ['PullRequestEvent', 'review', 'A pull request was opened, closed or changed', 0.1],
  ['WatchEvent', 'social', 'A repository was starred', 0.09],
  ['IssueCommentEvent', 'discussion', 'An issue or pull request was commented on', 0.07],
  ['DeleteEvent', 'code', 'A branch or tag was deleted', 0.04],
  ['IssuesEvent', 'discussion', 'An issue was opened, closed or changed', 0.03],
  ['ForkEvent', 'social', 'A repository was forked', 0.03],
];

const LANGUAGES = ['TypeScript', 'Python', 'Go', 'Rust', 'Java', 'C', 'C++', 'Ruby', 'Shell', null];
const WORDS = [
  'data',
  'cloud',
  'query',
  'stone',
  'fruit',
  'lake',
  'graph',
  'shard',
  'plum',
  'orbit',
  'river',
  'cache',
  'panel',
  'robot',
  'tiny',
  'swift',
];
const KINDS = ['User', 'User', 'User', 'User', 'Organization', 'Bot'];

export const REPO_COUNT = 50_000;
export const USER_COUNT = 40_000;

const word = (n: number) => WORDS[n % WORDS.length] as string;
export const repoName = (repoId: number) =>
  `${word(repoId)}-${word(Math.floor(repoId / 16))}/${word(Math.floor(repoId / 256))}-${repoId}`;
export const userLogin = (userId: number) => `${word(userId)}${word(Math.floor(userId / 16))}${userId}`;

/** Few repositories get most events. */
function skewed(next: () => number, count: number): number {
  const u = next();
  return 1 + Math.floor(count * u * u * u);
}

/** 2024-01-01 + minutes and microseconds, as PostgreSQL prints a timestamp. */
function timestampText(seconds: number, micros: number): string {
  const text = new Date(Date.UTC(2024, 0, 1) + seconds * 1000).toISOString();
  const fraction = micros === 0 ? '' : `.${String(micros).padStart(6, '0').replace(/0+$/, '')}`;
  return `${text.slice(0, 10)} ${text.slice(11, 19)}${fraction}`;
}

function payloadOf(type: string, id: number, next: () => number): string {
  const n = Math.floor(next() * 1000);
  switch (type) {
    case 'PushEvent':
      return `{"ref": "refs/heads/main", "size": ${1 + (n % 5)}, "push_id": ${9_000_000_000 + id}, "distinct_size": ${n % 5}}`;
    case 'CreateEvent':
      return `{"ref": "${word(n)}", "ref_type": "branch", "pusher_type": "user", "master_branch": "main"}`;
    case 'PullRequestEvent':
      return `{"action": "${n % 3 === 0 ? 'closed' : 'opened'}", "number": ${n}, "pull_request": {"merged": ${n % 6 === 0}}}`;
    case 'WatchEvent':
      return '{"action": "started"}';
    case 'IssueCommentEvent':
      return `{"issue": {"title": "Fix \\"${word(n)}\\", please", "number": ${n}}, "action": "created"}`;
    case 'IssuesEvent':
      return `{"issue": {"labels": ["${word(n)}", "${word(n + 3)}"], "number": ${n}}, "action": "opened"}`;
    case 'ForkEvent':
      return `{"forkee": {"id": ${id}, "private": false}}`;
    default:
      return `{"ref": "${word(n)}", "ref_type": "branch", "pusher_type": "user"}`;
  }
}

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;

/** What is known of the events that were generated so far, without asking a database. */
export interface EventFacts {
  rows: number;
  bytes: number;
  byType: Map<string, number>;
  byRepo: Map<number, number>;
}

export const EVENT_COLUMNS = 'event_id, event_type, event_public, repo_id, payload, repo, user_id, org, created_at';

/** CSV of `count` events in blocks of about 256 KB; `facts` is filled on the way. */
export function* eventBlocks(count: number, seed: number, facts: EventFacts): Generator<Buffer> {
  const next = random(seed);
  let text = '';
  for (let id = 1; id <= count; id++) {
    const type = pickType(next());
    const repoId = skewed(next, REPO_COUNT);
    const userId = skewed(next, USER_COUNT);
    const repo = `{"id": ${repoId}, "name": "${repoName(repoId)}"}`;
    const org = next() < 0.3 ? quoted(`{"id": ${1000 + (repoId % 500)}, "login": "org-${repoId % 500}"}`) : '';
    const created = timestampText(Math.floor((id / count) * 86_400 * 30), Math.floor(next() * 1_000_000));
    text += `${id},${type},${next() < 0.97 ? 't' : 'f'},${repoId},${quoted(payloadOf(type, id, next))},${quoted(repo)},${userId},${org},${created}\n`;
    facts.byType.set(type, (facts.byType.get(type) ?? 0) + 1);
    facts.byRepo.set(repoId, (facts.byRepo.get(repoId) ?? 0) + 1);
    if (text.length > 256 * 1024) {
      facts.rows = id;
      yield flushBlock(text, facts);
      text = '';
    }
  }
  facts.rows = count;
  if (text !== '') yield flushBlock(text, facts);
}

function flushBlock(text: string, facts: EventFacts): Buffer {
  const block = Buffer.from(text, 'utf8');
  facts.bytes += block.length;
  return block;
}

export function noFacts(): EventFacts {
  return { rows: 0, bytes: 0, byType: new Map(), byRepo: new Map() };
}

function pickType(u: number): string {
  let left = u;
  for (const [name, , , share] of EVENT_TYPES) {
    left -= share;
    if (left < 0) return name;
  }
  return 'PushEvent';
}

/** CSV of repositories: repo_id, name, language, stars, created_at. */
export function* repoBlocks(seed: number): Generator<Buffer> {
  const next = random(seed);
  let text = '';
  for (let id = 1; id <= REPO_COUNT; id++) {
    const language = LANGUAGES[Math.floor(next() * LANGUAGES.length)] ?? '';
    text += `${id},${repoName(id)},${language},${Math.floor(next() ** 4 * 50_000)},${timestampText(-Math.floor(next() * 86_400 * 3000), 0)}\n`;
    if (text.length > 256 * 1024) {
      yield Buffer.from(text);
      text = '';
    }
  }
  yield Buffer.from(text);
}

/** CSV of users: user_id, login, kind, followers. */
export function* userBlocks(seed: number): Generator<Buffer> {
  const next = random(seed);
  let text = '';
  for (let id = 1; id <= USER_COUNT; id++) {
    text += `${id},${userLogin(id)},${KINDS[Math.floor(next() * KINDS.length)]},${Math.floor(next() ** 3 * 10_000)}\n`;
    if (text.length > 256 * 1024) {
      yield Buffer.from(text);
      text = '';
    }
  }
  yield Buffer.from(text);
}

/** The tables of the application, in the order in which they are made. */
export const SCHEMA = [
  `CREATE TABLE github_events (
    event_id bigint,
    event_type text,
    event_public boolean,
    repo_id bigint,
    payload jsonb,
    repo jsonb,
    user_id bigint,
    org jsonb,
    created_at timestamp
) USING columnar DISTRIBUTED BY (repo_id)`,
  `CREATE TABLE github_repos (
    repo_id bigint PRIMARY KEY,
    name text NOT NULL,
    language text,
    stars integer NOT NULL,
    created_at timestamp
) DISTRIBUTED BY (repo_id)`,
  `CREATE TABLE github_users (
    user_id bigint PRIMARY KEY,
    login text NOT NULL,
    kind text NOT NULL,
    followers integer NOT NULL
)`,
  `SELECT create_distributed_table('github_users', 'user_id', colocate_with => 'none')`,
  `CREATE TABLE event_types (
    event_type text PRIMARY KEY,
    category text NOT NULL,
    description text
) DISTRIBUTED REPLICATED`,
  `CREATE TABLE app_users (
    id integer PRIMARY KEY,
    email text NOT NULL,
    favourite_repo bigint,
    since date
)`,
];
