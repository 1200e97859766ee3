import type { ReplicationMethods } from '../../model/task.js';
import type { RpcClient } from '../../rpc/types.js';

/** A typed call of the pair's protocol. */
export function callPeer<M extends keyof ReplicationMethods>(
  client: Pick<RpcClient, 'call'>,
  method: M,
  body: ReplicationMethods[M]['in'],
): Promise<ReplicationMethods[M]['out']> {
  return client.call(method, body, { timeoutMs: ANSWER_MS });
}

/** A mirror that does not answer for so long is connected to anew. Longer than any sync that a disk may take. */
const ANSWER_MS = 60_000;

/** Files travel in parts of this size; log in blocks of it. */
export const PART_BYTES = 1024 * 1024;
