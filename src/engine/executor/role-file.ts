/** The role that the coordinator gave this instance last, durable: `role.json`. After a restart it is only a memory. */
import { join } from 'node:path';
import { readJson, writeFileAtomic } from '../../core/files.js';
import type { RoleOrder } from '../../model/task.js';

export type RoleMemory = Pick<RoleOrder, 'role' | 'timeline' | 'state' | 'peer'>;

export function readRole(directory: string): RoleMemory | undefined {
  return readJson<RoleMemory>(join(directory, 'role.json'));
}

export function writeRole(directory: string, memory: RoleMemory): void {
  writeFileAtomic(join(directory, 'role.json'), `${JSON.stringify(memory)}\n`);
}
