/**
 * What a job is asked to do and what it answers: shared by job/, the control socket and cli/.
 */

/** What happens to files that the program writes, on resume and at a checkpoint. */
export type FilesPolicy = 'rewind' | 'keep' | 'snapshot';
export type PidsPolicy = 'auto' | 'exact' | 'namespace';

/** Resolved options of a supervisor: every value is present. */
export interface JobOptions {
  readonly name: string;
  /** Absolute path of the image. */
  readonly imagePath: string;
  /** No line on stderr for a checkpoint. */
  readonly quiet: boolean;
  /** Exit status after a checkpoint that ends the program. */
  readonly stopStatus: number;
  readonly files: FilesPolicy;
  readonly pids: PidsPolicy;
  /** Remove the image when the program has ended by itself. */
  readonly removeImage: boolean;
  /** One line per step with its duration, on stderr. */
  readonly trace: boolean;
}

export interface StartRequest extends JobOptions {
  /** As given: searched in PATH where it has no slash. */
  readonly program: string;
  readonly args: readonly string[];
  /** Signals ignored in the tree unless the program handles them. */
  readonly absorb: readonly number[];
}

export interface ResumeRequest extends Omit<JobOptions, 'name'> {
  /** Undefined: the name that the job had, which its image tells. */
  readonly name: string | undefined;
  /** The image that is read; another one than imagePath for a clone. */
  readonly sourcePath: string;
  /** Checkpoint number, or undefined for the newest. */
  readonly checkpoint: number | undefined;
  /** Command line to show in ps, or undefined for the original. */
  readonly shownArgs: readonly string[] | undefined;
}

/** How the program ended: the supervisor ends the same way. */
export type Outcome = { readonly kind: 'exited'; readonly status: number } | { readonly kind: 'killed'; readonly signal: number };

/** What one checkpoint did. */
export interface CheckpointReport {
  readonly number: number;
  readonly name: string;
  readonly imagePath: string;
  /** Bytes added to the image. */
  readonly bytes: number;
  /** How long the program stood still, in milliseconds. */
  readonly pauseMs: number;
  readonly durationMs: number;
  readonly processes: number;
  readonly threads: number;
  /** The program was ended after it. */
  readonly stopped: boolean;
}

/** One reason why a process cannot be checkpointed. */
export interface Refusal {
  readonly pid: number;
  /** `descriptor 7`, `mapping 7f00…-7f01…`, `child 4711`. */
  readonly where: string;
  /** What it is: `a TCP socket connected to 10.0.0.1:80`. */
  readonly what: string;
  /** What the user can do. */
  readonly remedy: string;
}

/** How far a checkpoint has come. */
export interface Progress {
  readonly phase: 'freeze' | 'write' | 'commit';
  readonly bytes: number;
  readonly totalBytes: number;
}

/** What a running job answers over its control socket. */
export interface JobControl {
  checkpoint(options: { readonly stop: boolean }, onProgress: (progress: Progress) => void): Promise<CheckpointReport>;
  /** Everything that would refuse a checkpoint now; empty when it would succeed. */
  check(): Promise<readonly Refusal[]>;
}
