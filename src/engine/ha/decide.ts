/** What the coordinator does about one content: pure, from what its probes have found (protocols, section 7). */
import type { ProbeResult } from '../../model/task.js';
import type { Pair, PairState } from '../../model/topology.js';

/** What the probes of one instance have come to. */
export interface MemberFacts {
  /** Probes that failed since the last one that was answered. */
  failures: number;
  /** False until it has answered this coordinator once. */
  seen: boolean;
  /** The last answer. */
  probe: ProbeResult | null;
}

export interface ContentFacts {
  pair: Pair;
  primary: MemberFacts;
  mirror: MemberFacts | null;
  /** Milliseconds since this coordinator started to probe. */
  probingMs: number;
}

export interface FtsSettings {
  /** Probes that must fail, one after the other, before an instance counts as lost. */
  retries: number;
  /** A primary whose mirror has not answered it for so long goes on alone. */
  stallMs: number;
  /** An instance that never answered counts as lost only when so much time has passed: clusters start one by one. */
  graceMs: number;
}

export type PrimaryHealth = 'ok' | 'suspect' | 'lost';
/** `stalled`: it answers the coordinator, but not its primary. `level`: it has all that the primary has. */
export type MirrorHealth = 'none' | 'lost' | 'suspect' | 'stalled' | 'behind' | 'level';
/** State of the pair as the catalog has it; DOWN_… where the content is marked down. */
export type DecisionState = PairState | 'DOWN_IN_SYNC' | 'DOWN_ALONE';

export type Act = 'nothing' | 'alone' | 'promote' | 'down' | 'up' | 'joining' | 'inSync';

interface Row {
  state: readonly DecisionState[];
  primary: readonly PrimaryHealth[];
  mirror: readonly MirrorHealth[];
  act: Act;
  why: string;
}

const ANY_MIRROR: readonly MirrorHealth[] = ['none', 'lost', 'suspect', 'stalled', 'behind', 'level'];
const REACHABLE: readonly MirrorHealth[] = ['stalled', 'behind', 'level'];

/** Each combination has exactly one row (tested). */
export const DECISION_ROWS: readonly Row[] = [
  { state: ['IN_SYNC'], primary: ['ok'], mirror: ['none', 'suspect', 'behind', 'level'], act: 'nothing', why: 'all is well' },
  { state: ['IN_SYNC'], primary: ['ok'], mirror: ['lost'], act: 'alone', why: 'the mirror fails its probes' },
  { state: ['IN_SYNC'], primary: ['ok'], mirror: ['stalled'], act: 'alone', why: 'the primary does not reach its mirror' },
  { state: ['IN_SYNC'], primary: ['suspect'], mirror: ANY_MIRROR, act: 'nothing', why: 'the primary may answer the next probe' },
  {
    state: ['IN_SYNC'],
    primary: ['lost'],
    mirror: REACHABLE,
    act: 'promote',
    why: 'the primary fails its probes, the mirror has all of it',
  },
  { state: ['IN_SYNC'], primary: ['lost'], mirror: ['suspect'], act: 'nothing', why: 'the mirror may answer the next probe' },
  { state: ['IN_SYNC'], primary: ['lost'], mirror: ['none', 'lost'], act: 'down', why: 'nobody is left to serve it' },

  {
    state: ['ALONE'],
    primary: ['ok', 'suspect'],
    mirror: ANY_MIRROR,
    act: 'nothing',
    why: 'it serves without mirror until it is recovered',
  },
  {
    state: ['ALONE'],
    primary: ['lost'],
    mirror: ANY_MIRROR,
    act: 'down',
    why: 'the mirror lacks commits: it must not be promoted',
  },

  { state: ['CATCHUP'], primary: ['ok'], mirror: ['suspect', 'behind'], act: 'nothing', why: 'the mirror is catching up' },
  {
    state: ['CATCHUP'],
    primary: ['ok'],
    mirror: ['level'],
    act: 'joining',
    why: 'the mirror is level: from now on wait for both',
  },
  { state: ['CATCHUP'], primary: ['ok'], mirror: ['none', 'lost', 'stalled'], act: 'alone', why: 'the mirror is gone again' },
  { state: ['CATCHUP'], primary: ['suspect'], mirror: ANY_MIRROR, act: 'nothing', why: 'the primary may answer the next probe' },
  {
    state: ['CATCHUP'],
    primary: ['lost'],
    mirror: ANY_MIRROR,
    act: 'down',
    why: 'the mirror lacks commits: it must not be promoted',
  },

  {
    state: ['JOINING'],
    primary: ['ok'],
    mirror: ['suspect', 'behind'],
    act: 'nothing',
    why: 'the primary waits for both; the rest is coming',
  },
  { state: ['JOINING'], primary: ['ok'], mirror: ['level'], act: 'inSync', why: 'the primary waits for both, and both have all' },
  { state: ['JOINING'], primary: ['ok'], mirror: ['none', 'lost', 'stalled'], act: 'alone', why: 'the mirror is gone again' },
  { state: ['JOINING'], primary: ['suspect'], mirror: ANY_MIRROR, act: 'nothing', why: 'the primary may answer the next probe' },
  { state: ['JOINING'], primary: ['lost'], mirror: ANY_MIRROR, act: 'down', why: 'the mirror is not yet marked in sync' },

  { state: ['DOWN_IN_SYNC', 'DOWN_ALONE'], primary: ['ok'], mirror: ANY_MIRROR, act: 'up', why: 'the primary answers again' },
  {
    state: ['DOWN_IN_SYNC'],
    primary: ['suspect', 'lost'],
    mirror: REACHABLE,
    act: 'promote',
    why: 'the mirror has all, and is back first',
  },
  {
    state: ['DOWN_IN_SYNC'],
    primary: ['suspect', 'lost'],
    mirror: ['none', 'lost', 'suspect'],
    act: 'nothing',
    why: 'nobody is back yet',
  },
  { state: ['DOWN_ALONE'], primary: ['suspect', 'lost'], mirror: ANY_MIRROR, act: 'nothing', why: 'only the primary has all' },
];

