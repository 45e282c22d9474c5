/**
 * `--trace`: one line a step with its duration, on stderr. Silent otherwise.
 */
let tracing = false;

export const log = {
  enable(): void {
    tracing = true;
  },

  note(text: string): void {
    if (tracing) process.stderr.write(`procs: ${text}\n`);
  },

  step<T>(name: string, run: () => T): T {
    if (!tracing) return run();
    const begun = performance.now();
    try {
      return run();
    } finally {
      log.note(`${name}: ${(performance.now() - begun).toFixed(2)} ms`);
    }
  },

  async stepAsync<T>(name: string, run: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    try {
      return await run();
    } finally {
      log.note(`${name}: ${(performance.now() - begun).toFixed(2)} ms`);
    }
  },
};
