/**
 * Builds everything that is compiled from C and C++: the agent, the shim and the addon.
 * npm runs it as the package's `install` script. It needs Node, a C and a C++ compiler, and make:
 * no Python, no network, no headers of Node (they come from the package node-api-headers).
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeCodeCache } from './code-cache.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

checkNode();
const cc = findCompiler(process.env.CC, ['cc', 'gcc', 'clang'], 'a C compiler', 'gcc');
const cxx = findCompiler(process.env.CXX, ['c++', 'g++', 'clang++'], 'a C++ compiler', 'g++');
if (!runs('make')) stop('make', 'make');

const make = spawnSync(
  'make',
  [
    '--no-print-directory',
    `-j${availableParallelism()}`,
    `CC=${cc}`,
    `CXX=${cxx}`,
    `NODE=${process.execPath}`,
    `NODE_ADDON_API=${packageDirectory('node-addon-api')}`,
    `NODE_API_HEADERS=${packageDirectory('node-api-headers')}`,
    ...process.argv.slice(2),
  ],
  // Inherited make variables (a build started by another make) are not ours.
  { cwd: root, stdio: 'inherit', env: { ...process.env, MAKEFLAGS: '', MAKELEVEL: '' } },
);
if (make.status !== 0) process.exit(make.status ?? 1);

await writeCodeCache(root);

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 11)) return;
  console.error(`procs needs Node.js 20.11 or newer, and this is ${process.versions.node}: see https://nodejs.org/en/download`);
  process.exit(1);
}

/** The user's choice (which may hold options, as in `CC="ccache gcc"`), else the first that runs. */
function findCompiler(chosen, candidates, what, debianPackage) {
  if (chosen) return chosen;
  return candidates.find((name) => runs(name)) ?? stop(what, debianPackage);
}

function runs(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function stop(what, debianPackage) {
  const packages = [...new Set([debianPackage, 'make'])].join(' ');
  console.error(`procs needs ${what} to build: install ${debianPackage} (Debian/Ubuntu: apt-get install ${packages})`);
  process.exit(1);
}

function packageDirectory(name) {
  return dirname(createRequire(join(root, 'package.json')).resolve(`${name}/package.json`));
}
