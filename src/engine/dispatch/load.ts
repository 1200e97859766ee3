import { internalError } from '../../core/errors.js';
import type { ColumnDef, Shard, TableDef } from '../../model/table.js';
import type { CopyPart, CopyResult } from '../../model/task.js';
import type { OpenCall } from '../../rpc/types.js';
import { type CopyBlock, CopyRouter } from '../codec/copy-in.js';
import { type CopyOptions, parseCopyOptions } from '../codec/copy-options.js';
import { locksForWrite } from '../txn/names.js';
import { cancelled } from './errors.js';
import type { ReferenceRids } from './rids.js';
import type { DispatchDeps, StatementContext } from './types.js';
import { takeLocks, writeError } from './write.js';

export interface LoadDeps extends DispatchDeps {
  readonly rids: ReferenceRids;
}

/** How the input of a COPY is to be read. */
export interface LoadInput {
  /** In the order of the column list. */
  columns: ColumnDef[];
  options: CopyOptions;
  /** Columns that are left out have no default. */
  absentAreNull: boolean;
  /** `COPY t(cols) FROM STDIN (…)` for blocks that the front has to compute. */
  copySql: string;
}

/** Rows that wait for their shards, all shards together, and the least that is sent of one. */
const MAX_WAITING = 32 * 1024 * 1024;
const PART_BYTES = { least: 64 * 1024, most: 1024 * 1024 };

/** Bulk rows into the shards of one table: routed as they come, sent when a shard has enough, memory bounded from end to end. */
export class ShardLoad {
  private readonly calls = new Map<number, Sending>();
  private readonly router: CopyRouter;
  private readonly partBytes: number;
  private readonly reference: { shard: Shard; contents: number[]; firstRid: number } | null;
  private nextRandom = 0;
  private rows = 0;

  private constructor(
    private readonly deps: LoadDeps,
    private readonly ctx: StatementContext,
    private readonly table: TableDef,
    private readonly shards: Shard[],
    private readonly input: LoadInput | null,
  ) {
    const { distribution } = table;
    const keyed = distribution.kind === 'distributed' ? distribution : null;
    this.router = new CopyRouter({
      columns: input?.columns ?? table.columns,
      tableColumns: table.columns,
      options: input?.options ?? parseCopyOptions([['format', 'csv']], 'from'),
      distribution:
        keyed === null
          ? null
          : {
              columnIndex: table.columns.findIndex((column) => column.attnum === keyed.attnum),
              typeOid: table.columns.find((column) => column.attnum === keyed.attnum)!.typeOid,
              shardCount: shards.length,
            },
      tableName: table.name,
      absentAreNull: input?.absentAreNull ?? false,
      needsFront: table.needsFront,
    });
    this.partBytes = Math.max(PART_BYTES.least, Math.min(PART_BYTES.most, Math.floor(MAX_WAITING / shards.length)));
    this.reference = distribution.kind === 'reference' ? this.referenceCopies() : null;
  }

  /** Locks every shard of the table before the first row. */
  static async begin(deps: LoadDeps, ctx: StatementContext, table: TableDef, input: LoadInput | null = null): Promise<ShardLoad> {
    const shards = ctx.view().shards(table.tableId);
    await takeLocks(ctx, locksForWrite(table, shards, table.distribution.kind === 'reference' ? 'modify' : 'insert'));
    return new ShardLoad(deps, ctx, table, shards, input);
  }

  /** Does the work and ends the load: the number of rows. An error in either ends what was begun on the segments. */
  async whole(work: () => Promise<unknown>): Promise<number> {
    try {
      await work();
      await this.flush(0);
      await this.finish();
      return this.rows;
    } catch (error) {
      for (const sending of this.calls.values()) sending.call.cancel();
      throw this.ctx.signal.aborted ? cancelled(this.ctx.signal) : error;
    }
  }

  /** Input as the client sent it. False: the rest is ignored (end marker). */
  async push(chunk: Buffer): Promise<boolean> {
    await this.take(this.router.push(chunk));
    return !this.router.finished;
  }

