import { type FileHandle, open, rm } from 'node:fs/promises';

/** Kept in memory up to this size, in a file beyond. */
const MEMORY_BYTES = 16 * 1024 * 1024;

/** Blocks of bytes, written first and read afterwards in the same order. */
export class Spool {
  private memory: Buffer[] = [];
  private bytes = 0;
  private file: FileHandle | undefined;
  private lengths: number[] = [];

  constructor(private readonly path: string) {}

  async add(block: Buffer): Promise<void> {
    if (block.length === 0) return;
    if (this.file === undefined && this.bytes + block.length <= MEMORY_BYTES) {
      this.memory.push(block);
      this.bytes += block.length;
      return;
    }
    if (this.file === undefined) {
      this.file = await open(this.path, 'wx+', 0o600);
      for (const earlier of this.memory) await this.write(earlier);
      this.memory = [];
    }
    await this.write(block);
  }

  async *blocks(): AsyncGenerator<Buffer> {
    if (this.file === undefined) {
      yield* this.memory;
      return;
    }
    let at = 0;
    for (const length of this.lengths) {
      const block = Buffer.allocUnsafe(length);
      await this.file.read(block, 0, length, at);
      at += length;
      yield block;
    }
  }

  async close(): Promise<void> {
    this.memory = [];
    if (this.file === undefined) return;
    await this.file.close();
    this.file = undefined;
    await rm(this.path, { force: true });
  }

  private async write(block: Buffer): Promise<void> {
    let at = 0;
    while (at < block.length) at += (await this.file!.write(block, at)).bytesWritten;
    this.lengths.push(block.length);
  }
}
