/** The connection went while calls were pending: whether they took effect is not known. */
export class ConnectionLost extends Error {
  constructor(message = 'connection lost', options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'ConnectionLost';
  }
}

/** A call was not answered within its limit; it was cancelled, and may or may not have taken effect. */
export class CallTimeout extends Error {
  constructor(method: string, timeoutMs: number) {
    super(`no answer to "${method}" within ${timeoutMs} ms`);
    this.name = 'CallTimeout';
  }
}

/** The caller has cancelled: what a handler's signal carries, and what `send` rejects with. */
export class CallCancelled extends Error {
  constructor() {
    super('the caller has cancelled the call');
    this.name = 'CallCancelled';
  }
}
