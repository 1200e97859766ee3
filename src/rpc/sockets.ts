import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { DamsonError } from '../core/errors.js';

/** sun_path holds 108 bytes on Linux and 104 on macOS; longer names are cut without an error. */
const MAX_SOCKET_PATH = 100;

/**
 * The Unix socket of the instance with this data directory: `.s.damson` in it, or, where that name is too long for a socket,
 * a name made of its hash in a directory that only this user can enter.
 */
export function socketPath(datadir: string): string {
  const path = join(resolve(datadir), '.s.damson');
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path;
  const hash = createHash('sha256').update(path).digest('hex').slice(0, 24);
  return join(privateDirectory(), `${hash}.s`);
}

function privateDirectory(): string {
  const uid = process.getuid?.() ?? 0;
  const directory = join(tmpdir(), `damson-${uid}`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const stat = lstatSync(directory);
  if (!stat.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0) {
    throw new DamsonError(`${directory} is not a private directory of user ${uid}`, {
      hint: `Remove it, or use data directories whose socket names fit in ${MAX_SOCKET_PATH} bytes.`,
    });
  }
  return directory;
}
