import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { afterEach, expect, it } from 'vitest';
import { silentLogger } from '../../core/log.js';
import { openChangeLog } from './changelog.js';
import { encodeFileHeader, FILE_HEADER, logFileName } from './log-files.js';
import { type WriterOrder, type WriterReport, writerThread } from './writer-thread.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function scratch(): string {
  const directory = fs.mkdtempSync(join(tmpdir(), 'damson-thread-'));
  cleanups.push(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The thread's work over a disk with a fault, in this thread. */
function startThread(directory: string, faults: Partial<typeof fs>) {
  const { port1, port2 } = new MessageChannel();
  const reports: WriterReport[] = [];
  port1.on('message', (report: WriterReport) => reports.push(report));
  cleanups.push(() => port1.close());
  writerThread(
    { ...fs, ...faults },
    { parentPort: port2, receiveMessageOnPort },
    { directory, segmentBytes: 8192, reserveBytes: 8192, headerBytes: FILE_HEADER, minFreeBytes: 0 },
  );
  const order = (what: WriterOrder): void => port1.postMessage(what);
  const until = async <R extends WriterReport['r']>(r: R, nth = 1): Promise<Extract<WriterReport, { r: R }>> => {
    for (let n = 0; n < 1000; n++) {
      const found = reports.filter((report) => report.r === r);
      if (found.length >= nth) return found[nth - 1] as Extract<WriterReport, { r: R }>;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`no report "${r}"`);
  };
  const roll = (start: number, generation = 0): void => {
    order({ op: 'roll', generation, path: join(directory, logFileName(start)), start, header: encodeFileHeader(start, 0) });
  };
  const write = (lsn: number, length: number, generation = 0): void => {
    order({ op: 'write', generation, lsn, bytes: new Uint8Array(length).fill(7) });
  };
  const close = async (): Promise<void> => {
    order({ op: 'task', id: 99, task: { do: 'close' } });
    await until('done');
  };
  return { reports, until, roll, write, close };
}

/** A disk with so many bytes free. Files that have their bytes already are written to freely. */
function fullDisk(disk: { free: number }): Partial<typeof fs> {
  const writeSync = ((fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => {
    const grows = Math.max(0, position + length - fs.fstatSync(fd).size);
    if (grows > disk.free) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    disk.free -= grows;
    return fs.writeSync(fd, bytes, offset, length, position);
  }) as typeof fs.writeSync;
  return { writeSync };
}

it('uses the reserve when the disk is full, says so, and says when there is room again', async () => {
  const directory = scratch();
  const disk = { free: 30_000 };
  const thread = startThread(directory, fullDisk(disk));
  thread.roll(0);
  thread.write(0, 3000);
  await thread.until('durable');
  while (!fs.existsSync(join(directory, 'reserve'))) await new Promise((resolve) => setTimeout(resolve, 5));
  disk.free = 100;
  thread.write(3000, 5000);
  await thread.until('durable', 2);
  thread.roll(8000);
  thread.write(8000, 3000);
  expect(await thread.until('durable', 3)).toMatchObject({ end: 11_000 });
  expect(await thread.until('space')).toEqual({ r: 'space', full: true, none: false });
  expect(fs.existsSync(join(directory, 'reserve'))).toBe(false);
  expect(
    fs
      .readFileSync(join(directory, logFileName(8000)))
      .subarray(FILE_HEADER, FILE_HEADER + 3001)
      .filter((byte) => byte === 7),
  ).toHaveLength(3000);
  // Neither a new file nor the reserve can be had: what does not fit fails, and what follows it of its generation.
  thread.roll(11_000);
  thread.write(11_000, 10);
  expect(await thread.until('failed')).toMatchObject({ op: 'roll', lsn: 11_000, code: 'ENOSPC' });
  disk.free = 1_000_000;
  expect(await thread.until('space', 2)).toEqual({ r: 'space', full: false, none: false });
  thread.roll(11_000, 1);
  thread.write(11_000, 10, 1);
  expect(await thread.until('durable', 4)).toMatchObject({ end: 11_010 });
  expect(thread.reports.filter(({ r }) => r === 'failed')).toHaveLength(1);
  await thread.close();
});

it.each([true, false])('leaves nothing of a write that failed half way (it can be undone: %s)', async (undoable) => {
  const directory = scratch();
  const fault = { after: Number.POSITIVE_INFINITY };
  const writeSync = ((fd: number, bytes: Uint8Array, offset: number, length: number, position: number) => {
    const zeros = bytes[offset] === 0;
    if (fault.after <= 0 && !(zeros && undoable)) throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' });
    const some = zeros ? length : Math.min(length, fault.after);
    if (!zeros) fault.after -= some;
    return fs.writeSync(fd, bytes, offset, some, position);
  }) as typeof fs.writeSync;
  const thread = startThread(directory, { writeSync });
  thread.roll(0);
  thread.write(0, 100);
  await thread.until('durable');
  while (!fs.existsSync(join(directory, 'reserve'))) await new Promise((resolve) => setTimeout(resolve, 5));
  fault.after = 2500;
  thread.write(100, 3000);
  thread.write(3100, 10);
  if (undoable) {
    expect(await thread.until('failed')).toMatchObject({ op: 'write', lsn: 100, code: 'EIO' });
    const bytes = fs.readFileSync(join(directory, logFileName(0))).subarray(FILE_HEADER);
    expect(bytes.filter((byte) => byte === 7)).toHaveLength(100);
  } else {
    expect((await thread.until('fatal')).message).toContain('could not be undone');
  }
  fault.after = Number.POSITIVE_INFINITY;
  thread.write(100, 10, 1);
  // What could not be undone is not written over either: only a restart knows what is there.
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(thread.reports.filter(({ r }) => r === 'durable')).toHaveLength(undoable ? 2 : 1);
});

it('stops for good when a sync fails', async () => {
  const directory = scratch();
  let failing = false;
  const fdatasyncSync = ((fd: number) => {
    if (failing) throw new Error('EIO: i/o error');
    fs.fdatasyncSync(fd);
  }) as typeof fs.fdatasyncSync;
  const thread = startThread(directory, { fdatasyncSync });
  thread.roll(0);
  thread.write(0, 100);
  await thread.until('durable');
  failing = true;
  thread.write(100, 100);
  expect((await thread.until('fatal')).message).toContain('EIO');
  failing = false;
  thread.write(200, 100);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(thread.reports.filter(({ r }) => r === 'durable')).toHaveLength(1);
});

it('keeps what it called durable through kill -9', async () => {
  const directory = scratch();
  const changelog = join(import.meta.dirname, 'changelog.ts');
  const log = join(import.meta.dirname, '../../core/log.ts');
  const program = `
    import { openChangeLog } from ${JSON.stringify(changelog)};
    import { silentLogger } from ${JSON.stringify(log)};
    const log = await openChangeLog({ directory: ${JSON.stringify(directory)}, logger: silentLogger(), segmentBytes: 65536, reserveBytes: 4096 });
    for (let n = 0; ; n++) {
      const { end } = log.append({ k: 'BARRIER', id: n + 'x'.repeat(n % 500) });
      log.waitDurable(end).then(() => process.stdout.write(end + '\\n'));
      if (n % 7 === 0) await log.waitDurable(end);
    }`;
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let acknowledged = 0;
    let count = 0;
    const gone = new Promise((resolve) => child.once('close', resolve));
    for await (const line of createInterface(child.stdout)) {
      acknowledged = Number(line);
      if (++count === 500 + round * 333) child.kill('SIGKILL');
    }
    await gone;
    const reopened = await openChangeLog({ directory, logger: silentLogger(), segmentBytes: 65536, reserveBytes: 4096 });
    expect(reopened.end).toBeGreaterThanOrEqual(acknowledged);
    let last = 0;
    for await (const record of reopened.read(0)) last = record.end;
    expect(last).toBe(reopened.end);
    await reopened.close();
  }
});
