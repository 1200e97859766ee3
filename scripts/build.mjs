// Compiles the sources and prepares what daemons need at run time. Does only what is out of date.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function run(title, command, args) {
  const env = { ...process.env, OCLIF_SKIP_NEW_VERSION_CHECK: 'true' };
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env });
  if (result.status !== 0) {
    process.stderr.write(`Error: ${title} failed\nHint: the lines above say where; mend it and run npm run build again\n`);
    process.exit(2);
  }
}

mkdirSync(join(root, 'dist'), { recursive: true });
run('compiling', process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.json')]);
// What the command line knows of its commands without loading each of them.
run('listing the commands', process.execPath, [join(root, 'node_modules/oclif/bin/run.js'), 'manifest', root]);
const template = join(root, 'scripts/front-template.mjs');
if (existsSync(template)) run('preparing the front', process.execPath, [template]);
