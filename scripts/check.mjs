// Types, lint and format, import direction and cycles.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name) => join(root, 'node_modules/.bin', name);
const checks = [
  ['types', bin('tsc'), ['-p', 'tsconfig.check.json']],
  ['lint and format', bin('biome'), ['check', '.']],
  ['import direction and cycles', bin('depcruise'), ['--config', '.dependency-cruiser.cjs', 'dist']],
];
let failed = 0;
for (const [title, command, args] of checks) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  const ok = result.status === 0;
  if (!ok) failed++;
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${title}\n`);
}
process.exit(failed === 0 ? 0 : 2);
