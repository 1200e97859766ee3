import type { Shard } from '../../model/table.js';
import type { WriteResult } from '../../model/task.js';
import type { ModifyPlan } from '../planner/types.js';
import { locksForWrite } from '../txn/names.js';
import { isSpread, modifyShards, ownerOf, tableOf } from './targets.js';
import type { Executed, StatementContext } from './types.js';
import { sendWrites, takeLocks } from './write.js';

/** UPDATE or DELETE: locks first, then placements, then one task for each content that owns some of the shards. */
export async function executeModify(ctx: StatementContext, plan: ModifyPlan): Promise<Executed> {
  const planned = tableOf(ctx.view(), plan.tableId);
  const shards = modifyShards(ctx.view(), planned, plan.where, ctx.params);
  await takeLocks(ctx, locksForWrite(planned, shards, 'modify'));

  const view = ctx.view();
  const table = tableOf(view, plan.tableId);
  const copies = isSpread(table) ? null : view.placement(shards[0]!.setKey).contents;
  const byContent =
    copies === null
      ? groupByOwner(shards, (shard) => ownerOf(view, shard.setKey))
      : new Map(copies.map((content) => [content, shards]));
  // All copies of a reference table make the same change; one of them answers.
  const answering = copies === null ? null : copies[0]!;

  const returning = plan.fragment.returning === null ? null : { formats: ctx.formats, session: ctx.output };
  const results = await sendWrites(ctx, [...byContent.keys()], (content) => [
    {
      op: 'modify',
      gid: ctx.txn!.gid,
      fragment: plan.fragment,
      shards: byContent.get(content)!.map((shard) => shard.shardId),
      params: plan.fragment.params.length === 0 ? [] : ctx.params,
      returning: answering === null || answering === content ? returning : null,
    },
  ]);
  const counted = results.filter(({ content }) => answering === null || answering === content);
  const rows = counted.reduce((sum, { result }) => sum + result.rows, 0);
  for (const { result } of counted) await giveReturned(ctx, result);
  const tag = `${plan.fragment.op === 'update' ? 'UPDATE' : 'DELETE'} ${rows}`;
  const tasks = results.map(({ content, result, ms }) => ({
    input: plan.fragment.op,
    content,
    shards: byContent.get(content)!.length,
    rows: result.rows,
    bytes: result.returned?.length ?? 0,
    ms,
  }));
  return { rows, tag, tasks, finish: null };
}

async function giveReturned(ctx: StatementContext, result: WriteResult): Promise<void> {
  if (result.returned === undefined || result.rows === 0) return;
  await ctx.sink.rows(result.returned, result.rows);
}

export function groupByOwner(shards: readonly Shard[], owner: (shard: Shard) => number): Map<number, Shard[]> {
  const out = new Map<number, Shard[]>();
  for (const shard of shards) {
    const content = owner(shard);
    const list = out.get(content);
    if (list === undefined) out.set(content, [shard]);
    else list.push(shard);
  }
  return out;
}
