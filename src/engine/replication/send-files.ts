import { open } from 'node:fs/promises';
import { DamsonError } from '../../core/errors.js';
import { PART_BYTES } from './types.js';

/** Parts of a file on their way at once. */
const AHEAD = 4;

/**
 * Reads a file in parts and gives each to `send`, a few at once, in order. Resolves when all are answered. An empty file is
 * one empty part. `send` is called with `last` once, for the part that ends the file.
 */
export async function sendFile(
  path: string,
  bytes: number,
  send: (part: { offset: number; bytes: Buffer; last: boolean }) => Promise<unknown>,
): Promise<void> {
  const file = await open(path, 'r');
  const under: Promise<unknown>[] = [];
  try {
    for (let offset = 0; offset === 0 || offset < bytes; ) {
      const part = Buffer.allocUnsafe(Math.min(PART_BYTES, bytes - offset));
      const { bytesRead } = await file.read(part, 0, part.length, offset);
      if (bytesRead < part.length && bytesRead === 0)
        throw new DamsonError(`${path} is shorter than the ${bytes} bytes that it should have`);
      const last = offset + bytesRead >= bytes;
      const answer = send({ offset, bytes: part.subarray(0, bytesRead), last });
      // Awaited below; an earlier failure ends the loop first.
      answer.catch(() => {});
      under.push(answer);
      if (under.length >= AHEAD) await under.shift();
      offset += bytesRead;
      if (last) break;
    }
    await Promise.all(under);
  } finally {
    await file.close();
  }
}
