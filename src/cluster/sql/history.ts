import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Lines that are kept for the next shell. */
const LIMIT = 500;

/** What was typed into the shell, in `~/.damson_history` (or the file that DAMSON_HISTORY names). */
export interface History {
  /** Newest first, as readline wants them. */
  lines: string[];
  add(line: string): void;
}

export function openHistory(environment: NodeJS.ProcessEnv, home: string): History {
  const path = environment.DAMSON_HISTORY ?? join(home, '.damson_history');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const lines = text
    .split('\n')
    .filter((line) => line !== '')
    .slice(-LIMIT)
    .reverse();
  return {
    lines,
    add: (line) => {
      if (line.trim() === '') return;
      try {
        appendFileSync(path, `${line}\n`, { mode: 0o600 });
      } catch {
        // A home that cannot be written to is no reason to end: the shell goes on without history.
      }
    },
  };
}
