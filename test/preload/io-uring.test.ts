/** The shim's answer to programs that ask for an io_uring: there is none. */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { t } from 'tap';
import { asUsers, killAll, program, runProcs, spawnProcs, treeOf, workdir } from '../harness.js';

t.test('a program that asks for an io_uring under procs gets ENOSYS, and every other call is untouched', (t) =>
  asUsers(t, async (t, user) => {
    const cwd = workdir(t, user);
    const { stdout, stderr, code } = await runProcs(t, user, ['start', '--', 'sh', '-c', 'touch go; exec "$0" go', program('io-uring', user)], { cwd });
    t.match({ code, stderr }, { code: 0, stderr: '' }, 'the program is content');
    t.notMatch(stdout, /^not ok/m);
    t.match(stdout, /^ok 1 - before: there is no io_uring \(result -1, errno 38\)$/m, 'ENOSYS');
  }),
);

t.test('node, told to use an io_uring, runs without one', (t) =>
  asUsers(t, async (t, user) => {
    const cwd = workdir(t, user);
    // File system work is what libuv would give to the io_uring.
    const source = `const fs = require('node:fs');
      fs.promises.readFile('/proc/self/status').then((text) => { console.log('read ' + (text.length > 0)); setInterval(() => 0, 1000); });`;
    const job = spawnProcs(t, user, ['start', '--', process.execPath, '-e', source], { cwd, env: { UV_USE_IO_URING: '1' } });
    await job.waitStdout(/^read true$/m);
    const [, pid = 0] = treeOf(job.pid).filter((one) => one === job.pid || readFileSync(`/proc/${one}/cmdline`, 'latin1').includes('readFile'));
    t.ok(pid > 0, 'it runs');
    t.match(readFileSync(`/proc/${pid}/maps`, 'latin1'), /\/preload\/build\/libprocs\.so/, 'with the shim');
    const links = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    t.notOk(links.some((link) => link.includes('io_uring')), 'it has no io_uring');
    await killAll(job);
  }),
);

t.test('the shim is nearly nothing', (t) => {
  const shim = join(import.meta.dirname, '../../preload/build/libprocs.so');
  const headers = spawnSync('readelf', ['-lWd', shim], { encoding: 'utf8' }).stdout;
  t.equal([...headers.matchAll(/^ +LOAD/gm)].length, 2, 'two segments');
  t.notMatch(headers, /NEEDED|INIT|RELRO/, 'no library, no constructor');
  t.ok(readFileSync(shim).length <= 4096, 'one page');
  t.end();
});
