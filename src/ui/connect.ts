import type { Instance } from '../model/topology.js';

/** How to reach a cluster, stop and delete it. `directory` is what `-d` takes. */
export function connectionHelp(coordinator: Pick<Instance, 'address' | 'port'>, directory: string): string {
  const { address, port } = coordinator;
  const named = directory === './damson-demo' ? '' : ` -d ${directory}`;
  return [
    'The cluster runs. Connect to its coordinator:',
    `  psql    psql -h ${address} -p ${port} -U postgres postgres`,
    `  JDBC    jdbc:postgresql://${address}:${port}/postgres?user=postgres`,
    `  damson  damson sql${named}`,
    'See, stop, start and delete it:',
    `  damson state${named} · damson stop${named} · damson start${named} · damson delete${named}`,
  ].join('\n');
}
