import type { ClusterStatus, InstanceStatus } from '../../model/admin.js';

/** Something that is not right, and what to do about it. */
export interface Finding {
  content: number | null;
  dbid: number | null;
  what: string;
  hint: string;
}

function place(instance: InstanceStatus): string {
  return `${instance.hostname}:${instance.port} (${instance.datadir})`;
}

/** Everything that is not as it should be. Empty: all is well. Pure. */
export function findProblems(status: ClusterStatus): Finding[] {
  const findings: Finding[] = [];
  const add = (instance: InstanceStatus | null, content: number | null, what: string, hint: string) =>
    findings.push({ content, dbid: instance?.dbid ?? null, what, hint });
  for (const instance of status.instances) {
    const { content, role, preferred_role, status: state, pid } = instance;
    const kind = role === 'p' ? 'primary' : 'mirror';
    if (state === 'd')
      add(instance, content, `${kind} of segment ${content} at ${place(instance)} is down`, 'run damson recover');
    else if (pid === null && content >= 0) {
      add(
        instance,
        content,
        `${kind} of segment ${content} at ${place(instance)} does not answer: ${instance.error ?? 'no reason known'}`,
        'wait for the fault tolerance service to decide, then run damson recover',
      );
    }
    if (role !== preferred_role && role === 'p') {
      add(
        instance,
        content,
        `segment ${content} runs on its mirror at ${place(instance)}`,
        'run damson recover --rebalance when its pair is in sync',
      );
    }
  }
  for (const pair of status.pairs) {
    if (pair.down)
      add(
        null,
        pair.content,
        `segment ${pair.content} is down: primary and mirror are gone`,
        'run damson start to bring their daemons back',
      );
    else if (pair.mirrorDbid !== null && pair.state !== 'IN_SYNC') {
      const doing = pair.state === 'ALONE' ? 'goes on without its mirror' : 'is being brought in sync with its mirror';
      add(
        null,
        pair.content,
        `segment ${pair.content} ${doing} (${pair.state})`,
        pair.state === 'ALONE' ? 'run damson recover' : 'wait, damson state -m shows the progress',
      );
    }
  }
  for (const { gid, participants } of status.coordinator.outstanding) {
    add(
      null,
      null,
      `transaction ${gid} waits for segments ${participants.join(', ')} to acknowledge it`,
      'it is finished when they are back',
    );
  }
  for (const table of status.expansion.tables) {
    if (table.status === 'FAILED') {
      add(
        null,
        null,
        `redistribution of ${table.schema}.${table.name} failed: ${table.error ?? 'no reason known'}`,
        'mend the cause and run damson expand run again',
      );
    }
  }
  return findings;
}
