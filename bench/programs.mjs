/**
 * Starts what is measured, and reads what it says.
 *
 * Times that go between processes are CLOCK_REALTIME, in milliseconds: a resumed program has a monotonic
 * clock of its own.
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, fstatSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const procs = join(root, 'bin/procs');
const TIMEOUT_MS = 120_000;

export function program(name) {
  return join(root, 'bench/programs/build', name);
}

/** Node rounds Date.now() to milliseconds; this is as fine as the clock. */
export function now() {
  return performance.timeOrigin + performance.now();
}

/** Programs inherit what this process leaves open: what a shell left here would refuse a checkpoint. */
export function closeInherited() {
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd <= 2) continue;
    try {
      // Node's own descriptors are all close-on-exec; 02000000 in "flags:", octal.
      const flags = parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0', 8);
      if ((flags & 0o2000000) === 0 && fstatSync(fd) !== undefined) closeSync(fd);
    } catch {
      // That of the listing itself.
    }
  }
}

/** A program that runs to its end. @returns its standard output. */
export function run(argv, options = {}) {
  const [file, ...args] = argv;
  const result = spawnSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS, maxBuffer: 1 << 26, ...options });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`${argv.join(' ')}: status ${result.status ?? result.signal}\n${result.stderr}${result.stdout}`);
  return result.stdout;
}

/** How long a command takes from its start to its end, in milliseconds. */
export function timeOf(argv, options = {}) {
  const begun = performance.now();
  run(argv, options);
  return performance.now() - begun;
}

/** A program that runs on: its lines, each with the time it came, can be waited for. */
export class Running {
  #lines = [];
  #waiting = [];

  constructor(argv, options = {}) {
    const [file, ...args] = argv;
    this.command = argv.join(' ');
    this.begun = now();
    this.child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    this.ended = new Promise((resolve) => this.child.once('close', (code, signal) => resolve(signal ?? code)));
    this.child.once('error', (error) => this.#fail(error));
    this.child.stdin?.on('error', () => undefined);
    for (const stream of [this.child.stdout, this.child.stderr].filter(Boolean)) {
      createInterface({ input: stream }).on('line', (text) => {
        const line = { text, time: now() };
        this.#lines.push(line);
        for (const waiter of [...this.#waiting]) waiter.look(line);
      });
    }
    void this.ended.then((status) => this.#fail(new Error(`${this.command} ended with ${status}`)));
  }

  get pid() {
    return this.child.pid;
  }

  get lines() {
    return this.#lines;
  }

  /** The first line, said already or not, that matches. */
  line(pattern, from = 0) {
    const found = this.#lines.slice(from).find(({ text }) => pattern.test(text));
    if (found !== undefined) return Promise.resolve({ ...found, match: pattern.exec(found.text) });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => waiter.reject(new Error(`${this.command}: no line ${pattern} in ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
      const done = () => {
        clearTimeout(timer);
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
      };
      const waiter = {
        look: (line) => {
          if (!pattern.test(line.text)) return;
          done();
          resolve({ ...line, match: pattern.exec(line.text) });
        },
        reject: (error) => {
          done();
          reject(new Error(`${error.message}\n${this.#lines.map(({ text }) => `  ${text}`).join('\n')}`));
        },
      };
      this.#waiting.push(waiter);
    });
  }

  /** Ends it by SIGKILL. */
  async kill() {
    this.child.kill('SIGKILL');
    this.child.stdin?.destroy();
    await this.ended;
  }

  #fail(error) {
    for (const waiter of [...this.#waiting]) waiter.reject(error);
  }
}
