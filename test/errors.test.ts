/** errors.ts and docs/ERRORS.md tell the same. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { t } from 'tap';
import { ERRORS, ProcsError, errnoName, type ErrorCode } from '../supervisor/errors.js';
import { packageRoot } from './harness.js';

const rows = [...readFileSync(join(packageRoot, 'docs/ERRORS.md'), 'utf8').matchAll(/^\| `(PROCS_ERR_\w+)` \| (\d+) \| (.+) \| (.+) \|$/gm)];

t.test('docs/ERRORS.md has a row for every code, in order', (t) => {
  t.same(rows.map(([, code]) => code), Object.keys(ERRORS));
  for (const [, code, exit, meaning, remedy] of rows) {
    t.equal(Number(exit), ERRORS[code as ErrorCode].exit, `${code}: the exit status`);
    t.ok((meaning as string).length > 20 && (remedy as string).length > 3, `${code}: meaning and remedy`);
  }
  t.end();
});

t.test('a ProcsError has its row\'s exit status and remedy, unless others are given', (t) => {
  const cause = new Error('why');
  t.match(new ProcsError('PROCS_ERR_FREEZE_TIMEOUT', 'm', { cause }), { message: 'm', exit: 75, remedy: 'try again', cause, name: 'ProcsError' });
  t.match(new ProcsError('PROCS_ERR_FREEZE_TIMEOUT', 'm', { exit: 1, remedy: 'r' }), { exit: 1, remedy: 'r' });
  t.end();
});

t.test('errnoName() knows errnos from other codes', (t) => {
  t.equal(errnoName({ code: 'ENOENT' }), 'ENOENT');
  for (const other of [{ code: 'PROCS_ERR_USAGE' }, { code: 5 }, {}, null, 'ENOENT']) t.equal(errnoName(other), undefined);
  t.end();
});
