/** This machine as a host: processes, ports and directories, reached without SSH. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statfsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../core/clock.js';
import { DamsonError } from '../../core/errors.js';
import { readJson, writeFileAtomic } from '../../core/files.js';

const DAEMON = join(dirname(fileURLToPath(import.meta.url)), '../../../bin/damsond.js');

/** What a daemon writes into its data directory when it listens. */
interface PidFile {
  pid: number;
  startedAt: string;
  port: number;
}

/** true when nobody listens on the address and port. */
export function portIsFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: address, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

export function directoryIsEmpty(path: string): boolean {
  return !existsSync(path) || readdirSync(path).length === 0;
}

/** The path, or the one of its ancestors, that is there and no directory; null when there is none. */
export function fileAmong(path: string): string | null {
  let at = path;
  while (!existsSync(at)) at = dirname(at);
  return statSync(at).isDirectory() ? null : at;
}

/** Bytes that can still be written below the first existing ancestor of the path. */
export function freeBytes(path: string): number {
  let at = path;
  while (!existsSync(at)) at = dirname(at);
  const { bavail, bsize } = statfsSync(at);
  return bavail * bsize;
}

export function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/**
 * The process id of the daemon that serves a data directory, or null. A pid file alone proves nothing: the process must
 * be a daemon of this very directory.
 */
export function daemonPid(datadir: string): number | null {
  return livePid(datadir, PID_FILE);
}

/** Written by the daemon when it listens; by it when it begins; by whoever started it. */
const PID_FILE = 'damsond.pid';
const LOCK_FILE = 'damsond.lock';
const STARTUP_FILE = 'startup.pid';

/** As `daemonPid`, but also a daemon that has not come so far as to listen, or that has stopped listening and not ended. */
export function daemonProcess(datadir: string): number | null {
  for (const file of [PID_FILE, LOCK_FILE, STARTUP_FILE]) {
    const pid = livePid(datadir, file);
    if (pid !== null) return pid;
  }
  return null;
}

function livePid(datadir: string, file: string): number | null {
  const pid = readJson<Pick<PidFile, 'pid'>>(join(datadir, file))?.pid;
  if (pid === undefined) return null;
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    // A process that is being killed has no command line any more, and still holds its port and lock.
    const dying = words.length === 1 && words[0] === '' && !/\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    return words.includes(datadir) || (dying && file === LOCK_FILE) ? pid : null;
  } catch {
    return pidExistsWithoutProc(pid) ? pid : null;
  }
}

function pidExistsWithoutProc(pid: number): boolean {
  if (existsSync('/proc/self')) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Threads for each of `primaries` daemons that work at the same time on this host. */
export function threadsForEach(primaries: number): number {
  return Math.max(1, Math.floor(availableParallelism() / Math.max(1, primaries)));
}

/**
 * Starts a daemon that outlives this process, and waits until it listens. Its standard output and error go to
 * `log/startup.log` of its data directory, whose last lines explain a failure.
 */
export async function startDaemon(datadir: string, timeoutMs = 60_000): Promise<number> {
  const running = await waitForOther(datadir, timeoutMs);
  if (running !== null) return running;
  mkdirSync(join(datadir, 'log'), { recursive: true });
  const startupLog = join(datadir, 'log', 'startup.log');
  const out = openSync(startupLog, 'w', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(process.execPath, [DAEMON, '--datadir', datadir], {
      cwd: datadir,
      detached: true,
      stdio: ['ignore', out, out],
      env: {
        ...process.env,
        UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? '32',
        // glibc raises this by itself, and then keeps the large buffers that were freed: some 60 MB of a coordinator.
        MALLOC_MMAP_THRESHOLD_: process.env.MALLOC_MMAP_THRESHOLD_ ?? '1048576',
      },
    });
  } finally {
    closeSync(out);
  }
  let exit: string | null = null;
  child.once('exit', (code, signal) => {
    exit = signal ?? `exit code ${code}`;
  });
  child.once('error', (error) => {
    exit = error.message;
  });
  child.unref();
  if (child.pid !== undefined) writeFileAtomic(join(datadir, STARTUP_FILE), JSON.stringify({ pid: child.pid }));
  const deadline = systemClock.monotonicMs() + timeoutMs;
  while (systemClock.monotonicMs() < deadline) {
    const file = readJson<PidFile>(join(datadir, 'damsond.pid'));
    if (file !== undefined && file.pid === child.pid) return file.pid;
    if (exit !== null) throw startFailure(datadir, startupLog, `ended with ${exit}`);
    await systemClock.sleep(20);
  }
  if (child.pid !== undefined) process.kill(child.pid, 'SIGKILL');
  throw startFailure(datadir, startupLog, `did not listen within ${timeoutMs / 1000} s`);
}

/** Waits while a daemon of the directory starts, or ends. Its process id once it listens; null once there is none. */
async function waitForOther(datadir: string, timeoutMs: number): Promise<number | null> {
  const deadline = systemClock.monotonicMs() + timeoutMs;
  for (;;) {
    const listening = daemonPid(datadir);
    if (listening !== null) return listening;
    const other = daemonProcess(datadir);
    if (other === null) return null;
    if (systemClock.monotonicMs() > deadline) {
      throw new DamsonError(`process ${other} of ${datadir} neither listens nor ends within ${timeoutMs / 1000} s`, {
        hint: `look into ${join(datadir, 'log', 'damsond.log')}; damson stop -M immediate ends it`,
      });
    }
    await systemClock.sleep(20);
  }
}

function startFailure(datadir: string, startupLog: string, what: string): DamsonError {
  const lines = existsSync(startupLog) ? readFileSync(startupLog, 'utf8').trim().split('\n').slice(-4).join(' | ') : '';
  return new DamsonError(`the daemon of ${datadir} ${what}${lines === '' ? '' : `: ${lines}`}`, {
    hint: `look into ${join(datadir, 'log', 'damsond.log')}, mend the cause and run the command again`,
  });
}

const IMMEDIATE_MS = 10_000;
const SIGNAL_OF_MODE = { smart: 'SIGTERM', fast: 'SIGTERM', immediate: 'SIGQUIT' } as const;

/** Ends the daemon of a data directory and waits for its end. false when none ran. */
export async function stopDaemon(datadir: string, mode: keyof typeof SIGNAL_OF_MODE, timeoutMs = 60_000): Promise<boolean> {
  const pid = daemonProcess(datadir);
  if (pid === null) return false;
  signal(pid, SIGNAL_OF_MODE[mode]);
  const deadline = systemClock.monotonicMs() + timeoutMs;
  let killAt = mode === 'immediate' ? systemClock.monotonicMs() + IMMEDIATE_MS : Number.POSITIVE_INFINITY;
  while (daemonProcess(datadir) !== null) {
    if (systemClock.monotonicMs() > killAt) {
      // One that hangs loses nothing by it: it replays its log when it starts.
      signal(pid, 'SIGKILL');
      killAt = Number.POSITIVE_INFINITY;
    }
    if (systemClock.monotonicMs() > deadline) {
      throw new DamsonError(`the daemon of ${datadir} (process ${pid}) did not end within ${timeoutMs / 1000} s`, {
        hint: 'run damson stop -M immediate',
      });
    }
    await systemClock.sleep(20);
  }
  return true;
}

/** A process that has just ended by itself is no error. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
