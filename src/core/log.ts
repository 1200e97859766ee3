import pino from 'pino';

/** The logger of a process. JSON lines, to a file for daemons and to standard error otherwise. */
export type Logger = pino.Logger;

/** Lines that cannot be written wait up to this many bytes, then are dropped. */
const MAX_UNWRITTEN = 1024 * 1024;

/**
 * Makes the root logger. Logging never throws.
 * @param options.file appended to when given; standard error otherwise.
 * @param options.name the process, as it stands in each line.
 */
export function createLogger(options: { name: string; file?: string; level?: string }): Logger {
  const destination =
    options.file === undefined
      ? pino.destination({ dest: 2, sync: true })
      : pino.destination({ dest: options.file, sync: true, mkdir: true, maxLength: MAX_UNWRITTEN });
  survive(destination);
  return pino(
    {
      name: options.name,
      level: options.level ?? process.env.DAMSON_LOG_LEVEL ?? 'info',
      redact: ['password', '*.password', '*.secret'],
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    destination,
  );
}

/** A full disk must not keep a process from going on, or from ending after a fatal line: what cannot be written is lost. */
function survive(destination: ReturnType<typeof pino.destination>): void {
  destination.on('error', () => undefined);
  const flush = destination.flushSync.bind(destination);
  destination.flushSync = () => {
    try {
      flush();
    } catch {
      // Nowhere to say it.
    }
  };
}

/** A logger that drops everything, for pure tests. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}
