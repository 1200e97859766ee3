/** What the log's thread is told. Orders are carried out in the order in which they come. */
export type WriterOrder =
  /** Goes on in an existing file. */
  | { op: 'open'; path: string; start: number; position: number }
  /** Goes on in a new file, which begins at `start`. */
  | { op: 'roll'; generation: number; path: string; start: number; header: Uint8Array }
  | { op: 'write'; generation: number; lsn: number; bytes: Uint8Array }
  | { op: 'task'; id: number; task: WriterTask };

export type WriterTask =
  /** Zeros the open file from `from` on, behind which nothing was safe, and removes later files first. */
  | { do: 'cut'; from: number; to: number; remove: string[] }
  /** Everything in the log goes. */
  | { do: 'clear'; remove: string[] }
  /** fdatasync of a file, fsync of its directory. */
  | { do: 'sync'; path: string; directory: string }
  | { do: 'remove'; paths: string[] }
  | { do: 'disk'; path: string }
  | { do: 'close' };

export type WriterReport =
  /** In the file, not yet durable. */
  | { r: 'written'; end: number }
  | { r: 'durable'; end: number; syncs: number }
  /** Nothing from `lsn` on was written, and nothing of that generation will be. */
  | { r: 'failed'; generation: number; op: 'write' | 'roll'; lsn: number; code: string; message: string }
  /** A sync failed: what is on the disk is not known. */
  | { r: 'fatal'; message: string }
  /** `full`: no room beyond the reserve, or beyond what the stores need for what is decided; `none`: a quarter of that is not there either. */
  | { r: 'space'; full: boolean; none: boolean }
  | { r: 'done'; id: number; value?: number; error?: { code: string; message: string } };

export interface WriterOptions {
  directory: string;
  /** Size of a file of the log, and of the reserve file. */
  segmentBytes: number;
  reserveBytes: number;
  headerBytes: number;
  /** Less room than this on the disk counts as none. */
  minFreeBytes: number;
}

/**
 * The log's own thread: writes and syncs with synchronous calls, so that no other work of the process can hold them up.
 * All that waits is written, then synced once. The function is given to the thread as text: it may use nothing from outside
 * but its parameters.
 */
