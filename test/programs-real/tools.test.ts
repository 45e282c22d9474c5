import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { testProgram } from './real-program.js';

/** Words in a random order that is always the same. */
function someText(words: number): string {
  let x = 3;
  const next = (): number => (x = (x * 1103515245 + 12345) & 0x7fffffff);
  const vocabulary = Array.from({ length: 3000 }, () => next().toString(36) + (next() >> 16).toString(36));
  return Array.from({ length: words }, () => vocabulary[next() % vocabulary.length]).join(' ');
}

const text = someText(1_000_000);
await testProgram(t, { name: 'gzip, stream', does: 'standard input to standard output', command: ['gzip', '-9', '-n', '-c'], version: ['--version'], files: { text }, stdin: 'text' });
await testProgram(t, { name: 'gzip, file', does: 'a file beside the file', command: ['gzip', '-9', '-n', '-k', 'text'], version: ['--version'], files: { text }, outputs: ['text.gz'] });
await testProgram(t, { name: 'xz', does: 'standard input to standard output', command: ['xz', '-4', '-T1', '-c'], version: ['--version'], files: { text: text.slice(0, 2_500_000) }, stdin: 'text' });
await testProgram(t, { name: 'xz, threads', does: 'the same in two threads', command: ['xz', '-4', '-T2', '--block-size=1MiB', '-c'], version: ['--version'], files: { text: text.slice(0, 4_000_000) }, stdin: 'text' });

function someSql(pragma: string): string {
  let x = 1;
  const lines = [pragma, 'create table t(id integer primary key, v text, w blob); create index i on t(v);'];
  for (let i = 0; i < 1500; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    lines.push(`begin; insert into t values(${i}, 'v${x}', zeroblob(${x % 900})); insert into t values(${i + 100000}, 'w${x % 1003}', null); update t set w = zeroblob(${x % 50}) where id = ${x % (i + 1)}; commit;`);
    if (i % 100 === 0) lines.push('select count(*), sum(length(w)) from t;');
  }
  lines.push('pragma integrity_check; select count(*), sum(length(w)), max(v) from t;');
  return lines.join('\n');
}

const isWhole = (own: Test, directory: string): void => {
  const { stdout } = spawnSync('sqlite3', [join(directory, 'x.db'), 'pragma integrity_check; select count(*) from t'], { encoding: 'utf8' });
  own.equal(stdout, 'ok\n3000\n', 'the database is whole');
};
for (const [journal, pragma] of [['rollback journal', ''], ['write-ahead log', 'pragma journal_mode=wal;']] as const) {
  for (const files of ['rewind', 'snapshot']) {
    await testProgram(t, {
      name: `SQLite, ${journal}, --files=${files}`,
      does: '1500 transactions in a file',
      command: ['sqlite3', 'x.db'],
      version: ['--version'],
      files: { 'main.sql': someSql(pragma) },
      stdin: 'main.sql',
      options: [`--files=${files}`],
      verify: isWhole,
    });
  }
}

const cc1 = spawnSync('gcc', ['-print-prog-name=cc1'], { encoding: 'utf8' }).stdout?.trim() || 'cc1';
await testProgram(t, {
  name: 'gcc (cc1)',
  does: 'compiles a long file with -O1',
  command: [cc1, '-quiet', '-O1', 'main.i', '-o', 'main.s'],
  version: ['--version'],
  outputs: ['main.s'],
  files: {
    'main.i': Array.from(
      { length: 180 },
      (_, i) => `int f${i}(int a, int b) { int s = ${i}; for (int i = 0; i < a; i++) { switch (b % 7) { case 0: s += i * ${i}; break; case 1: s ^= a << ${i % 13}; break; case 2: s -= b; break; default: s *= 3; } if (s > ${i * 77}) s /= 2; } return s${i > 0 ? ` + f${i - 1}(b, a)` : ''}; }`,
    ).join('\n'),
  },
});
