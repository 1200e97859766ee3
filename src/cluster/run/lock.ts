import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';
import { readJson } from '../../core/files.js';

/** Who works on the cluster's daemons and directories. */
interface Holder {
  pid: number;
  /** When the process began, in the kernel's count: pids are given again. null where the system does not say. */
  began: string | null;
  command: string;
}

const ATTEMPTS = 5;

/**
 * Runs work that makes, starts, stops or removes daemons, one command at a time for each directory. What a command that was
 * killed left behind is taken over. The coordinator has a lock of its own for what it does itself.
 * @throws DamsonError while another command holds the lock.
 */
export async function withLock<T>(directory: string, command: string, work: () => Promise<T>): Promise<T> {
  const path = join(directory, 'admin.lock');
  const own: Holder = { pid: process.pid, began: beganOf(process.pid), command };
  take(path, own);
  try {
    return await work();
  } finally {
    if (isSame(readJson<Holder>(path), own)) rmSync(path, { force: true });
  }
}

function take(path: string, own: Holder): void {
  const temporary = `${path}.${own.pid}`;
  writeFileSync(temporary, JSON.stringify(own), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      // The link appears with its content, or not at all.
      if (tryLink(temporary, path)) return;
      const holder = readJson<Holder>(path);
      if (holder === undefined) continue;
      if (isAlive(holder)) {
        throw new DamsonError(`another operation is running: ${holder.command} (process ${holder.pid})`, {
          hint: 'wait until it has ended, then run this again; nothing was changed',
        });
      }
      rmSync(path, { force: true });
    }
  } finally {
    rmSync(temporary, { force: true });
  }
  throw new DamsonError(`the lock file ${path} cannot be taken`, { hint: 'other commands are starting; run this again' });
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function isSame(a: Holder | undefined, b: Holder): boolean {
  return a !== undefined && a.pid === b.pid && a.began === b.began;
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  const began = beganOf(holder.pid);
  return began === null || holder.began === null || began === holder.began;
}

/** Field 22 of /proc/<pid>/stat, behind the name in parentheses. */
function beganOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
