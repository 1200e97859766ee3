/**
 * "This tier cannot do it exactly", with the reason that EXPLAIN shows. Inside one attempt it is thrown, so that a deparser reads
 * like the tree it walks; across tiers it is a value: `attempt` is the border.
 */
export class Decline {
  constructor(readonly reason: string) {}
}

export function decline(reason: string): never {
  throw new Decline(reason);
}

export function attempt<T>(work: () => T): T | Decline {
  try {
    return work();
  } catch (caught) {
    if (caught instanceof Decline) return caught;
    throw caught;
  }
}
