/**
 * `npm test`: builds what is out of date, runs tap on all tests (or on the files given), and ends with one
 * line of counted assertions: `N passed, N failed`, and `, N skipped` where this machine lacks something.
 * Fails when an assertion failed, when tap did (a timeout, say), and when nothing was tested.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const run = `run${process.pid}`;
let buildFailures = 0;

for (const step of [['scripts/build-native.mjs', 'all', 'programs'], ['scripts/build.mjs']]) {
  const { status } = spawnSync(process.execPath, step, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status === 0) continue;
  // A failure, but the tests of what did compile can still tell something.
  console.error(`the build failed: node ${step.join(' ')}`);
  buildFailures++;
}

const tap = spawn(process.execPath, [join(root, 'node_modules/tap/dist/esm/run.mjs'), '--reporter=tap', ...process.argv.slice(2)], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, PROCS_TEST_RUN: run },
});
// tap's own closing comment counts assertions, not subtests: `# { total: 10, pass: 8, todo: 1, skip: 1 }`.
let summary = '';
for await (const line of createInterface({ input: tap.stdout })) {
  console.log(line);
  if (/^# \{ total: \d+/.test(line)) summary = line;
}
const countOf = (name) => Number(summary.match(new RegExp(`\\b${name}: (\\d+)`))?.[1] ?? 0);
const counts = { passed: countOf('pass'), failed: countOf('fail') + buildFailures, skipped: countOf('skip') + countOf('todo') };
const status = tap.exitCode ?? (await new Promise((resolve) => tap.once('exit', (code) => resolve(code ?? 1))));

for (const name of readdirSync(tmpdir())) {
  if (name.startsWith(`procs-package-${run}-`)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
}
// A file that ends too early, or late, is a failure of tap's own that no assertion shows.
if (status !== 0 && counts.failed === 0) counts.failed = 1;
console.log(`${counts.passed} passed, ${counts.failed} failed${counts.skipped ? `, ${counts.skipped} skipped` : ''}`);
process.exit(counts.failed > 0 || counts.passed === 0 ? 1 : 0);
