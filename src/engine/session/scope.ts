import { SqlError } from '../../core/errors.js';

/** The life of one running statement: what cancels it, and its time limit. */
export class StatementScope {
  /** Made when somebody asks for the signal. */
  private controller: AbortController | undefined;
  private reason: SqlError | undefined;
  private listener: ((reason: SqlError) => void) | undefined;
  private timer: NodeJS.Timeout | undefined;

  /** @param timeoutMs statement_timeout; 0: none. */
  constructor(private readonly timeoutMs: number) {
    if (timeoutMs > 0) {
      this.timer = setTimeout(() => this.abort(new SqlError('57014', 'canceling statement due to statement timeout')), timeoutMs);
    }
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.reason !== undefined) this.controller.abort(this.reason);
    }
    return this.controller.signal;
  }

  /** The one listener of what needs no signal. */
  onAbort(listener: (reason: SqlError) => void): void {
    this.listener = listener;
  }

  /** Milliseconds for work that cannot be interrupted from outside. */
  get deadlineMs(): number {
    return this.timeoutMs > 0 ? this.timeoutMs : MAX_FALLBACK_MS;
  }

  /** A cancel request of the client. */
  cancel(): void {
    this.abort(new SqlError('57014', 'canceling statement due to user request'));
  }

  abort(reason: SqlError): void {
    this.end();
    if (this.reason !== undefined) return;
    this.reason = reason;
    this.controller?.abort(reason);
    this.listener?.(reason);
  }

  end(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}

/** What PostgreSQL on the coordinator may take for one statement without statement_timeout. */
const MAX_FALLBACK_MS = 3_600_000;
