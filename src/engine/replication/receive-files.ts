import { createHash, type Hash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { DamsonError, internalError } from '../../core/errors.js';

interface Incoming {
  fd: number;
  hash: Hash;
  bytes: number;
}

/** Files that arrive in parts, in order, are written as they come. Writes are synchronous: into memory of the kernel only. */
export class ReceivedFiles {
  readonly #open = new Map<string, Incoming>();

  /** Takes a part. A part at offset 0 begins the file anew. */
  write(path: string, offset: number, bytes: Buffer): void {
    if (offset === 0) this.#begin(path);
    const file = this.#open.get(path);
    if (file === undefined || file.bytes !== offset) throw internalError(`a part of ${path} at ${offset} is out of order`);
    for (let done = 0; done < bytes.length; ) done += writeSync(file.fd, bytes, done, bytes.length - done, offset + done);
    file.hash.update(bytes);
    file.bytes += bytes.length;
  }

  /** The file is whole: compares it with what the sender says of it (SHA-256, hex). */
  finish(path: string, checksum: string): void {
    const file = this.#open.get(path);
    if (file === undefined) throw internalError(`no part of ${path} has come`);
    this.#open.delete(path);
    closeSync(file.fd);
    const found = file.hash.digest('hex');
    if (found !== checksum) throw new DamsonError(`${path} arrived with checksum ${found}, sent was ${checksum}`);
  }

  close(): void {
    for (const { fd } of this.#open.values()) closeSync(fd);
    this.#open.clear();
  }

  #begin(path: string): void {
    const before = this.#open.get(path);
    if (before !== undefined) closeSync(before.fd);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#open.set(path, { fd: openSync(path, 'w', 0o600), hash: createHash('sha256'), bytes: 0 });
  }
}
