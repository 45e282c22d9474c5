/**
 * Every error that procs reports: one table of codes, exit statuses and remedies.
 *
 * A code is stable and listed in docs/ERRORS.md; callers match on codes, never on
 * text. A message says what could not be done, to what, then why, with the values.
 */

/** Exit statuses of procs itself, sysexits(3h) where the target's own status does not apply. */
export const EXIT = {
  OK: 0,
  FAILURE: 1,
  USAGE: 64,
  BAD_IMAGE: 65,
  NO_INPUT: 66,
  UNAVAILABLE: 69,
  SOFTWARE: 70,
  OS: 71,
  CANNOT_CREATE: 73,
  IO: 74,
  TEMPORARY: 75,
  NOT_PERMITTED: 77,
  /** A checkpoint was written and the program was ended on request (`--stop-status`). */
  STOPPED: 85,
  /** `start` and `resume`: procs itself failed. */
  PROCS: 125,
  /** `start`: the program was found but cannot be executed. */
  CANNOT_EXECUTE: 126,
  /** `start`: the program was not found. */
  NOT_FOUND: 127,
} as const;

interface ErrorRow {
  readonly exit: number;
  /** What the user can do; undefined where the message itself says it. */
  readonly remedy?: string;
}

export const ERRORS = {
  PROCS_ERR_USAGE: { exit: EXIT.USAGE },
  PROCS_ERR_INTERNAL: { exit: EXIT.SOFTWARE, remedy: 'this is a bug in procs: please report it with the output of --trace' },
  PROCS_ERR_BUILD: { exit: EXIT.SOFTWARE, remedy: 'run "npm rebuild" in the package folder' },
  PROCS_ERR_SYSTEM: { exit: EXIT.OS },
  PROCS_ERR_PROC_FORMAT: { exit: EXIT.SOFTWARE, remedy: 'please report it with the line quoted' },
  PROCS_ERR_PTRACE: { exit: EXIT.NOT_PERMITTED, remedy: 'run "procs doctor" to see what this machine permits' },
  PROCS_ERR_NO_PROCESS: { exit: EXIT.NO_INPUT },
  PROCS_ERR_FREEZE_TIMEOUT: { exit: EXIT.TEMPORARY, remedy: 'try again' },
  PROCS_ERR_REFUSED: { exit: EXIT.UNAVAILABLE },
  PROCS_ERR_TAPE: { exit: EXIT.OS },
  PROCS_ERR_NOT_EXECUTABLE: { exit: EXIT.CANNOT_EXECUTE },
  PROCS_ERR_NOT_FOUND: { exit: EXIT.NOT_FOUND },
  PROCS_ERR_NO_JOB: { exit: EXIT.NO_INPUT },
  PROCS_ERR_NO_IMAGE: { exit: EXIT.NO_INPUT },
  PROCS_ERR_IMAGE_IN_USE: { exit: EXIT.TEMPORARY },
  PROCS_ERR_IMAGE_EXISTS: { exit: EXIT.CANNOT_CREATE },
  PROCS_ERR_IMAGE_OPEN: { exit: EXIT.NO_INPUT },
  PROCS_ERR_IMAGE_FORMAT: { exit: EXIT.BAD_IMAGE },
  PROCS_ERR_IMAGE_VERSION: { exit: EXIT.BAD_IMAGE, remedy: 'use the version of procs that wrote it, or a newer one' },
  PROCS_ERR_IMAGE_ARCH: { exit: EXIT.BAD_IMAGE, remedy: 'resume it on a machine of that architecture' },
  PROCS_ERR_IMAGE_DAMAGED: { exit: EXIT.BAD_IMAGE, remedy: '"procs verify" lists the checkpoints that are whole' },
  PROCS_ERR_IMAGE_EMPTY: { exit: EXIT.BAD_IMAGE, remedy: 'its program was ended before the first checkpoint was complete: start it again' },
  PROCS_ERR_IMAGE_READ: { exit: EXIT.IO, remedy: 'look at the kernel log, or use a copy of the image' },
  PROCS_ERR_IMAGE_WRITE: { exit: EXIT.IO },
  PROCS_ERR_FILE_CHANGED: { exit: EXIT.BAD_IMAGE },
  PROCS_ERR_PIDS: { exit: EXIT.UNAVAILABLE },
  PROCS_ERR_STILL_RUNNING: { exit: EXIT.TEMPORARY },
  PROCS_ERR_MACHINE: { exit: EXIT.UNAVAILABLE },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export interface ProcsErrorOptions {
  readonly cause?: unknown;
  /** Replaces the table's remedy. */
  readonly remedy?: string;
  /** Replaces the table's exit status. */
  readonly exit?: number;
}

/** An error for the world: shown as `procs: MESSAGE` and, below it, what to do. */
export class ProcsError extends Error {
  readonly code: ErrorCode;
  readonly exit: number;
  readonly remedy: string | undefined;

  constructor(code: ErrorCode, message: string, options: ProcsErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ProcsError';
    const row: ErrorRow = ERRORS[code];
    this.code = code;
    this.exit = options.exit ?? row.exit;
    this.remedy = options.remedy ?? row.remedy;
  }
}

/** `ENOENT` from a Node or addon error; undefined from anything else. */
export function errnoName(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** One line about any thrown value, without a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
