/**
 * The story of a resume: read, examine, make files ready, compile, launch, supervise.
 *
 * A resume that fails leaves nothing behind.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { ProcsError, errnoName } from '../errors.js';
import { playerCode } from '../freeze/player.js';
import { Image, type Checkpoint } from '../image/image.js';
import { processorFeatures } from '../proc/processor.js';
import { parseStat } from '../proc/status.js';
import { compileResume } from '../restore/compile.js';
import { NAMESPACE_LABEL, readParts } from '../restore/plan.js';
import { prepareFiles } from '../restore/files.js';
import { chooseIsolation, clockOffsets } from '../restore/isolation.js';
import { AGENT_PATH, LaunchPipes, type Launched, TapeFailure, launch } from '../restore/launch.js';
import { ownKernelAreas } from '../restore/layout.js';
import { log } from './log.js';
import { type Charge, Supervisor } from './supervise.js';
import type { JobOptions, Outcome, ResumeRequest } from './types.js';

export async function resumeJob(given: ResumeRequest): Promise<Outcome> {
  if (given.trace) log.enable();
  using image = log.step('open the image', () => Image.openForReading(given.sourcePath));
  const checkpoint = log.step('read the checkpoint', () => image.read(given.checkpoint));
  const request = { ...given, name: given.name ?? originalName(checkpoint) ?? basename(given.imagePath, '.procs') };
  const command = originalCommand(checkpoint);
  refuseWhileRunning(request, checkpoint);
  const supervisor = await log.stepAsync('prepare', () => Supervisor.prepare(request, command));
  try {
    const launched = await relaunch(request, image, checkpoint);
    image.close();
    const isSameImage = request.sourcePath === request.imagePath;
    return await supervisor.run({ ...launched, command, parent: isSameImage ? checkpoint.summary.number : 0 });
  } catch (error) {
    await supervisor.close();
    throw error;
  }
}

type NamedRequest = ResumeRequest & JobOptions;

async function relaunch(request: NamedRequest, image: Image, checkpoint: Checkpoint): Promise<Launched & Pick<Charge, 'region' | 'args'>> {
  const parts = log.step('read the records', () => readParts(checkpoint.records));
  examineMachine(parts, checkpoint);
  const isolation = chooseIsolation(request.pids, parts.threads.map(({ tid }) => tid));
  using files = await log.stepAsync('make files ready', () =>
    prepareFiles({
      directory: parts.process.directory,
      files: [...parts.files.values()],
      policy: request.files,
      cloneName: request.sourcePath === request.imagePath ? undefined : request.name,
      imageFd: image.fd,
      extents: checkpoint.extents,
      tell: (line) => process.stderr.write(`procs: ${line}\n`),
    }),
  );
  using pipes = new LaunchPipes();
  const codeSize = playerCode().length;
  const compiled = log.step('compile the tape', () =>
    compileResume({
      records: checkpoint.records,
      extents: checkpoint.extents,
      isolation,
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      supervisorPid: process.pid,
      imageFd: image.fd,
      reportFd: pipes.report[1],
      launchFd: pipes.launch[1],
      carried: files.carried,
      moved: files.moved,
      clockOffsets: clockOffsets(parts.process),
      codeSize,
      shownArgs: request.shownArgs,
    }),
  );
  const launched = await log.stepAsync('launch', () => launch({ ...compiled, pipes })).catch((error: unknown) => {
    throw explain(error);
  });
  const [argStart = 0n, argEnd = 0n] = parts.memory.layout.slice(7, 9);
  const args = (request.shownArgs ?? []).length > 0 ? ([argStart, argEnd] as const) : undefined;
  return { ...launched, args, region: { base: compiled.base, size: codeSize + compiled.tape.encodedLength } };
}

function originalName(checkpoint: Checkpoint): string | undefined {
  const { name } = checkpoint.header;
  return typeof name === 'string' && name !== '' ? name : undefined;
}

/** What a step that failed means for the user, where its own words do not say. */
function explain(error: unknown): unknown {
  if (!(error instanceof TapeFailure) || error.label !== NAMESPACE_LABEL) return error;
  return new ProcsError('PROCS_ERR_PIDS', `cannot keep the process ids: this machine does not let you make namespaces (${error.message})`, {
    cause: error,
    remedy: `an administrator can permit user namespaces, or run: setcap cap_checkpoint_restore=ep ${AGENT_PATH}`,
  });
}

/** What the program was started as. */
function originalCommand(checkpoint: Checkpoint): string[] {
  const { command } = checkpoint.header;
  return Array.isArray(command) && command.every((word) => typeof word === 'string') ? command : ['?'];
}

/** Never two copies: the supervisor may have been killed, and its program not. */
function refuseWhileRunning(request: NamedRequest, checkpoint: Checkpoint): void {
  if (request.sourcePath !== request.imagePath) return;
  const { bootId, pid, startTime } = checkpoint.header;
  if (typeof pid !== 'number' || typeof startTime !== 'bigint') return;
  try {
    if (readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim() !== bootId) return;
    const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    if (stat.startTime !== startTime || stat.state === 'Z' || stat.state === 'X') return;
  } catch (error) {
    if (errnoName(error) !== undefined) return;
    throw error;
  }
  throw new ProcsError('PROCS_ERR_STILL_RUNNING', `cannot resume ${request.name}: the program still runs as process ${pid}, without its supervisor`, {
    remedy: `end it (kill ${pid}), or run another copy beside it with --clone`,
  });
}

/** What this machine must have in common with the one of the checkpoint. */
function examineMachine(parts: ReturnType<typeof readParts>, checkpoint: Checkpoint): void {
  const [uid] = parts.process.uids;
  if (uid !== process.getuid?.()) {
    throw new ProcsError('PROCS_ERR_MACHINE', `cannot resume: the program ran as user ${uid}, and you are user ${process.getuid?.()}`, { remedy: `resume it as user ${uid}` });
  }
  const { processor } = checkpoint.header;
  const present = new Set(processorFeatures());
  const missing = Array.isArray(processor) ? processor.filter((feature) => typeof feature === 'string' && !present.has(feature)) : [];
  if (missing.length > 0) {
    throw new ProcsError('PROCS_ERR_MACHINE', `cannot resume: this processor lacks what the program was started with: ${missing.join(' ')}`, {
      remedy: 'resume it on a machine with these features',
    });
  }
  const own = ownKernelAreas();
  const shape = (areas: readonly { name: string; start: bigint; end: bigint }[]): string => areas.map((area) => `${area.name} ${area.end - area.start} at ${area.start - (areas[0]?.start ?? 0n)}`).join(', ');
  if (shape(own) !== shape(parts.memory.kernelAreas)) {
    throw new ProcsError('PROCS_ERR_MACHINE', `cannot resume: this kernel's own mappings differ: ${shape(own)}; the image has ${shape(parts.memory.kernelAreas)}`, {
      remedy: 'resume it under the kernel version it was checkpointed on',
    });
  }
}
