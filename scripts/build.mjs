/**
 * `npm run build`: type-checks and emits supervisor/ to dist/, then bundles that with its dependencies
 * into dist/bundle/, which is what bin/procs runs: one file to find and read instead of a hundred.
 * Lazy imports stay lazy: each becomes a chunk of its own.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bundle = join(root, 'dist/bundle');

const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.json')], {
  stdio: 'inherit',
});
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

rmSync(bundle, { recursive: true, force: true });
await build({
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
