/**
 * Compiles the tape that procs-agent plays to become the target.
 *
 * Three parts, each played by a process of its own: the agent, the init of a PID
 * namespace (agent-tape.ts), and the target (target-tape.ts, memory-tape.ts).
 */
import { Mark, Tape } from '../tape/tape.js';
import { playAgent, playInit } from './agent-tape.js';
import { findHole, ownKernelAreas } from './layout.js';
import { type CompileOptions, REGION_LIMIT, readParts, workDescriptors } from './plan.js';
import { playTarget } from './target-tape.js';

interface Compiled {
  readonly tape: Tape;
  readonly base: bigint;
  readonly reportFd: number;
  readonly pid: number;
}

const MINIMUM_TAPE = 128 * 1024;

export function compileResume(options: CompileOptions): Compiled {
  const parts = readParts(options.records);
  const areas = [...parts.memory.areas, ...parts.memory.kernelAreas];
  const base = findHole(areas, REGION_LIMIT);
  const kernel = ownKernelAreas();
  const vdso = kernel.at(-1);
  const tape = new Tape(kernel.map((area) => Number((vdso?.start ?? 0n) - area.start)));
  tape.minimumLength = MINIMUM_TAPE;
  tape.beginOn(tape.stack(8192));
  const work = workDescriptors(parts, options.carried);

  const init = new Mark();
  const target = new Mark();
  playAgent(tape, options, parts, work, init, target);
  if (options.isolation.pid) playInit(tape, work, init, parts.process.pid);
  playTarget(tape, options, parts, work, base, kernel, target);
  return { tape, base, reportFd: work.report, pid: parts.process.pid };
}
