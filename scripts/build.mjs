/**
 * `npm run build`: type-checks and emits supervisor/ to dist/, then bundles that with its dependencies
 * into dist/bundle/, which is what bin/procs runs: one file to find and read instead of a hundred.
 * Lazy imports stay lazy: each becomes a chunk of its own.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bundle = join(root, 'dist/bundle');

const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.json')], {
  stdio: 'inherit',
});
// Type errors fail the build, but tsc has emitted all the same: the bundle is made, and can be tried.
process.exitCode = tsc.status ?? 1;

const { outputFiles } = await build({
  write: false,
  entryPoints: { procs: join(root, 'dist/main.js') },
  outdir: bundle,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node20.11',
  format: 'esm',
  minifySyntax: true,
  sourcemap: 'linked',
  logLevel: 'warning',
  // Bundled CommonJS dependencies call require() for Node's own modules.
  banner: { js: "import { createRequire as bundleRequire } from 'node:module'; const require = bundleRequire(import.meta.url);" },
});

// Each file appears whole, and stale ones go last: a procs that starts during a build finds all it needs.
mkdirSync(bundle, { recursive: true });
for (const { path, contents } of outputFiles) {
  writeFileSync(`${path}.tmp`, contents);
  renameSync(`${path}.tmp`, path);
}
const made = new Set(outputFiles.map(({ path }) => basename(path)));
for (const name of readdirSync(bundle)) {
  if (!made.has(name)) rmSync(join(bundle, name));
}
