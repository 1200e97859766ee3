// Makes a fresh clone ready: installs dependencies and builds, each only when it is missing or out of date.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 12)) {
  process.stderr.write(`Error: Damson needs Node 20.12 or newer, this is ${process.versions.node}\nHint: install a newer Node\n`);
  process.exit(2);
}

function newest(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

const started = Date.now();
const seconds = () => `${((Date.now() - started) / 1000).toFixed(1)} s`;

const lock = join(root, 'node_modules/.package-lock.json');
if (!existsSync(lock) || statSync(lock).mtimeMs < statSync(join(root, 'package-lock.json')).mtimeMs) {
  process.stderr.write('Installing dependencies (a native module is compiled: about a minute) ...\n');
  // Not `npm ci`: it insists on the optional packages of every platform being in the lock file.
  const npm = process.env.npm_execpath;
  const [command, args] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
  const result = spawnSync(command, [...args, 'install', '--include=dev'], { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    process.stderr.write(
      'Error: the dependencies could not be installed\nHint: npm says why above; a C++ compiler, make and python3 are needed\n',
    );
    process.exit(2);
  }
  process.stderr.write(`Installed (${seconds()}).\n`);
}

const built = join(root, 'dist/.tsbuildinfo');
const sources = ['src', 'scripts', 'tsconfig.json', 'package.json'].map((name) => join(root, name));
if (
  !existsSync(built) ||
  statSync(built).mtimeMs < Math.max(...sources.map(newest)) ||
  !existsSync(join(root, 'dist/engine/front/catalog.json'))
) {
  process.stderr.write('Building ...\n');
  const result = spawnSync(process.execPath, [join(root, 'scripts/build.mjs')], { cwd: root, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) process.exit(2);
  process.stderr.write(`Built (${seconds()}).\n`);
}
