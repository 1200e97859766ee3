import type { Logger } from '../../core/log.js';
import type { Front } from '../front/types.js';

/** Time for those who have waited for the cluster to come up. */
const DELAY_MS = 500;
const SETTINGS = { role: 'postgres', gucs: {} };

/** One of each kind; analysed, never run. */
const STATEMENTS = [
  'SELECT 1 AS one',
  "INSERT INTO pg_catalog.pg_description VALUES (1, 2, 3, 'x')",
  "UPDATE pg_catalog.pg_description SET objsubid = objsubid + 1 WHERE objoid = 4 AND description = 'x'",
  'DELETE FROM pg_catalog.pg_description WHERE objoid = 5',
  "SELECT c.relkind, count(*), sum(c.relpages) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname LIKE 'a%' GROUP BY c.relkind ORDER BY 2 DESC LIMIT 5",
];

/**
 * Analyses a statement of each kind in a front that was just opened: WebAssembly is compiled as it is first run, and without this the first
 * clients would wait for that (some 300 ms for the first INSERT). In the background; others get the front between two statements.
 */
export function warmFront(front: Front, logger: Logger): void {
  const run = async (): Promise<void> => {
    for (const sql of STATEMENTS) {
      const analyzed = await front.analyze(sql, [], SETTINGS);
      await front.checkPrivileges(sql, analyzed, SETTINGS);
    }
  };
  // It fails where the front is closed meanwhile; nobody depends on it.
  setTimeout(() => run().catch((error) => logger.debug({ err: error }, 'the front was not warmed')), DELAY_MS).unref();
}
