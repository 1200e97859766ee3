/** One process for each data directory: a lock file that names its holder. */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DamsonError } from '../../core/errors.js';

interface Holder {
  pid: number;
  /** When the process began, as the kernel counts: a pid may be given again. null where the system does not say. */
  began: string | null;
}

export interface DirectoryLock {
  release(): void;
}

const ATTEMPTS = 5;

/**
 * Takes the lock of a data directory. What a process left that has ended is replaced.
 * @throws DamsonError while another living process holds it.
 */
export function lockDirectory(directory: string): DirectoryLock {
  const path = join(directory, 'damsond.lock');
  const own: Holder = { pid: process.pid, began: beganOf(process.pid) };
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, JSON.stringify(own), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (tryLink(temporary, path)) return { release: () => release(path, own) };
      const text = readText(path);
      if (text === null) continue;
      const holder = parse(text);
      if (holder !== null && isAlive(holder)) {
        throw new DamsonError(`process ${holder.pid} already serves ${directory}`, {
          hint: 'Stop it first: damson stop.',
        });
      }
      removeStale(path, text);
    }
  } finally {
    rmSync(temporary, { force: true });
  }
  throw new DamsonError(`the lock file ${path} cannot be taken`, { hint: 'Another process is starting on this directory.' });
}

/** The link appears with its content, or not at all. */
function tryLink(temporary: string, path: string): boolean {
  try {
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Moves the stale file away, and puts it back if it was not the one that was judged. */
function removeStale(path: string, judged: string): void {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (readText(aside) !== judged) tryLink(aside, path);
  rmSync(aside, { force: true });
}

function release(path: string, own: Holder): void {
  const text = readText(path);
  const holder = text === null ? null : parse(text);
  if (holder?.pid === own.pid && holder.began === own.began) rmSync(path, { force: true });
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function parse(text: string): Holder | null {
  try {
    const holder = JSON.parse(text) as Partial<Holder>;
    return typeof holder.pid === 'number' ? { pid: holder.pid, began: holder.began ?? null } : null;
  } catch {
    return null;
  }
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  if (hasEnded(holder.pid)) return false;
  const began = beganOf(holder.pid);
  return began === null || holder.began === null || began === holder.began;
}

/** Killed, and its parent has not asked for its exit code yet (state Z or X in /proc/<pid>/stat): it holds nothing any more. */
function hasEnded(pid: number): boolean {
  try {
    return /^ [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/s, ''));
  } catch {
    return false;
  }
}

/** Start time of a process: field 22 of /proc/<pid>/stat, behind the name in parentheses, with the boot it belongs to. */
function beganOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot}/${fields[19]}`;
  } catch {
    return null;
  }
}
