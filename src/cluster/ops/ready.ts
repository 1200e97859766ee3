import { systemClock } from '../../core/clock.js';
import { DamsonError } from '../../core/errors.js';
import { connectCoordinator } from '../engine/port.js';
import type { Operation } from '../run/step.js';

const LIMIT_MS = 120_000;

/** The coordinator answers, and every segment that it believes up has a connection to it. */
export const waitReady: Operation<{ coordinatorDir: string; coordinatorOnly?: boolean }> = {
  describe: () => 'Wait until the coordinator accepts connections',
  isDone: async () => false,
  apply: async ({ coordinatorDir, coordinatorOnly }, report) => {
    const deadline = systemClock.monotonicMs() + LIMIT_MS;
    const coordinator = await connectCoordinator(coordinatorDir);
    try {
      for (;;) {
        const status = await coordinator.call('admin.status', {});
        const waiting = status.instances.filter(
          ({ content, role, status: s, pid }) => content >= 0 && role === 'p' && s === 'u' && pid === null,
        );
        if (coordinatorOnly || waiting.length === 0) return;
        report(`segments ${waiting.map(({ content }) => content).join(', ')} are not connected yet`);
        if (systemClock.monotonicMs() > deadline) {
          throw new DamsonError(`segments ${waiting.map(({ content }) => content).join(', ')} do not answer`, {
            hint: 'damson state -e says what is known of them; their logs are in log/damsond.log of their data directories',
          });
        }
        await systemClock.sleep(100);
      }
    } finally {
      coordinator.close();
    }
  },
};
