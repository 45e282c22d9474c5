/** Small C programs that tests compile and run, to compare TypeScript's numbers with C's. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Test } from 'tap';
import { packageRoot, workdir } from './harness.js';

/** @param source  Path inside the package. @returns the executable. */
export function compileProbe(t: Test, source: string): string {
  const output = join(workdir(t), 'probe');
  execFileSync(process.env['CC'] ?? 'cc', ['-std=gnu17', '-Wall', '-Wextra', '-Werror', `-I${join(packageRoot, 'agent')}`, '-o', output, join(packageRoot, source)], { stdio: ['ignore', 'inherit', 'inherit'] });
  return output;
}
