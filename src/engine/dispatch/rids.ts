/** Row ids of reference tables, which the coordinator gives, so that all copies hold the same. */
export class ReferenceRids {
  /** shard → first rid that was not given since this coordinator started. */
  private readonly next = new Map<number, number>();

  /** @param stored first rid not given in the coordinator's own copy, from its store. */
  constructor(private readonly stored: (shardId: number) => number) {}

  /** First rid for a writer that holds the shard's lock alone; tell `used` how many it took. */
  first(shardId: number): number {
    return Math.max(this.next.get(shardId) ?? 1, this.stored(shardId));
  }

  used(shardId: number, first: number, count: number): void {
    this.next.set(shardId, Math.max(this.next.get(shardId) ?? 1, first + count));
  }
}
