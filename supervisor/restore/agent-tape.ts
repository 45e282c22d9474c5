/**
 * The tape of the agent, which makes the others and is gone, and of the init of a PID
 * namespace where one is needed.
 */
import {
  AT_FDCWD,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_PARENT,
  O_CLOEXEC,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  PR_SET_DUMPABLE,
  PR_SET_NAME,
  SIGNAL,
} from '../linux.js';
import { Load, Mark, SlotAddress, Tape } from '../tape/tape.js';
import { type CompileOptions, NAMESPACE_LABEL, type Parts, type Work } from './plan.js';

/** The first process: takes what the supervisor holds, makes the others, ends. */
export function playAgent(tape: Tape, options: CompileOptions, parts: Parts, work: Work, init: Mark, target: Mark): void {
  // With a file capability the agent is not dumpable, and then its /proc/self is root's.
  tape.call('set the dumpable flag of the agent', 'prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0]);
  const take = (what: string, fd: number, flags: number, as: number): void => {
    const path = tape.text(`/proc/${options.supervisorPid}/fd/${fd}`);
    const opened = tape.call(`open ${what}`, 'openat', [AT_FDCWD, path, flags, 0]);
    tape.call(`hold ${what}`, 'dup3', [opened, as, O_CLOEXEC]);
    tape.call(`close ${what}`, 'close', [opened]);
  };
  take('the report pipe', options.reportFd, O_WRONLY, work.report);
  take('the launch pipe', options.launchFd, O_WRONLY, work.launch);
  take('the image', options.imageFd, O_RDONLY, work.image);
  for (const [id, fd] of options.carried) take(`file ${id}`, fd, O_RDWR, work.carried.get(id) ?? work.above);
  // Streams that are closed here stay closed in the target.
  work.streams.forEach((as, fd) => tape.call(`hold stream ${fd}`, 'dup3', [fd, as, O_CLOEXEC], { mayFail: true }));
  tape.call('close inherited descriptors', 'close_range', [0, work.first - 1, 0]);

  const { user, pid, time } = options.isolation;
  const namespaces = (user ? CLONE_NEWUSER : 0n) | (pid ? CLONE_NEWPID | CLONE_NEWNS : 0n) | (time ? CLONE_NEWTIME : 0n);
  if (namespaces !== 0n) tape.call(NAMESPACE_LABEL, 'unshare', [namespaces]);
  if (user) {
    writeFile(tape, '/proc/self/setgroups', 'deny');
    writeFile(tape, '/proc/self/uid_map', `${options.uid} ${options.uid} 1`);
    writeFile(tape, '/proc/self/gid_map', `${options.gid} ${options.gid} 1`);
  }
  if (time) writeFile(tape, '/proc/self/timens_offsets', options.clockOffsets);

  if (pid) {
    const pair = tape.reserve(8);
    tape.call('make a pipe', 'pipe2', [pair, O_CLOEXEC]);
    tape.call('hold a pipe', 'dup3', [new Load(pair), work.gate[0], O_CLOEXEC]);
    tape.call('hold a pipe', 'dup3', [new Load(pair.plus(4)), work.gate[1], O_CLOEXEC]);
    tape.call('close a pipe', 'close_range', [0, work.first - 1, 0]);
    const child = tape.spawn('make the init of a PID namespace', { flags: CLONE_PARENT }, init);
    tape.call('report the id of init', 'write', [work.launch, new SlotAddress(child), 8]);
  }
  // CLONE_PARENT: the supervisor itself is the target's parent.
  const child = tape.spawn(`make process ${parts.process.pid} with its own id`, { flags: CLONE_PARENT, setTid: [parts.process.pid] }, target);
  tape.call('report the id of the target', 'write', [work.launch, new SlotAddress(child), 8]);
  tape.call('end the agent', 'exit_group', [0]);
}

function writeFile(tape: Tape, path: string, text: string): void {
  const fd = tape.call(`open ${path}`, 'openat', [AT_FDCWD, tape.text(path), O_WRONLY, 0]);
  tape.call(`write ${path}`, 'write', [fd, tape.text(text), text.length], { want: text.length });
  tape.call(`close ${path}`, 'close', [fd]);
}

/** Process 1 of the namespace: lives as long as the target, reaps what is orphaned there. */
export function playInit(tape: Tape, work: Work, init: Mark, target: number): void {
  tape.place(init);
  tape.call('name init', 'prctl', [PR_SET_NAME, tape.text('procs-init'), 0, 0, 0]);
  const ignore = Buffer.alloc(32);
  ignore.writeBigUInt64LE(1n, 0); // SIG_IGN: children are reaped by the kernel
  tape.call('ignore SIGCHLD in init', 'rt_sigaction', [SIGNAL.SIGCHLD, tape.data(ignore), 0, 8]);
  tape.call('hold the gate', 'dup3', [work.gate[0], 0, 0]);
  tape.call('close the descriptors of init', 'close_range', [1, 0xffffffff, 0]);
  // Ends when the agent, which makes the target, has ended.
  tape.call('wait for the target', 'read', [0, tape.reserve(8), 1, 0], { mayFail: true });
  const pidfd = tape.call('watch the target', 'pidfd_open', [target, 0], { mayFail: true });
  tape.call('close the gate', 'close', [0]);
  tape.call('keep the watch', 'dup3', [pidfd, 0, 0], { mayFail: true });
  const poll = Buffer.alloc(8);
  poll.writeInt16LE(1 /* POLLIN */, 4);
  tape.call('wait for the end of the target', 'poll', [tape.data(poll), 1, -1], { mayFail: true });
  tape.call('end init', 'exit_group', [0]);
}
