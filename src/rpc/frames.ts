import { pack, packBehind, unpack } from './msgpack.js';

/**
 * Frames of a connection. Each is
 *
 *     u32  length of what follows
 *     u8   kind
 *     u32  number of the call, given by the caller
 *     …    body, MessagePack
 *
 * all in network order.
 */
export const FrameKind = {
  /** Caller: [method, body]. */
  call: 1,
  /** Caller: a part of the request. */
  requestPart: 2,
  /** Caller: the request has no more parts. */
  requestEnd: 3,
  /** Caller: the answer is not wanted any more. */
  cancel: 4,
  /** Handler: the answer. */
  result: 5,
  /** Handler: WireError. */
  error: 6,
  /** Handler: a part of the reply. */
  replyPart: 7,
  /** Either: [parts, bytes] of the other side's stream have been consumed. */
  credit: 8,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

export interface Frame {
  kind: FrameKind;
  call: number;
  body: unknown;
  /** Whole length on the connection: what flow control counts. */
  bytes: number;
}

/** Length, kind, call. */
const HEADER = 9;
/** No frame is larger: bounds what a peer can make us allocate. A change log record (at most 128 MiB) fits. */
export const MAX_FRAME = 256 * 1024 * 1024;

export function encodeFrame(kind: FrameKind, call: number, body: unknown): Buffer {
  const frame = body === undefined ? Buffer.allocUnsafe(HEADER) : packBehind(HEADER, body);
  if (frame.length > MAX_FRAME) throw new RangeError(`a message of ${frame.length} bytes is larger than ${MAX_FRAME}`);
  frame.writeUInt32BE(frame.length - 4, 0);
  frame[4] = kind;
  frame.writeUInt32BE(call, 5);
  return frame;
}

/** The size that flow control counts for a part that does not cross a socket. */
export function packedSize(value: unknown): number {
  if (value !== null && typeof value === 'object') {
    const bytes = (value as { bytes?: unknown }).bytes;
    if (bytes instanceof Uint8Array) return bytes.length;
    if (value instanceof Uint8Array) return value.length;
  }
  return pack(value).length;
}

/** Cuts a stream of bytes into frames. Bodies are views of the chunks that came in where a frame lies in one chunk. */
export class FrameReader {
  /** A frame that is longer than the chunk it began in, and how much of it is here. */
  #partial: Buffer | undefined;
  #filled = 0;
  readonly #onFrame: (frame: Frame) => void;

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  /** Throws when the peer breaks the format. Frames are given to the callback in order, synchronously. */
  push(chunk: Buffer): void {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#partial !== undefined) {
        offset += this.#fill(chunk, offset);
        continue;
      }
      const rest = chunk.length - offset;
      const length = rest >= 4 ? frameLength(chunk, offset) : undefined;
      if (length !== undefined && rest >= length) {
        this.#deliver(chunk.subarray(offset, offset + length));
        offset += length;
      } else {
        // Less than a length is here: collect that first.
        this.#partial = Buffer.allocUnsafeSlow(length ?? 4);
        this.#filled = chunk.copy(this.#partial, 0, offset);
        offset = chunk.length;
      }
    }
  }

  #fill(chunk: Buffer, offset: number): number {
    const partial = this.#partial!;
    const taken = chunk.copy(partial, this.#filled, offset);
    this.#filled += taken;
    if (this.#filled < partial.length) return taken;
    if (partial.length === 4) {
      const whole = Buffer.allocUnsafeSlow(frameLength(partial, 0));
      partial.copy(whole);
      this.#partial = whole;
      return taken;
    }
    this.#partial = undefined;
    this.#filled = 0;
    this.#deliver(partial);
    return taken;
  }

  #deliver(bytes: Buffer): void {
    const body = bytes.length === HEADER ? undefined : unpack(bytes.subarray(HEADER));
    this.#onFrame({ kind: bytes[4] as FrameKind, call: bytes.readUInt32BE(5), body, bytes: bytes.length });
  }
}

function frameLength(bytes: Buffer, offset: number): number {
  const length = bytes.readUInt32BE(offset) + 4;
  if (length < HEADER || length > MAX_FRAME) throw new RangeError(`a frame of ${length} bytes`);
  return length;
}
