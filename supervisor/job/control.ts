/**
 * The control socket: how `procs checkpoint` and `procs check` speak with the supervisor of a running job.
 *
 * A stream socket in the user's runtime directory, mode 0600. One request per connection, one JSON object
 * per line (CONTROL_VERSION in each):
 *
 *   client  {"procs":1,"request":"checkpoint","stop":false}      or  {"procs":1,"request":"check"}
 *   server  {"procs":1,"progress":{"phase":"write",…}}           any number
 *   server  {"procs":1,"report":{…}}  or  {"procs":1,"refusals":[…]}  or  {"procs":1,"error":{…}}
 *
 * What a client sends is unproven: anything else than a request, a line too long or a client too slow ends
 * its connection, and nothing more. A client that goes away does not cancel the checkpoint it asked for.
 */
import fs from 'node:fs';
import net from 'node:net';
import { ERRORS, errnoName, EXIT, messageOf, ProcsError, type ErrorCode } from '../errors.js';
import type { CheckpointReport, JobControl, Progress, Refusal } from './types.js';

export const CONTROL_VERSION = 1;
/** Of a request. */
const MAX_REQUEST_LENGTH = 4096;
/** Of an answer: a refusal lists all its reasons. */
const MAX_ANSWER_LENGTH = 16 * 1024 * 1024;
const MAX_CLIENTS = 64;
/** How long a client may take to say what it wants. */
const REQUEST_TIMEOUT_MS = 10_000;
/** A client that does not read gets no more progress beyond this. */
const MAX_UNREAD = 64 * 1024;
const PROGRESS_INTERVAL_MS = 50;
/** How long close() waits for the last answers to be taken. */
const FLUSH_MS = 1000;
/** How often a client that hears nothing looks whether the supervisor still lives. */
const WATCH_MS = 1000;

/** Whom a client wants to speak with; a JobEntry of the registry is one. */
export interface ControlAddress {
  readonly pid: number;
  readonly name: string;
  readonly socket: string;
}

export interface ControlServer {
  /** Rejects, with a ProcsError, when nobody can connect. The job can run on without. */
  readonly ready: Promise<void>;
  /** Takes no more requests, delivers the answers that are due, removes the socket. Safe to call twice. */
  close(): Promise<void>;
}

/** Answers requests for a job. The socket does not keep the process from ending. */
export function serveControl(path: string, control: JobControl): ControlServer {
  const connections = new Set<net.Socket>();
  /** Those whose request is being worked on. */
  const busy = new Set<net.Socket>();
  const pending = new Set<Promise<void>>();
  // allowHalfOpen: a client may end its side when it has asked.
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    connections.add(socket);
    socket.once('close', () => {
      connections.delete(socket);
      busy.delete(socket);
    });
    socket.on('error', () => socket.destroy()); // a client that went away
    const answered = answer(socket, control, busy).finally(() => pending.delete(answered));
    pending.add(answered);
  });
  server.maxConnections = MAX_CLIENTS;
  server.unref();
  const ready = new Promise<void>((resolve, reject) => {
    server.on('error', (error) => {
      // Later ones are of single connections (EMFILE): those do not harm the job.
      reject(new ProcsError('PROCS_ERR_SYSTEM', `cannot listen at the control socket ${path}: ${messageOf(error)}`, { cause: error }));
    });
    try {
      fs.rmSync(path, { force: true }); // of an earlier process with our pid
      // The directory lets nobody else in either.
      const mask = process.umask(0o177);
      server.listen(path, () => resolve());
      process.umask(mask);
    } catch (error) {
      reject(new ProcsError('PROCS_ERR_SYSTEM', `cannot make the control socket ${path}: ${messageOf(error)}`, { cause: error }));
    }
  });
  ready.catch(() => undefined);

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    server.close(); // unlinks the socket
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, FLUSH_MS)));
    for (const socket of connections) if (!busy.has(socket)) socket.destroy();
    await Promise.race([timeout, Promise.all(pending)]);
    clearTimeout(timer);
    for (const socket of connections) socket.destroy();
  };
  return { ready, close: () => (closing ??= close()) };
}

/**
 * Has a running job write a checkpoint, and waits until it is durable.
 *
 * @throws {ProcsError} What the supervisor met; `PROCS_ERR_NO_JOB` when it ends or cannot be reached.
 */