  async end(): Promise<void> {
    await this.take(this.router.end());
  }

  /** Rows in canonical form, all columns. */
  async canonical(csv: Buffer): Promise<void> {
    this.rows += this.router.routeCanonical(csv);
    await this.flush(this.partBytes);
  }

  private async take(blocks: CopyBlock[]): Promise<void> {
    for (const block of blocks) {
      if (block.kind === 'rows') this.rows += block.rows;
      else await this.compute(block);
    }
    await this.flush(this.partBytes);
  }

  /** Rows that only PostgreSQL reads as PostgreSQL does. */
  private async compute(block: CopyBlock & { kind: 'odd' }): Promise<void> {
    if (this.input === null) throw internalError('rows of our own making are not canonical');
    const target = {
      schema: this.table.schema,
      name: this.table.name,
      columns: this.table.columns.map((column) => column.attnum),
    };
    const computed = await this.ctx.computing.copy(this.input.copySql, block.bytes, block.firstLine, target, this.ctx.front);
    this.rows += this.router.routeCanonical(computed.csv, lineOf(block));
  }

  private async flush(least: number): Promise<void> {
    if (this.ctx.signal.aborted) throw cancelled(this.ctx.signal);
    for (const { index, csv, rows } of this.router.takeShardBuffers(least)) {
      const shard = this.shardFor(index);
      const part: CopyPart = { shardId: shard.shardId, csv, rows };
      const contents = this.reference?.contents ?? [this.ctx.view().placement(shard.setKey).contents[0]!];
      await Promise.all(contents.map((content) => this.send(content, part)));
    }
  }

  private shardFor(index: number): Shard {
    if (this.table.distribution.kind !== 'random') return this.shards[index]!;
    this.nextRandom = (this.nextRandom + 1) % this.shards.length;
    return this.shards[this.nextRandom]!;
  }

  private async send(content: number, part: CopyPart): Promise<void> {
    let sending = this.calls.get(content);
    if (sending === undefined) {
      const connection = await this.ctx.txn!.enlist(content);
      const body = { gid: this.ctx.txn!.gid, tableId: this.table.tableId };
      const call = connection.open('copy', this.reference === null ? body : { ...body, firstRid: this.reference.firstRid });
      sending = new Sending(call, (error) => writeError(this.ctx, content, error));
      this.calls.set(content, sending);
    }
    await sending.push(part);
  }

  private async finish(): Promise<void> {
    for (const sending of this.calls.values()) sending.call.end();
    await Promise.all([...this.calls.values()].map((sending) => sending.done));
    if (this.reference !== null) this.deps.rids.used(this.reference.shard.shardId, this.reference.firstRid, this.rows);
  }

  private referenceCopies(): { shard: Shard; contents: number[]; firstRid: number } {
    const shard = this.shards[0]!;
    return { shard, contents: this.ctx.view().placement(shard.setKey).contents, firstRid: this.deps.rids.first(shard.shardId) };
  }
}

/** The input line of a row of a block; unknown where some row has more lines than one. */
function lineOf(block: CopyBlock & { kind: 'odd' }): (row: number) => number | undefined {
  return (row) => {
    let lines = 0;
    for (let at = block.bytes.indexOf(0x0a); at >= 0; at = block.bytes.indexOf(0x0a, at + 1)) lines++;
    return lines > block.rows ? undefined : block.firstLine + row;
  };
}

/** One streamed `copy`, whose error is seen at once, also while a part waits to be taken. */
class Sending {
  readonly done: Promise<CopyResult>;

  constructor(
    readonly call: OpenCall<CopyResult>,
    explain: (error: unknown) => unknown,
  ) {
    this.done = call.result.catch((error) => Promise.reject(explain(error)));
    this.done.catch(() => undefined);
  }

  async push(part: CopyPart): Promise<void> {
    const pushed = this.call.push(part);
    // Where the call has failed, its own error says more than that of the push.
    await Promise.race([pushed.catch(() => this.done), this.done]);
  }
}
