/**
 * Writes V8's code cache for dist/bundle/supervisor.cjs and this version of Node: by the build, and again
 * where a packed procs is installed. Only start-up time depends on it, so nothing here fails loudly.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export function writeCodeCache(root) {
  const bundle = join(root, 'dist/bundle');
  if (!existsSync(join(bundle, 'procs.cjs'))) return; // a checkout, not built yet
  const cache = join(bundle, `supervisor.cjs.${process.version}-${process.arch}.cache`);
  const fresh = `${cache}.${process.pid}`;
  rmSync(cache, { force: true });
  spawnSync(process.execPath, ['--no-warnings', '--v8-pool-size=1', join(bundle, 'procs.cjs'), '--help'], {
    stdio: 'ignore',
    env: { ...process.env, NODE_OPTIONS: '', PROCS_WRITE_CODE_CACHE: fresh },
  });
  if (existsSync(fresh)) renameSync(fresh, cache);
}