export async function requestCheckpoint(
  job: ControlAddress,
  options: { readonly stop: boolean },
  onProgress: (progress: Progress) => void = () => undefined,
): Promise<CheckpointReport> {
  const doing = 'before the checkpoint was durable';
  return ask(job, { request: 'checkpoint', stop: options.stop }, doing, (message) => {
    if (isObject(message['progress'])) onProgress(message['progress'] as unknown as Progress);
    return isObject(message['report']) ? (message['report'] as unknown as CheckpointReport) : undefined;
  });
}

/** Everything that would refuse a checkpoint of a running job now. */
export async function requestCheck(job: ControlAddress): Promise<readonly Refusal[]> {
  return ask(job, { request: 'check' }, 'before it had answered', ({ refusals }) =>
    Array.isArray(refusals) ? (refusals as readonly Refusal[]) : undefined,
  );
}

type Message = Readonly<Record<string, unknown>>;

async function answer(socket: net.Socket, control: JobControl, busy: Set<net.Socket>): Promise<void> {
  const line = await readRequest(socket);
  if (line === undefined) return void socket.destroy();
  busy.add(socket);
  socket.resume(); // nothing more is read, but the end is seen
  let lastMs = 0;
  let lastPhase = '';
  const onProgress = (progress: Progress): void => {
    const now = performance.now();
    if (progress.phase === lastPhase && now - lastMs < PROGRESS_INTERVAL_MS) return;
    if (socket.writableLength > MAX_UNREAD || !socket.writable) return;
    [lastMs, lastPhase] = [now, progress.phase];
    socket.write(encode({ progress }));
  };
  let result: Message;
  try {
    result = await perform(parseRequest(line), control, onProgress);
  } catch (error) {
    result = { error: describeError(error) };
  }
  if (!socket.writable) return;
  await new Promise<void>((resolve) => {
    socket.once('close', resolve);
    socket.end(encode(result), () => socket.destroySoon());
  });
}

type Request = { readonly request: 'checkpoint'; readonly stop: boolean } | { readonly request: 'check' };

async function perform(request: Request, control: JobControl, onProgress: (progress: Progress) => void): Promise<Message> {
  if (request.request === 'check') return { refusals: await control.check() };
  return { report: await control.checkpoint({ stop: request.stop }, onProgress) };
}

function parseRequest(line: string): Request {
  let message: unknown;
  try {
    message = JSON.parse(line);
  } catch {
    message = undefined;
  }
  if (!isObject(message) || typeof message['procs'] !== 'number') throw new ProcsError('PROCS_ERR_USAGE', 'the control socket takes requests of procs only');
  if (message['procs'] !== CONTROL_VERSION) {
    throw new ProcsError('PROCS_ERR_USAGE', `the job's supervisor speaks version ${CONTROL_VERSION} of the control protocol, not ${message['procs']}`, {
      remedy: 'use the version of procs that started the job',
    });
  }
  if (message['request'] === 'check') return { request: 'check' };
  if (message['request'] === 'checkpoint' && typeof message['stop'] === 'boolean') return { request: 'checkpoint', stop: message['stop'] };
  throw new ProcsError('PROCS_ERR_USAGE', `the job's supervisor does not know the request ${JSON.stringify(message['request'])}`);
}

/** One line; undefined if none comes in time, or too long a one. */
function readRequest(socket: net.Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const done = (line: string | undefined): void => {
      clearTimeout(timer);
      socket.off('data', take).off('end', none).off('close', none);
      resolve(line);
    };
    const none = (): void => done(undefined);
    const take = (chunk: Buffer): void => {
      const end = chunk.indexOf('\n');
      const part = end < 0 ? chunk : chunk.subarray(0, end);
      length += part.length;
      if (length > MAX_REQUEST_LENGTH) return none();
      chunks.push(part);
      if (end >= 0) done(Buffer.concat(chunks).toString('utf8'));
    };
    const timer = setTimeout(none, REQUEST_TIMEOUT_MS).unref();
    socket.on('data', take).once('end', none).once('close', none);
  });
}

