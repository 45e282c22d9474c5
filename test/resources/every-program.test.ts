/** No program is without a test. */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const tests = dirname(fileURLToPath(import.meta.url));
const texts = readdirSync(tests).filter((name) => name.endsWith('.test.ts')).map((name) => readFileSync(join(tests, name), 'utf8'));
const programs = readdirSync(join(tests, '../programs')).filter((name) => name.endsWith('.c')).map((name) => name.slice(0, -2));

for (const program of programs) t.ok(texts.some((text) => text.includes(`'${program}'`)), `${program} is used by a test`);
