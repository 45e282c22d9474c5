/**
 * Writes V8's code cache for dist/bundle/supervisor.cjs and this version of Node: by the build, and again
 * where a packed procs is installed. Only start-up time depends on it, so nothing here fails loudly.
 *
 * V8 compiles a function when it is first called, and caches what is compiled by then. So the cache is made
 * by runs that do what users wait for: a program is started, checkpointed and resumed, each run with the
 * cache of the one before. Where that is not permitted (a build in a container), what the attempt compiled
 * is cached.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STEP_TIMEOUT_MS = 5000;

export async function writeCodeCache(root) {
  const bundle = join(root, 'dist/bundle');
  if (!existsSync(join(bundle, 'procs.cjs'))) return; // a checkout, not built yet
  const cache = join(bundle, `supervisor.cjs.${process.version}-${process.arch}.cache`);
  const fresh = `${cache}.${process.pid}`;
  const directory = mkdtempSync(join(tmpdir(), 'procs-code-cache-'));
  const image = join(directory, 'cat.procs');
  // Nothing of it is to be seen in the user's lists of jobs and images.
  const places = { HOME: directory, XDG_RUNTIME_DIR: directory, XDG_STATE_HOME: directory };
  const env = { ...process.env, ...places, NODE_OPTIONS: '', PROCS_WRITE_CODE_CACHE: fresh };
  const keep = () => existsSync(fresh) && renameSync(fresh, cache);
  const procs = join(root, 'bin/procs');
  try {
    rmSync(cache, { force: true });
    spawnSync(procs, ['--help'], { stdio: 'ignore', env, timeout: STEP_TIMEOUT_MS });
    keep();
    await run(procs, ['start', '--image', image, 'cat'], env, ['SIGUSR1', 'SIGUSR2']);
    keep();
    await run(procs, ['resume', image], env, ['SIGUSR1']);
    keep();
  } catch {
    // What has been cached so far will do.
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs cat under procs, sends the signals to procs one after the other, and lets cat end. */
async function run(procs, args, env, signals) {
  const child = spawn(procs, args, { stdio: ['pipe', 'pipe', 'pipe'], env });
  const ended = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
  child.stdin.on('error', () => undefined);
  try {
    child.stdin.write('ready\n');
    await said(child.stdout, ended);
    for (const signal of signals) {
      const answer = said(child.stderr, ended);
      child.kill(signal);
      await answer;
    }
    child.stdin.end();
    await within(ended);
  } finally {
    child.stdin.destroy();
    child.kill('SIGTERM');
    await within(ended).catch(() => child.kill('SIGKILL'));
  }
}

function said(stream, ended) {
  return within(Promise.race([new Promise((resolve) => stream.once('data', resolve)), ended]));
}

function within(promise) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error('no answer')), STEP_TIMEOUT_MS)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
