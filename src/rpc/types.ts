/**
 * Calls between daemons, and from the command line to a daemon. One connection carries any number of calls at once;
 * frames of one connection arrive, and handlers begin, in the order in which they were sent (the protocols rely on it).
 * Payloads are MessagePack: null, booleans, numbers, bigints, strings, Buffers, arrays and plain objects.
 */

/** What a handler sees of a call besides its body. */
export interface CallContext {
  /** Aborted when the caller cancels or the connection is lost. */
  readonly signal: AbortSignal;
  /** Identifies the connection, and carries what handlers attach to it. */
  readonly connection: ServerConnection;
  /** Sends a part of a streamed reply. Resolves when the window allows the next: await it, so that buffers stay bounded. */
  send(part: unknown): Promise<void>;
  /** Parts of a streamed request, in order; ends when the caller calls `end`. */
  readonly parts: AsyncIterable<unknown>;
}

export interface ServerConnection {
  readonly id: number;
  readonly state: Map<string, unknown>;
  onClose(listener: () => void): void;
  close(): void;
}

/** Begun synchronously in order of arrival. A thrown error (SqlError, DamsonError) reaches the caller as the same class. */
export type Handler = (body: never, context: CallContext) => unknown;
export type Handlers = Record<string, Handler>;

export interface RpcServer {
  readonly path: string;
  close(): Promise<void>;
}

export interface OpenCall<Out> {
  /** Settles when the handler has answered. */
  readonly result: Promise<Out>;
  /** Parts of a streamed reply. Not reading them stops the sender. */
  readonly parts: AsyncIterable<unknown>;
  /** Sends a part of a streamed request; resolves when the window allows the next. */
  push(part: unknown): Promise<void>;
  end(): void;
  cancel(): void;
}

export interface RpcClient {
  readonly closed: boolean;
  /** One request, one answer. Rejects with ConnectionLost when the connection goes. The frame is written before it returns (in the same turn). */
  call<Out = unknown>(method: string, body: unknown, options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<Out>;
  /**
   * The same without a promise, for what is called very often: `done` has the error or the value, exactly once, never before this returns.
   */
  ask(method: string, body: unknown, done: (error: unknown, value: unknown) => void): void;
  /** A call with streamed request or reply. */
  open<Out = unknown>(method: string, body: unknown): OpenCall<Out>;
  onClose(listener: (reason: Error) => void): void;
  close(): void;
}