export function writerThread(
  fs: typeof import('node:fs'),
  threads: Pick<typeof import('node:worker_threads'), 'parentPort' | 'receiveMessageOnPort'>,
  options: WriterOptions,
): void {
  const port = threads.parentPort!;
  const spare = `${options.directory}/spare`;
  const reserve = `${options.directory}/reserve`;
  const markPath = `${options.directory}/mark`;
  const chunk = new Uint8Array(256 * 1024);
  const NO_SPACE = ['ENOSPC', 'EDQUOT'];
  let fd = -1;
  let start = 0;
  /** Position after the last byte written. */
  let position = 0;
  let dirty = false;
  let syncs = 0;
  /** Writes of an older generation are what follows a failed one. */
  let accepted = 0;
  let stopped = false;
  /** No file could be made ahead, or a write failed. */
  let full = false;
  /** Less than `minFreeBytes` are free. */
  let low = false;
  let none = false;
  let told = 'false false';
  let preparing: { path: string; fd: number; size: number; filled: number } | undefined;
  let prepareAt: ReturnType<typeof setTimeout> | NodeJS.Immediate | undefined;
  const markFd = fs.openSync(markPath, fs.existsSync(markPath) ? 'r+' : 'w+', 0o600);

  const report = (message: WriterReport): void => port.postMessage(message);
  const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? 'EIO';
  const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

  function fatal(what: string, error: unknown): void {
    stopped = true;
    report({ r: 'fatal', message: `${what}: ${textOf(error)}` });
  }

  function writeAll(to: number, bytes: Uint8Array, at: number): void {
    for (let offset = 0; offset < bytes.length; ) {
      offset += fs.writeSync(to, bytes, offset, bytes.length - offset, at + offset);
    }
  }

  function zero(to: number, from: number, end: number): void {
    chunk.fill(0);
    for (let at = from; at < end; at += chunk.length) writeAll(to, chunk.subarray(0, Math.min(chunk.length, end - at)), at);
  }

  function syncDirectory(path: string): void {
    const directory = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(directory);
    } finally {
      fs.closeSync(directory);
    }
  }

  /** The mark says what was durable; it is not synced itself, so it may be older than the truth, never newer. */
  function mark(end: number): void {
    const bytes = new DataView(new ArrayBuffer(16));
    bytes.setFloat64(0, end);
    bytes.setFloat64(8, -end);
    writeAll(markFd, new Uint8Array(bytes.buffer), 0);
  }

  function sync(): void {
    if (!dirty) return;
    report({ r: 'written', end: position });
    try {
      fs.fdatasyncSync(fd);
    } catch (error) {
      fatal('the change log could not be synced', error);
      return;
    }
    dirty = false;
    syncs++;
    mark(position);
    report({ r: 'durable', end: position, syncs });
    if (position - start > options.segmentBytes / 2) prepareSoon();
  }

  // New files, prepared ahead.

  function makeZeros(path: string, size: number): void {
    const to = fs.openSync(`${path}.tmp`, 'w', 0o600);
    try {
      zero(to, 0, size);
      fs.fdatasyncSync(to);
    } catch (error) {
      fs.rmSync(`${path}.tmp`, { force: true });
      throw error;
    } finally {
      fs.closeSync(to);
    }
    fs.renameSync(`${path}.tmp`, path);
  }

  function setFull(now: boolean): void {
    full = now;
    tellSpace();
  }

  function tellSpace(): void {
    const now = `${full || low} ${none}`;
    if (told === now) return;
    told = now;
    report({ r: 'space', full: full || low, none });
  }

  /** The stores stand on the same disk: they must be able to take what the log has. */
  function lookForRoom(): void {
    try {
      const { bavail, bsize } = fs.statfsSync(options.directory);
      low = bavail * bsize < options.minFreeBytes;
      none = bavail * bsize < options.minFreeBytes / 4;
    } catch {
      low = none = false;
    }
    tellSpace();
  }

  function prepareSoon(delay = 0): void {
    if (prepareAt !== undefined || stopped) return;
    const step = (): void => {
      prepareAt = undefined;
      prepare();
    };
    prepareAt = delay > 0 ? setTimeout(step, delay) : setImmediate(step);
  }

  /** One step: some of a spare or reserve file. What waits to be written comes between the steps. */
  function prepare(): void {
    if (stopped) return;
    try {
      if (preparing === undefined) {
        const path = !fs.existsSync(reserve) ? reserve : fs.existsSync(spare) ? undefined : spare;
        if (path === undefined || (path === spare && !full && position - start <= options.segmentBytes / 2)) {
          setFull(false);
          return;
        }
        const size = path === reserve ? options.reserveBytes : options.segmentBytes + options.headerBytes;
        preparing = { path, size, filled: 0, fd: fs.openSync(`${path}.tmp`, 'w', 0o600) };
      }
      const step = Math.min(preparing.filled + 1024 * 1024, preparing.size);
      zero(preparing.fd, preparing.filled, step);
      // Step by step, so that a commit never waits for a whole file.
      fs.fdatasyncSync(preparing.fd);
      preparing.filled = step;
      if (step === preparing.size) {
        const { path, fd: done } = preparing;
        preparing = undefined;
        fs.closeSync(done);
        fs.renameSync(`${path}.tmp`, path);
      }
      prepareSoon();
    } catch {
      dropPreparing();
      setFull(true);
      prepareSoon(1000);
    }
  }

  function dropPreparing(): void {
    if (preparing === undefined) return;
    fs.closeSync(preparing.fd);
    fs.rmSync(`${preparing.path}.tmp`, { force: true });
    preparing = undefined;
  }

  function roll(order: Extract<WriterOrder, { op: 'roll' }>): void {
    sync();
    if (stopped) return;
    let from = spare;
    if (!fs.existsSync(spare)) {
      if (preparing?.path === spare) dropPreparing();
      try {
        makeZeros(spare, options.segmentBytes + options.headerBytes);
      } catch (error) {
        if (!NO_SPACE.includes(codeOf(error)) || !fs.existsSync(reserve)) throw error;
        from = reserve;
        setFull(true);
        prepareSoon(1000);
      }
    }
    const next = fs.openSync(from, 'r+');
    writeAll(next, order.header, 0);
    fs.fdatasyncSync(next);
    fs.renameSync(from, order.path);
    syncDirectory(options.directory);
    if (fd >= 0) fs.closeSync(fd);
    fd = next;
    start = position = order.start;
    prepareSoon();
  }

  /** After a failed write nothing of it may be found by a restart. */
  function undo(from: number, to: number): void {
    if (fd < 0) return;
    const size = fs.fstatSync(fd).size;
    const begin = options.headerBytes + from - start;
    if (begin >= size) return;
    zero(fd, begin, Math.min(size, options.headerBytes + to - start));
    fs.fdatasyncSync(fd);
  }

  function append(order: Extract<WriterOrder, { op: 'write' | 'roll' }>): void {
    if (order.generation < accepted) return;
    const lsn = order.op === 'write' ? order.lsn : order.start;
    try {
      if (order.op === 'roll') {
        roll(order);
        return;
      }
      writeAll(fd, order.bytes, options.headerBytes + lsn - start);
      position = lsn + order.bytes.length;
      dirty = true;
    } catch (error) {
      accepted = order.generation + 1;
      try {
        if (order.op === 'write') undo(lsn, lsn + order.bytes.length);
      } catch (second) {
        fatal('a failed write of the change log could not be undone', second);
        return;
      }
      if (NO_SPACE.includes(codeOf(error))) setFull(true);
      report({ r: 'failed', generation: order.generation, op: order.op, lsn, code: codeOf(error), message: textOf(error) });
    }
  }

  // Other work on the log's disk.

  function cut(task: Extract<WriterTask, { do: 'cut' }>): void {
    mark(task.from);
    fs.fdatasyncSync(markFd);
    for (const path of task.remove) fs.rmSync(path, { force: true });
    syncDirectory(options.directory);
    zero(fd, options.headerBytes + task.from - start, Math.min(fs.fstatSync(fd).size, options.headerBytes + task.to - start));
    fs.fdatasyncSync(fd);
    position = task.from;
  }

  function clear(task: Extract<WriterTask, { do: 'clear' }>): void {
    mark(0);
    fs.fdatasyncSync(markFd);
    if (fd >= 0) fs.closeSync(fd);
    fd = -1;
    for (const path of task.remove) fs.rmSync(path, { force: true, recursive: true });
    syncDirectory(options.directory);
  }

  function checkDisk(path: string): number {
    const begun = process.hrtime.bigint();
    const bytes = new TextEncoder().encode(`${begun}`.padEnd(512, '.'));
    const file = fs.openSync(path, 'w+', 0o600);
    try {
      writeAll(file, bytes, 0);
      fs.fdatasyncSync(file);
      const back = new Uint8Array(bytes.length);
      fs.readSync(file, back, 0, back.length, 0);
      if (Buffer.compare(back, bytes) !== 0) throw new Error('the disk gives back other bytes than were written');
    } finally {
      fs.closeSync(file);
    }
    return Number(process.hrtime.bigint() - begun) / 1e6;
  }

  function syncFile(path: string, directory: string): void {
    const file = fs.openSync(path, 'r');
    try {
      fs.fdatasyncSync(file);
    } finally {
      fs.closeSync(file);
    }
    syncDirectory(directory);
  }

  function close(): void {
    stopped = true;
    clearInterval(looking);
    dropPreparing();
    if (fd >= 0) fs.closeSync(fd);
    fs.closeSync(markFd);
    port.close();
  }

  function runTask(task: WriterTask): number | undefined {
    if (task.do === 'cut') cut(task);
    else if (task.do === 'clear') clear(task);
    else if (task.do === 'sync') syncFile(task.path, task.directory);
    else if (task.do === 'remove') for (const path of task.paths) fs.rmSync(path, { force: true });
    else if (task.do === 'disk') return checkDisk(task.path);
    return undefined;
  }

  function carryOut(order: WriterOrder): void {
    if (order.op === 'open') {
      if (fd >= 0) fs.closeSync(fd);
      fd = fs.openSync(order.path, 'r+');
      start = order.start;
      position = order.position;
      // What an ended process wrote may not be on the disk yet.
      fs.fdatasyncSync(fd);
      mark(position);
      prepareSoon();
    } else if (order.op === 'task') {
      sync();
      if (stopped) return;
      try {
        const value = runTask(order.task);
        report(value === undefined ? { r: 'done', id: order.id } : { r: 'done', id: order.id, value });
      } catch (error) {
        report({ r: 'done', id: order.id, error: { code: codeOf(error), message: textOf(error) } });
      }
      if (order.task.do === 'close') close();
    } else {
      append(order);
    }
  }

  const looking = setInterval(lookForRoom, 500);
  looking.unref();
  lookForRoom();

  port.on('message', (first: WriterOrder) => {
    for (let order: WriterOrder | undefined = first; order !== undefined; ) {
      if (!stopped) carryOut(order);
      order = threads.receiveMessageOnPort(port)?.message as WriterOrder | undefined;
    }
    if (!stopped) sync();
  });
}
