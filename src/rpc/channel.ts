import type { Socket } from 'node:net';
import { ConnectionLost } from './errors.js';
import { encodeFrame, type Frame, type FrameKind, FrameReader } from './frames.js';

/** What waits for a peer that does not read. Streams are bounded by their windows; this bounds the rest. */
const MAX_UNSENT = 512 * 1024 * 1024;
/** Frames of a turn up to this size together are copied into one write. */
const MERGE_BYTES = 64 * 1024;

/**
 * One end of a connection: frames out, gathered for each turn of the event loop (what many clients ask in one turn leaves in one write)
 * and written in the order of `send`; frames in, given to `onFrame` in order.
 */
export class Channel {
  readonly #socket: Socket;
  readonly #onLost: (reason: ConnectionLost) => void;
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  #scheduled = false;
  readonly #flushLater = (): void => this.#flush();
  #lost: ConnectionLost | undefined;

  constructor(socket: Socket, onFrame: (frame: Frame) => void, onLost: (reason: ConnectionLost) => void) {
    this.#socket = socket;
    this.#onLost = onLost;
    const reader = new FrameReader(onFrame);
    socket.on('data', (chunk: Buffer) => {
      if (this.#lost !== undefined) return;
      try {
        reader.push(chunk);
      } catch (error) {
        this.#lose(new ConnectionLost('the peer broke the protocol', { cause: error }));
      }
    });
    socket.on('error', (error) => this.#lose(new ConnectionLost(`connection lost: ${error.message}`, { cause: error })));
    socket.on('close', () => this.#lose(new ConnectionLost()));
    socket.on('end', () => this.#lose(new ConnectionLost('connection closed by the peer')));
  }

  get lost(): ConnectionLost | undefined {
    return this.#lost;
  }

  /** Frames are written at the end of this turn of the event loop. Returns the frame's length. */
  send(kind: FrameKind, call: number, body: unknown): number {
    if (this.#lost !== undefined) return 0;
    const frame = encodeFrame(kind, call, body);
    this.#unsent.push(frame);
    this.#unsentBytes += frame.length;
    if (this.#unsentBytes + this.#socket.writableLength > MAX_UNSENT) {
      this.#lose(new ConnectionLost('the peer does not read'));
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flushLater);
    }
    return frame.length;
  }

  /** Closes after what was sent is written. */
  close(): void {
    if (this.#lost !== undefined) return;
    this.#flush();
    this.#lose(new ConnectionLost('connection closed'), true);
  }

  #flush(): void {
    this.#scheduled = false;
    if (this.#lost !== undefined || this.#unsent.length === 0) return;
    const frames = this.#unsent;
    const bytes = this.#unsentBytes;
    this.#unsent = [];
    this.#unsentBytes = 0;
    if (frames.length === 1) {
      this.#socket.write(frames[0]!);
    } else if (bytes <= MERGE_BYTES) {
      this.#socket.write(Buffer.concat(frames, bytes));
    } else {
      this.#socket.cork();
      for (const frame of frames) this.#socket.write(frame);
      this.#socket.uncork();
    }
  }

  #lose(reason: ConnectionLost, graceful = false): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    this.#unsent = [];
    if (graceful) this.#socket.destroySoon();
    else this.#socket.destroy();
    this.#onLost(reason);
  }
}
