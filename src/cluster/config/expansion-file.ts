import { dirname, join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import type { Instance } from '../../model/topology.js';

/**
 * gpexpand's input file: `hostname|address|port|datadir|dbid|content|preferred_role` for each new instance, `#` comments.
 */
export function formatExpansion(instances: Instance[]): string {
  const lines = instances.map(({ hostname, address, port, datadir, dbid, content, preferred_role }) =>
    [hostname, address, port, datadir, dbid, content, preferred_role].join('|'),
  );
  return ['# hostname|address|port|datadir|dbid|content|preferred_role', ...lines, ''].join('\n');
}

/**
 * Reads such a file and checks it against the cluster as it is: contiguous new content ids and dbids, mirrors where the
 * cluster has them, no port or directory twice. All problems are reported at once, with their lines.
 */
export function parseExpansion(text: string, existing: Instance[], path: string): Instance[] {
  const problems: string[] = [];
  const instances: Instance[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue;
    const parts = line
      .trim()
      .split('|')
      .map((part) => part.trim());
    if (parts.length !== 7) {
      problems.push(`line ${index + 1}: expected 7 parts, obtained ${parts.length}`);
      continue;
    }
    const [hostname, address, port, datadir, dbid, content, role] = parts as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const numbers = [port, dbid, content].map((value) => (/^\d{1,9}$/.test(value) ? Number(value) : Number.NaN));
    if (numbers.some(Number.isNaN)) problems.push(`line ${index + 1}: port, dbid and content are whole numbers`);
    if (Number(port) < 1 || Number(port) > 65535) problems.push(`line ${index + 1}: ${port} is no port`);
    if (role !== 'p' && role !== 'm') problems.push(`line ${index + 1}: preferred_role is p or m, not "${role}"`);
    if (!datadir.startsWith('/')) problems.push(`line ${index + 1}: the data directory must be an absolute path`);
    const preferred_role = role === 'm' ? 'm' : 'p';
    const [portNumber, dbidNumber, contentNumber] = numbers as [number, number, number];
    instances.push({
      hostname,
      address,
      port: portNumber,
      datadir,
      dbid: dbidNumber,
      content: contentNumber,
      role: preferred_role,
      preferred_role,
      mode: 'n',
      status: 'u',
    });
  }
  if (problems.length === 0) problems.push(...inconsistencies(instances, existing));
  if (problems.length > 0) {
    throw new DamsonError(`${path}: ${problems.join('; ')}`, {
      hint: 'damson expand plan writes a file that fits; nothing was changed',
    });
  }
  return instances;
}

function inconsistencies(instances: Instance[], existing: Instance[]): string[] {
  if (instances.length === 0) return ['No expansion segments defined'];
  const problems: string[] = [];
  const primaries = instances.filter(({ preferred_role }) => preferred_role === 'p');
  const mirrors = instances.filter(({ preferred_role }) => preferred_role === 'm');
  const first = Math.max(-1, ...existing.map(({ content }) => content)) + 1;
  const contents = primaries.map(({ content }) => content).sort((a, b) => a - b);
  if (contents.some((content, index) => content !== first + index)) {
    problems.push(`content ids of the new primaries must go on from ${first} without a gap, not ${contents.join(', ')}`);
  }
  const mirrored = existing.some(({ content, preferred_role }) => content >= 0 && preferred_role === 'm');
  const mirrorContents = new Set(mirrors.map(({ content }) => content));
  if (
    mirrored &&
    (mirrorContents.size !== mirrors.length ||
      contents.some((content) => !mirrorContents.has(content)) ||
      mirrors.length !== contents.length)
  ) {
    problems.push('each new primary needs one mirror, because the cluster has mirrors');
  }
  if (!mirrored && mirrors.length > 0) problems.push('the file names mirrors, but the cluster has none');
  const firstDbid = Math.max(...existing.map(({ dbid }) => dbid)) + 1;
  const dbids = instances.map(({ dbid }) => dbid).sort((a, b) => a - b);
  if (dbids.some((dbid, index) => dbid !== firstDbid + index)) {
    problems.push(`dbids must go on from ${firstDbid} without a gap, not ${dbids.join(', ')}`);
  }
  for (const { hostname, address, port, datadir } of instances) {
    const same = [...existing, ...instances].filter((other) => other.hostname === hostname);
    if (same.filter((other) => other.port === port && other.address === address).length > 1)
      problems.push(`Port ${port} is used multiple times on host ${hostname}`);
    if (same.filter((other) => other.datadir === datadir).length > 1)
      problems.push(`Data directory ${datadir} used multiple times on host ${hostname}`);
  }
  return [...new Set(problems)];
}

/** Plans new segments beside the existing ones: the layout of the first segment is the prototype. */
export function planExpansion(existing: Instance[], hosts: string[], segmentsPerHost: number): Instance[] {
  const prototype = (role: 'p' | 'm') => existing.find(({ content, preferred_role }) => content === 0 && preferred_role === role);
  const primary = prototype('p') as Instance;
  const mirror = prototype('m');
  let content = Math.max(...existing.map((instance) => instance.content)) + 1;
  let port = Math.max(...existing.map((instance) => instance.port)) + 1;
  const planned: Instance[] = [];
  const add = (from: Instance, hostname: string, role: 'p' | 'm', name: string) =>
    planned.push({
      dbid: 0,
      content,
      role,
      preferred_role: role,
      mode: 'n',
      status: 'u',
      hostname,
      address: from.address,
      port: port++,
      datadir: join(dirname(from.datadir), name),
    });
  for (const hostname of hosts) {
    for (let n = 0; n < segmentsPerHost; n++, content++) {
      add(primary, hostname, 'p', `primary${content}`);
      if (mirror !== undefined) add(mirror, hostname, 'm', `mirror${content}`);
    }
  }
  const firstDbid = Math.max(...existing.map(({ dbid }) => dbid)) + 1;
  return planned.map((instance, index) => ({ ...instance, dbid: firstDbid + index }));
}
