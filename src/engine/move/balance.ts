/** Which sets move where, so that every content holds equally many of each colocation group: the fewest moves. Pure. */
export interface PlacedSet {
  setKey: string;
  colocationId: number;
  content: number;
  bytes: number;
}

export interface PlannedMove {
  setKey: string;
  colocationId: number;
  source: number;
  target: number;
  bytes: number;
}

/**
 * @param sets with one owner each. @param contents that are to hold them; sets elsewhere move away (shrink).
 * For n sets over k contents each gets floor(n/k) or one more. The extra ones stay where most sets are already, which makes
 * the moves fewest; among equals they go where the fewest extras of other groups are, so that small groups spread too.
 */
export function balanceMoves(sets: readonly PlacedSet[], contents: readonly number[]): PlannedMove[] {
  const extras = new Map(contents.map((content) => [content, 0]));
  const groups = new Map<number, PlacedSet[]>();
  for (const set of sets) groups.set(set.colocationId, [...(groups.get(set.colocationId) ?? []), set]);
  const ordered = [...groups].sort(([a], [b]) => a - b);
  return ordered.flatMap(([, group]) => balanceGroup(group, contents, extras));
}

function balanceGroup(group: PlacedSet[], contents: readonly number[], extras: Map<number, number>): PlannedMove[] {
  if (contents.length === 0) return [];
  const held = new Map<number, PlacedSet[]>(contents.map((content) => [content, []]));
  const leaving: PlacedSet[] = [];
  for (const set of group) {
    const here = held.get(set.content);
    if (here === undefined) leaving.push(set);
    else here.push(set);
  }
  const base = Math.floor(group.length / contents.length);
  const quota = new Map(contents.map((content) => [content, base]));
  const count = (content: number) => held.get(content)?.length ?? 0;
  const favoured = [...contents].sort((a, b) => count(b) - count(a) || (extras.get(a) ?? 0) - (extras.get(b) ?? 0) || a - b);
  for (const content of favoured.slice(0, group.length - base * contents.length)) {
    quota.set(content, base + 1);
    extras.set(content, (extras.get(content) ?? 0) + 1);
  }
  // Small sets move: fewest bytes for the same number of moves.
  for (const content of contents) {
    const here = [...(held.get(content) ?? [])].sort((a, b) => a.bytes - b.bytes || (a.setKey < b.setKey ? -1 : 1));
    leaving.push(...here.slice(0, Math.max(0, here.length - (quota.get(content) ?? 0))));
  }
  const places = contents.flatMap((content) =>
    Array<number>(Math.max(0, (quota.get(content) ?? 0) - count(content))).fill(content),
  );
  return leaving.map((set, i) => ({
    setKey: set.setKey,
    colocationId: set.colocationId,
    source: set.content,
    target: places[i] as number,
    bytes: set.bytes,
  }));
}
