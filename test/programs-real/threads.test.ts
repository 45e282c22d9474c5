import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rmSync } from 'node:fs';
import t from 'tap';
import { testProgram, which } from './real-program.js';

const built = mkdtempSync(join(tmpdir(), 'procs-real-'));
chmodSync(built, 0o755);
t.teardown(() => rmSync(built, { recursive: true, force: true }));

/** Compiles a source here. @returns why that was impossible, or false. */
function build(compiler: string, source: string, text: string, args: readonly string[]): string | false {
  writeFileSync(join(built, source), text);
  const { status, error, stderr } = spawnSync(compiler, [...args, source], { cwd: built, encoding: 'utf8' });
  return status === 0 ? false : `${compiler} cannot build it: ${error?.message ?? stderr.split('\n')[0]}`;
}

await testProgram(t, {
  name: 'Python, threads',
  does: 'a queue, six threads, a lock, hashing',
  command: ['python3', 'main.py'],
  version: ['--version'],
  files: {
    'main.py': `
import threading, queue, hashlib, time
tasks, results, lock = queue.Queue(50), {}, threading.Lock()
def work():
    while (n := tasks.get()) is not None:
        h = b'%d' % n
        for _ in range(1500): h = hashlib.sha256(h).digest()
        with lock: results[n] = h.hex()
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for n in range(1000):
    tasks.put(n)
    if n % 100 == 0:
        time.sleep(0.005)
        print('put', n, flush=True)
for _ in threads: tasks.put(None)
for thread in threads: thread.join()
print(hashlib.sha256(''.join(results[n] for n in sorted(results)).encode()).hexdigest())
`,
  },
});

const python = [which('python3'), '/usr/bin/python3'].find((path) => path !== undefined && spawnSync(path, ['-c', 'import numpy'], { stdio: 'ignore' }).status === 0);
await testProgram(t, {
  name: 'numpy',
  does: 'matrix products in the threads of OpenBLAS, a singular value decomposition',
  command: [python ?? 'python3', 'main.py'],
  version: ['-c', 'import numpy; print(numpy.__version__)'],
  skip: python === undefined && 'no python3 here has numpy',
  files: {
    'main.py': `
import numpy as np, hashlib
random = np.random.default_rng(7)
a = random.integers(-3, 4, size=(600, 600)).astype(np.float64)
for i in range(40):
    a = (a @ a.T) % 7 - 3
    if i % 5 == 0: print(i, int(np.abs(a).sum()), flush=True)
print(hashlib.sha256(a.tobytes()).hexdigest())
print('%.8f' % np.linalg.svd(random.standard_normal((300, 300)), compute_uv=False)[0])
`,
  },
});

await testProgram(t, {
  name: 'OpenMP',
  does: 'a C program with parallel loops in four threads',
  command: [join(built, 'omp')],
  skip: build(
    'cc',
    'omp.c',
    `#include <stdint.h>
#include <stdio.h>
int main(void) {
    uint64_t total = 0;
    for (int round = 0; round < 40; round++) {
        uint64_t sum = 0;
#pragma omp parallel for reduction(+:sum) schedule(dynamic, 1000) num_threads(4)
        for (int i = 0; i < 2000000; i++) {
            uint64_t x = i + round;
            for (int k = 0; k < 12; k++) x = x * 6364136223846793005u + 1442695040888963407u;
            sum += x >> 33;
        }
        total = total * 31 + sum;
        printf("%d %lu\\n", round, total);
        fflush(stdout);
    }
}
`,
    ['-O1', '-fopenmp', '-o', 'omp'],
  ),
});

const java = {
  version: ['-version'],
  skip: build(
    'javac',
    'Sieve.java',
    `public class Sieve {
  public static void main(String[] args) {
    int limit = Integer.parseInt(args[0]);
    for (int round = 0; round < Integer.parseInt(args[1]); round++) {
      boolean[] composite = new boolean[limit + 1];
      int primes = 0;
      for (int i = 2; i <= limit; i++) {
        if (composite[i]) continue;
        primes++;
        for (long j = (long) i * i; j <= limit; j += i) composite[(int) j] = true;
      }
      System.out.println(round + " " + primes);
    }
  }
}
`,
    ['-d', '.'],
  ),
};
await testProgram(t, { ...java, name: 'Java', does: 'a sieve, compiled just in time', command: ['java', '-cp', built, 'Sieve', '2000000', '70'] });
await testProgram(t, { ...java, name: 'Java -Xint', does: 'a sieve, interpreted', command: ['java', '-Xint', '-cp', built, 'Sieve', '200000', '40'] });

await testProgram(t, {
  name: 'Node.js',
  does: 'timers and computation',
  command: [process.execPath, 'main.js'],
  version: ['--version'],
  files: { 'main.js': 'let s = 0, n = 0; (function tick() { for (let i = 0; i < 1e6; i++) s = (s * 1103515245 + 12345 + i) % 2147483648; console.log(n, s); if (++n < 40) setTimeout(tick, 2); })();' },
  refused: [/an epoll instance/, /an eventfd/],
});
