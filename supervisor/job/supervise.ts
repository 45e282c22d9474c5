/**
 * A supervisor's life beside its program: passes signals on, stops and continues with
 * it, writes checkpoints when asked, and ends as it ended.
 */
import { existsSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { ProcsError, messageOf } from '../errors.js';
import { SIGNAL, SI_KERNEL } from '../linux.js';
import { Image } from '../image/image.js';
import { native } from '../native.js';
import { processorFeatures } from '../proc/processor.js';
import { parseStat } from '../proc/status.js';
import { readText } from '../freeze/ask.js';
import type { PlayerRegion } from '../freeze/player.js';
import { acquireImageLock, type ImageLock } from '../registry/lock.js';
import { type JobRegistration, forgetImage, registerJob, rememberImage } from '../registry/registry.js';
import { findReasons } from '../freeze/snapshot.js';
import { AreaFlags } from '../proc/maps.js';
import { WaitTimes } from '../freeze/waiting.js';
import { type Tracked, writeCheckpoint } from './checkpoint.js';
import { type ControlServer, serveControl } from './control.js';
import { describeReport } from './report.js';
import { log } from './log.js';
import type { CheckpointReport, JobControl, JobOptions, Outcome, Progress, Refusal } from './types.js';

const { SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH } = SIGNAL;
const PASSED_ON = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH];
const STOPS: ReadonlySet<number> = new Set([SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU]);
const NOTE_SIZE = 16;

/** What is known of a program when its supervisor takes charge. */
export interface Charge {
  readonly pid: number;
  /** Process 1 of its namespace, where it has one. */
  readonly init: number | undefined;
  readonly command: readonly string[];
  /** The checkpoint it goes on from; 0 for none. */
  readonly parent: number;
  readonly region: PlayerRegion | undefined;
  /** Where its own arguments are, when ps is shown others. */
  readonly args?: readonly [start: bigint, end: bigint] | undefined;
}

interface Request {
  readonly stop: boolean;
  readonly onProgress: (progress: Progress) => void;
  readonly resolve: (report: CheckpointReport) => void;
  readonly reject: (error: unknown) => void;
}

export class Supervisor implements JobControl {
  readonly #requests: Request[] = [];
  #working: Promise<void> | undefined;
  #charge: Charge | undefined;
  #target: Tracked | undefined;
  #image: Image | undefined;
  #parent = 0;
  #outcome: Outcome | undefined;
  /** The program is being ended by us. */
  #stopping = false;
  /** It was killed meanwhile: by us, if the checkpoint succeeds. */
  #endWhileStopping: Outcome | undefined;
  /** The program was stopped, and procs with it. */
  #stopped = false;
  #ended: (() => void) | undefined;
  #registration: JobRegistration | undefined;
  #control: ControlServer | undefined;
  #notes: Socket | undefined;
  /** Signals that came before there was a program. */
  #early: number[] = [];

  private constructor(
    readonly options: JobOptions,
    readonly lock: ImageLock,
    readonly command: readonly string[],
  ) {}

  /** Takes the image and listens for signals; no program yet. */
  static async prepare(options: JobOptions, command: readonly string[]): Promise<Supervisor> {
    if (options.trace) log.enable();
    native.setChildSubreaper();
    const description = { name: options.name, imagePath: options.imagePath, command: command.join(' ') };
    let registration: JobRegistration | undefined;
    try {
      registration = registerJob(description);
    } catch (error) {
      log.note(`not in the list of jobs: ${messageOf(error)}`);
    }
    try {
      const lock = await acquireImageLock(options.imagePath, { name: options.name, command: description.command, socket: registration?.socket });
      const supervisor = new Supervisor(options, lock, command);
      supervisor.#registration = registration;
      supervisor.#listen();
      return supervisor;
    } catch (error) {
      registration?.remove();
      throw error;
    }
  }

