import { describe, expect, it } from 'vitest';
import type { ProbeResult } from '../../model/task.js';
import type { Pair } from '../../model/topology.js';
import {
  type ContentFacts,
  DECISION_ROWS,
  type DecisionState,
  decide,
  type MemberFacts,
  type MirrorHealth,
  type PrimaryHealth,
  rowFor,
} from './decide.js';

const STATES: DecisionState[] = ['IN_SYNC', 'ALONE', 'CATCHUP', 'JOINING', 'DOWN_IN_SYNC', 'DOWN_ALONE'];
const PRIMARY: PrimaryHealth[] = ['ok', 'suspect', 'lost'];
const MIRROR: MirrorHealth[] = ['none', 'lost', 'suspect', 'stalled', 'behind', 'level'];
const settings = { retries: 3, stallMs: 5000, graceMs: 10_000 };

const pair = (over: Partial<Pair> = {}): Pair => ({
  content: 0,
  timeline: 1,
  state: 'IN_SYNC',
  primaryDbid: 2,
  mirrorDbid: 4,
  down: false,
  ...over,
});
const probe = (over: Partial<ProbeResult> = {}): ProbeResult => ({
  dbid: 2,
  content: 0,
  pid: 1,
  role: 'p',
  timeline: 1,
  end: 100,
  safe: 100,
  applied: 100,
  mirror: { dbid: 4, durable: 100, connected: true, stalledMs: 0 },
  pairState: 'IN_SYNC',
  diskMs: 1,
  rssBytes: 1,
  ...over,
});
const well: MemberFacts = { failures: 0, seen: true, probe: probe() };
const gone: MemberFacts = { failures: 3, seen: true, probe: probe() };
const facts = (over: Partial<ContentFacts> = {}): ContentFacts => ({
  pair: pair(),
  primary: well,
  mirror: well,
  probingMs: 60_000,
  ...over,
});
const act = (over: Partial<ContentFacts>) => decide(facts(over), settings).act;

describe('decisions about a content', () => {
  it('has exactly one row for each combination', () => {
    for (const state of STATES) {
      for (const primary of PRIMARY) for (const mirror of MIRROR) expect(rowFor(state, primary, mirror).why).not.toBe('');
    }
  });

  it('has no row that is never used', () => {
    const used = new Set(STATES.flatMap((s) => PRIMARY.flatMap((p) => MIRROR.map((m) => rowFor(s, p, m)))));
    expect(used.size).toBe(DECISION_ROWS.length);
  });

  it('promotes only a mirror that is marked in sync', () => {
    for (const state of ['ALONE', 'CATCHUP', 'JOINING', 'DOWN_ALONE'] as const) {
      for (const primary of PRIMARY) for (const mirror of MIRROR) expect(rowFor(state, primary, mirror).act).not.toBe('promote');
    }
    expect(act({ primary: gone })).toBe('promote');
    expect(act({ primary: gone, pair: pair({ state: 'ALONE' }) })).toBe('down');
  });

  it('waits for all retries, and longer for an instance that has not started yet', () => {
    expect(act({ primary: { ...gone, failures: 2 } })).toBe('nothing');
    expect(act({ mirror: { ...gone, failures: 2 } })).toBe('nothing');
    expect(act({ mirror: gone })).toBe('alone');
    const never: MemberFacts = { failures: 5, seen: false, probe: null };
    expect(act({ mirror: never, probingMs: 3000 })).toBe('nothing');
    expect(act({ mirror: never, probingMs: 20_000 })).toBe('alone');
  });

  it('lets the primary go alone where only the way between the two is cut', () => {
    const cut = { ...well, probe: probe({ mirror: { dbid: 4, durable: 50, connected: false, stalledMs: 6000 } }) };
    expect(act({ primary: cut })).toBe('alone');
  });

  it('goes from CATCHUP over JOINING to IN_SYNC, each only when the primary says so', () => {
    const behind = { ...well, probe: probe({ mirror: { dbid: 4, durable: 50, connected: true, stalledMs: 0 } }) };
    expect(act({ pair: pair({ state: 'CATCHUP' }), primary: behind })).toBe('nothing');
    expect(act({ pair: pair({ state: 'CATCHUP' }) })).toBe('joining');
    const notYetWaiting = { ...well, probe: probe({ pairState: 'CATCHUP' }) };
    expect(act({ pair: pair({ state: 'JOINING' }), primary: notYetWaiting })).toBe('nothing');
    const waiting = { ...well, probe: probe({ pairState: 'JOINING' }) };
    expect(act({ pair: pair({ state: 'JOINING' }), primary: waiting })).toBe('inSync');
  });

  it('marks a content down and up again', () => {
    expect(act({ primary: gone, mirror: gone })).toBe('down');
    expect(act({ pair: pair({ down: true }), primary: gone, mirror: gone })).toBe('nothing');
    expect(act({ pair: pair({ down: true }), mirror: gone })).toBe('up');
    expect(act({ pair: pair({ down: true }), primary: gone })).toBe('promote');
  });
});
