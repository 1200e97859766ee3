/** Random values for tests, from a seed that is printed. */

export interface RandomSource {
  readonly seed: number;
  /** 0 ≤ x < 1. */
  next(): number;
  /** Integer, 0 ≤ x < limit. */
  below(limit: number): number;
}

/** mulberry32; the seed comes from DAMSON_SEED where it is set. */
export function randomSource(seed = Number(process.env.DAMSON_SEED ?? Date.now() % 1000000)): RandomSource {
  console.log(`seed ${seed}`);
  let state = seed | 0;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { seed, next, below: (limit) => Math.floor(next() * limit) };
}

const LETTERS = [...'abcdefgh  XYZ019-_,;:"\'\\\t\n{}[]äöüß€漢字😀'];

/** Up to so many characters, some of them awkward. */
export function randomText(random: RandomSource, maxLength: number): string {
  return Array.from({ length: random.below(maxLength + 1) }, () => LETTERS[random.below(LETTERS.length)]!).join('');
}