/** Sends one request and gives every message to `take` until that returns something. */
function ask<Result>(job: ControlAddress, request: Message, doing: string, take: (message: Message) => Result | undefined): Promise<Result> {
  return new Promise<Result>((resolve, reject) => {
    const socket = net.connect(job.socket);
    let rest: Buffer[] = [];
    let restLength = 0;
    let silentSince = performance.now();
    let wasStopped = false;
    const watch = setInterval(() => {
      if (performance.now() - silentSince < WATCH_MS) return;
      const isStopped = /^State:\s+[T]/m.test(statusOf(job.pid));
      // Twice: a supervisor that is only being looked at goes on.
      if (isStopped && wasStopped) fail(supervisorStopped(job));
      wasStopped = isStopped;
    }, WATCH_MS);
    const finish = (): void => {
      clearInterval(watch);
      socket.destroy();
    };
    const fail = (error: ProcsError): void => {
      finish();
      reject(error);
    };
    const ended = (cause?: unknown): void => {
      fail(
        new ProcsError('PROCS_ERR_NO_JOB', `the supervisor of ${job.name} (process ${job.pid}) ended ${doing}`, {
          cause,
          exit: EXIT.TEMPORARY,
          remedy: 'earlier checkpoints are not affected: "procs list" shows the images',
        }),
      );
    };
    const takeLine = (line: string): void => {
      silentSince = performance.now();
      let message: unknown;
      try {
        message = JSON.parse(line);
      } catch {
        message = undefined;
      }
      if (!isObject(message) || message['procs'] !== CONTROL_VERSION) {
        return fail(new ProcsError('PROCS_ERR_INTERNAL', `the answer of process ${job.pid} is not understood: ${line.slice(0, 80)}`));
      }
      if (isObject(message['error'])) return fail(rebuildError(message['error']));
      const result = take(message);
      if (result === undefined) return;
      finish();
      resolve(result);
    };
    let hasConnected = false;
    socket.on('connect', () => {
      hasConnected = true;
      socket.write(encode(request));
    });
    socket.on('error', (error) => (hasConnected ? ended(error) : fail(connectFailure(job, error))));
    socket.on('end', () => ended());
    socket.on('data', (chunk: Buffer) => {
      for (let start = 0; !socket.destroyed; ) {
        const end = chunk.indexOf('\n', start);
        const part = chunk.subarray(start, end < 0 ? undefined : end);
        rest.push(part);
        restLength += part.length;
        if (restLength > MAX_ANSWER_LENGTH) return fail(new ProcsError('PROCS_ERR_INTERNAL', `the answer of process ${job.pid} has no end`));
        if (end < 0) return;
        const line = Buffer.concat(rest).toString('utf8');
        [rest, restLength, start] = [[], 0, end + 1];
        takeLine(line);
      }
    });
  });
}

interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string | undefined;
  readonly exit: number;
}

function describeError(error: unknown): WireError {
  const known = error instanceof ProcsError ? error : new ProcsError('PROCS_ERR_INTERNAL', messageOf(error));
  return { code: known.code, message: known.message, remedy: known.remedy, exit: known.exit };
}

function rebuildError(wire: Message): ProcsError {
  const { code, message, remedy, exit } = wire;
  // A newer supervisor may know more codes.
  const known = typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'PROCS_ERR_SYSTEM';
  return new ProcsError(known, typeof message === 'string' ? message : 'the supervisor gave no reason', {
    ...(typeof remedy === 'string' && { remedy }),
    ...(typeof exit === 'number' && { exit }),
  });
}

function connectFailure(job: ControlAddress, error: unknown): ProcsError {
  if (errnoName(error) === 'EACCES' || errnoName(error) === 'EPERM') {
    return new ProcsError('PROCS_ERR_NO_JOB', `cannot speak with ${job.name} (process ${job.pid}): it belongs to another user`, {
      cause: error,
      exit: EXIT.NOT_PERMITTED,
    });
  }
  // A full backlog is of a supervisor that accepts no one.
  if (errnoName(error) === 'EAGAIN') return supervisorStopped(job, error);
  return new ProcsError('PROCS_ERR_NO_JOB', `cannot speak with ${job.name} (process ${job.pid}): nobody answers at ${job.socket}`, {
    cause: error,
    remedy: `the job may just be ending; "kill -USR1 ${job.pid}" asks for a checkpoint too`,
  });
}

function supervisorStopped(job: ControlAddress, cause?: unknown): ProcsError {
  return new ProcsError('PROCS_ERR_NO_JOB', `the supervisor of ${job.name} (process ${job.pid}) is stopped and does not answer`, {
    cause,
    exit: EXIT.TEMPORARY,
    remedy: `let it go on with "kill -CONT ${job.pid}"; the checkpoint is then written`,
  });
}

function statusOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/status`, 'latin1');
  } catch {
    return '';
  }
}

function encode(message: Message): string {
  return `${JSON.stringify({ procs: CONTROL_VERSION, ...message })}\n`;
}

function isObject(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