export interface Decision {
  act: Act;
  why: string;
  primary: PrimaryHealth;
  mirror: MirrorHealth;
}

export function decide(facts: ContentFacts, settings: FtsSettings): Decision {
  const primary = healthOf(facts.primary, facts.probingMs, settings);
  const mirror = mirrorHealth(facts, primary, settings);
  const row = rowFor(decisionState(facts.pair), primary, mirror);
  return { act: row.act, why: row.why, primary, mirror };
}

export function rowFor(state: DecisionState, primary: PrimaryHealth, mirror: MirrorHealth): Row {
  const rows = DECISION_ROWS.filter(
    (row) => row.state.includes(state) && row.primary.includes(primary) && row.mirror.includes(mirror),
  );
  const row = rows[0];
  if (row === undefined || rows.length > 1)
    throw new Error(`${rows.length} rows for ${state}, primary ${primary}, mirror ${mirror}`);
  return row;
}

export function decisionState(pair: Pair): DecisionState {
  if (!pair.down) return pair.state;
  return pair.state === 'IN_SYNC' ? 'DOWN_IN_SYNC' : 'DOWN_ALONE';
}

function healthOf(member: MemberFacts, probingMs: number, settings: FtsSettings): PrimaryHealth {
  if (member.failures === 0 && member.seen) return 'ok';
  if (!member.seen && probingMs < settings.graceMs) return 'suspect';
  return member.failures >= settings.retries ? 'lost' : 'suspect';
}

function mirrorHealth(facts: ContentFacts, primary: PrimaryHealth, settings: FtsSettings): MirrorHealth {
  if (facts.mirror === null) return 'none';
  const health = healthOf(facts.mirror, facts.probingMs, settings);
  if (health !== 'ok') return health;
  const seen = primary === 'ok' ? facts.primary.probe : null;
  // Without the primary's word: it is there, and that is all one knows.
  if (seen === null) return 'behind';
  // An answer from before this mirror was its peer says nothing of it; the order is repeated until it is taken.
  if (seen.mirror === null || seen.mirror.dbid !== facts.pair.mirrorDbid) return 'behind';
  if (seen.mirror.stalledMs >= settings.stallMs) return 'stalled';
  const waitsForBoth = facts.pair.state !== 'JOINING' || seen.pairState === 'JOINING';
  return seen.mirror.connected && seen.mirror.durable >= seen.end && waitsForBoth ? 'level' : 'behind';
}
