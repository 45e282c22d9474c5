/**
 * dist/bundle/procs.cjs: runs supervisor.cjs with V8's code cache, where there is one.
 * A cache made by another Node, or for another bundle, is refused by V8, and the source is compiled.
 */
'use strict';
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { Script } = require('node:vm');

// bin/procs preloads a library into Node that no other program is to have: native/hold.c.
const preloads = (process.env.LD_PRELOAD ?? '').split(':').filter((name) => !name.endsWith('/libprocs-hold.so'));
if (preloads.join('') === '') delete process.env.LD_PRELOAD;
else process.env.LD_PRELOAD = preloads.join(':');

const filename = join(__dirname, 'supervisor.cjs');
const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(filename, 'utf8')}\n})`;
let cachedData;
try {
  cachedData = readFileSync(`${filename}.${process.version}-${process.arch}.cache`);
} catch {
  // Made by the package's installation for one version of Node; this is another.
}
const script = new Script(source, { filename, cachedData });
// scripts/code-cache.mjs asks for what has been compiled by now.
if (process.env.PROCS_WRITE_CODE_CACHE) {
  process.once('exit', () => require('node:fs').writeFileSync(process.env.PROCS_WRITE_CODE_CACHE, script.createCachedData()));
}
script.runInThisContext()(exports, require, module, filename, __dirname);
