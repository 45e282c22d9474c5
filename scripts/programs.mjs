/**
 * `npm run programs`: runs the tests of real programs and writes docs/PROGRAMS.md from what they found.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), 'procs-programs-'));
const results = join(folder, 'results');
const names = ['languages', 'threads', 'tools'].map((name) => `test/programs-real/${name}.test.ts`);
const { status } = spawnSync(process.execPath, [join(root, 'scripts/test.mjs'), ...names], { cwd: root, stdio: 'inherit', env: { ...process.env, PROCS_PROGRAMS: results } });

const rows = new Map();
const lines = existsSync(results) ? readFileSync(results, 'utf8').trim().split('\n') : [];
for (const { name, version, does, user, result, refused } of lines.map((line) => JSON.parse(line))) {
  const row = rows.get(name) ?? { name, version, does, refused, results: new Map() };
  row.results.set(user, result);
  rows.set(name, row);
}
rmSync(folder, { recursive: true, force: true });
if (rows.size === 0) process.exit(status || 1);

const users = ['root', 'ordinary user'];
const table = [...rows.values()]
  .sort((a, b) => a.name.localeCompare(b.name))
  .map(({ name, version, does, results: found }) => `| ${name} | ${version} | ${does} | ${users.map((user) => found.get(user) ?? '').join(' | ')} |`);
const refusals = [...rows.values()].filter(({ refused }) => refused.length > 0).map(({ name, refused }) => `- **${name}**: ${refused.join(', ')}.`);

writeFileSync(
  join(root, 'docs/PROGRAMS.md'),
  `# Real programs

Each was run once undisturbed, then under procs: twice a checkpoint at a random moment, SIGKILL to supervisor and
program, and a resume. *yes* means that it went on to its end and that standard output and every file it wrote were
the same as undisturbed, byte for byte. "Ordinary user" is one without any capability.

Written by \`npm run programs\` on Linux ${release()}, Node.js ${process.versions.node}.

| program | version | what it does | root | ordinary user |
|---|---|---|---|---|
${table.join('\n')}
${refusals.length > 0 ? `\n## Refused\n\nA checkpoint is refused, with these reasons, and the program runs on:\n\n${refusals.join('\n')}\n` : ''}`,
);
console.log(`docs/PROGRAMS.md: ${rows.size} programs`);
process.exit(status ?? 1);