  /** Runs until the program has ended, or was ended after a checkpoint. */
  async run(charge: Charge): Promise<Outcome> {
    this.#charge = charge;
    this.#target = { pid: charge.pid, region: charge.region, waits: undefined, args: charge.args };
    this.#parent = charge.parent;
    const ended = new Promise<void>((resolve) => (this.#ended = resolve));
    process.on('SIGCHLD', () => this.#lookAtChild());
    if (this.#registration !== undefined) this.#serve(this.#registration.socket);
    for (const signal of this.#early.splice(0)) this.#pass(signal);
    this.#lookAtChild();
    this.#work();
    await ended;
    await this.#working;
    const outcome = this.#outcome ?? { kind: 'exited', status: this.options.stopStatus };
    await this.close();
    return outcome;
  }

  /** Gives back what it holds. */
  async close(): Promise<void> {
    if (this.#charge?.init !== undefined) {
      try {
        native.sendSignal(this.#charge.init, 0, SIGNAL.SIGKILL);
      } catch {
        // It ended with the program.
      }
    }
    await this.#control?.close();
    this.#image?.close();
    if (this.options.removeImage && this.#outcome !== undefined) {
      rmSync(this.options.imagePath, { force: true });
      forgetImage(this.options.imagePath);
    }
    this.lock.release();
    this.#notes?.destroy();
    this.#registration?.remove();
  }

  checkpoint(options: { readonly stop: boolean }, onProgress: (progress: Progress) => void): Promise<CheckpointReport> {
    return new Promise((resolve, reject) => {
      this.#requests.push({ stop: options.stop, onProgress, resolve, reject });
      this.#work();
    });
  }

  async check(): Promise<readonly Refusal[]> {
    const target = this.#target;
    if (target === undefined) throw new ProcsError('PROCS_ERR_NO_PROCESS', 'cannot check the program: it does not run yet');
    await this.#working;
    return findReasons({ pid: target.pid, region: target.region, waits: WaitTimes.before(target.pid, target.waits), flags: new AreaFlags(), sink: { fd: -1, offset: 0, extents: [], shared: [] }, files: this.options.files }).map(
      (reason) => ({ pid: target.pid, ...reason }),
    );
  }

  #serve(socket: string): void {
    this.#control = serveControl(socket, this);
    this.#control.ready.catch((error: unknown) => log.note(`no control socket: ${messageOf(error)}`));
  }

  /** Signals are read from a pipe that a handler of the addon fills, as only that tells who sent them. */
  #listen(): void {
    const fd = native.watchSignals([...PASSED_ON, SIGUSR1, SIGUSR2]);
    let rest = Buffer.alloc(0);
    this.#notes = new Socket({ fd, readable: true, writable: false });
    this.#notes.on('data', (bytes: Buffer) => {
      rest = Buffer.concat([rest, bytes]);
      for (; rest.length >= NOTE_SIZE; rest = rest.subarray(NOTE_SIZE)) this.#onSignal(rest.readInt32LE(0), rest.readInt32LE(4), rest.readInt32LE(8));
    });
  }

  #onSignal(signal: number, code: number, sender: number): void {
    if (signal === SIGUSR1 || signal === SIGUSR2) {
      const stop = signal === SIGUSR2;
      // One that waits already will be begun after this signal too.
      if (!this.#requests.some((request) => request.stop === stop)) {
        this.checkpoint({ stop }, () => undefined).catch((error: unknown) => this.#complain(error));
      }
      return;
    }
    // The terminal signals the whole foreground group, and the program is in it; so does the program itself.
    if (code === SI_KERNEL || sender === this.#charge?.pid) return;
    if (this.#charge === undefined) this.#early.push(signal);
    else this.#pass(signal);
  }

  #pass(signal: number): void {
    const stopped = this.#stopped;
    if (signal === SIGCONT) this.#stopped = false;
    try {
      // A shell continues the whole group that was stopped: the program runs already, and has had its signal.
      if (signal === SIGCONT && stopped && this.#charge !== undefined && stateOf(this.#charge.pid) !== 'T') return;
      if (this.#charge !== undefined && this.#outcome === undefined) native.sendSignal(this.#charge.pid, 0, signal);
    } catch {
      // It has just ended.
    }
  }

  #lookAtChild(): void {
    const charge = this.#charge;
    if (charge === undefined || this.#outcome !== undefined) return;
    for (;;) {
      const change = native.waitChild(charge.pid);
      if (change === null) break;
      if (change.kind === 'exited') this.#outcome = { kind: 'exited', status: change.value };
      else if (change.kind === 'killed' && this.#stopping) {
        this.#endWhileStopping = { kind: 'killed', signal: change.value };
        return;
      }
      else if (change.kind === 'killed') this.#outcome = { kind: 'killed', signal: change.value };
      else if (change.kind === 'stopped' && STOPS.has(change.value)) {
        this.#stopped = true;
        stopToo(change.value);
      }
      if (this.#outcome !== undefined) {
        this.#ended?.();
        return;
      }
    }
    native.reapOrphans([charge.pid, charge.init ?? 0]);
  }

  /** One checkpoint at a time, in the order in which they were asked for. */
  #work(): void {
    if (this.#working !== undefined || this.#target === undefined || this.#requests.length === 0) return;
    this.#working = this.#workAll(this.#target).finally(() => {
      this.#working = undefined;
      this.#work();
    });
  }

  async #workAll(target: Tracked): Promise<void> {
    for (let request = this.#requests.shift(); request !== undefined; request = this.#requests.shift()) {
      try {
        const report = await this.#write(target, request);
        if (!this.options.quiet) process.stderr.write(`procs: ${describeReport(report)}\n`);
        request.resolve(report);
        if (report.stopped) {
          this.#ended?.();
          for (const other of this.#requests.splice(0)) other.reject(new ProcsError('PROCS_ERR_NO_PROCESS', 'cannot checkpoint: the program was ended after a checkpoint'));
          return;
        }
      } catch (error) {
        this.#stopping = false;
        if (this.#endWhileStopping !== undefined) {
          this.#outcome = this.#endWhileStopping;
          this.#ended?.();
        }
        request.reject(hasEnded(target.pid) ? new ProcsError('PROCS_ERR_NO_PROCESS', `cannot checkpoint ${this.options.name}: it has ended meanwhile`, { cause: error }) : error);
      }
    }
  }

  async #write(target: Tracked, request: Request): Promise<CheckpointReport> {
    if (this.#outcome !== undefined) throw new ProcsError('PROCS_ERR_NO_PROCESS', `cannot checkpoint ${this.options.name}: it has ended`);
    if (this.lock.lost !== undefined) throw new ProcsError('PROCS_ERR_IMAGE_IN_USE', `cannot checkpoint ${this.options.name}: ${this.lock.lost}`);
    const begun = performance.now();
    request.onProgress({ phase: 'freeze', bytes: 0, totalBytes: 0 });
    const image = await this.#openImage();
    this.#stopping = request.stop;
    const result = await writeCheckpoint({
      target,
      image,
      files: this.options.files,
      parent: this.#parent,
      header: {
        name: this.options.name,
        command: [...this.command],
        supervisor: process.pid,
        bootId: readText('/proc/sys/kernel/random/boot_id').trim(),
        processor: processorFeatures(),
        pid: target.pid,
        startTime: parseStat(readText(`/proc/${target.pid}/stat`)).startTime,
      },
      stop: request.stop,
      onProgress: request.onProgress,
    });
    const { summary } = result;
    this.#parent = summary.number;
    if (result.refusedTwin !== undefined && !this.options.quiet) {
      process.stderr.write(`procs: the program stood still while it was written: ${result.refusedTwin}\n`);
    }
    rememberImage({ name: this.options.name, imagePath: this.options.imagePath, newestMs: summary.timeMs, checkpoint: summary.number, command: this.command.join(' ') });
    return {
      number: summary.number,
      name: this.options.name,
      imagePath: this.options.imagePath,
      bytes: summary.end - summary.start + summary.metadataBytes,
      pauseMs: result.pauseMs,
      durationMs: performance.now() - begun,
      processes: 1,
      threads: result.threads,
      stopped: request.stop,
    };
  }

  async #openImage(): Promise<Image> {
    if (this.#image !== undefined) return this.#image;
    const path = this.options.imagePath;
    this.#image = existsSync(path) && this.#parent > 0 ? Image.openForWriting(path) : await Image.create(path, { replaceIncomplete: true });
    return this.#image;
  }

  #complain(error: unknown): void {
    const remedy = error instanceof ProcsError && error.remedy !== undefined ? `\n       ${error.remedy}` : '';
    process.stderr.write(`procs: ${messageOf(error)}${remedy}\n`);
  }
}

/** Whatever a checkpoint has met then (a file of /proc is missing, a thread is gone), this is the reason. */
function hasEnded(pid: number): boolean {
  return /^[ZX]$/.test(stateOf(pid));
}

/** One letter, proc_pid_stat(5). */
function stateOf(pid: number): string {
  try {
    return parseStat(readText(`/proc/${pid}/stat`)).state;
  } catch {
    return 'X';
  }
}

/** Stops procs as the program was stopped: a shell tells by the signal who has done it. */
function stopToo(signal: number): void {
  if (signal === SIGSTOP) return native.sendSignal(process.pid, 0, signal);
  native.dieOfSignal(signal);
  native.watchSignals(PASSED_ON.filter((one) => one === signal));
}
