import pino from 'pino';

/** The logger of a process. JSON lines, to a file for daemons and to standard error otherwise. */
export type Logger = pino.Logger;

/**
 * Makes the root logger.
 * @param options.file appended to when given; standard error otherwise.
 * @param options.name the process, as it stands in each line.
 */
export function createLogger(options: { name: string; file?: string; level?: string }): Logger {
  const destination =
    options.file === undefined
      ? pino.destination({ dest: 2, sync: true })
      : pino.destination({ dest: options.file, sync: true, mkdir: true });
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

/** A logger that drops everything, for pure tests. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}
