/**
 * The machine that is measured: what it is, and that its memory has been touched.
 */
import { readFileSync, statfsSync } from 'node:fs';
import { cpus, freemem, loadavg, release, totalmem } from 'node:os';
import { program, run } from './programs.mjs';

const FILE_SYSTEMS = new Map([[0xef53, 'ext4'], [0x58465342, 'xfs'], [0x9123683e, 'btrfs'], [0x01021994, 'tmpfs'], [0x794c7630, 'overlayfs']]);

export function describeMachine(directory) {
  const cpuinfo = readFileSync('/proc/cpuinfo', 'latin1');
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpuCount: cpus().length,
    isVirtual: /^flags.*\bhypervisor\b/m.test(cpuinfo),
    memory: totalmem(),
    kernel: release(),
    node: process.version,
    fileSystem: FILE_SYSTEMS.get(statfsSync(directory).type) ?? 'unknown',
    user: process.getuid() === 0 ? 'root' : 'an ordinary user',
    load: loadavg()[0],
    scheduling: schedulingOf(),
  };
}

/** 0: SCHED_OTHER; proc_pid_stat(5), field 41. */
function schedulingOf() {
  return Number(readFileSync('/proc/self/stat', 'latin1').split(') ')[1].split(' ')[38]);
}

export function machineText(machine) {
  return [
    `${machine.cpuCount} CPUs (${machine.cpu}${machine.isVirtual ? ', a virtual machine' : ''})`,
    `${Math.round(machine.memory / 2 ** 30)} GiB`,
    `Linux ${machine.kernel}`,
    `Node ${machine.node}`,
    `images on ${machine.fileSystem}`,
    `as ${machine.user}`,
    ...(machine.scheduling === 0 ? [] : ['at real-time priority']),
    `load ${machine.load.toFixed(1)} before`,
  ].join(', ');
}

/** Touches `size` bytes, or what is free of them: page cache and processes get pages that the host has given. */
export function warmMemory(size) {
  const mebibytes = Math.floor(Math.min(size, freemem() * 0.8) / 2 ** 20);
  run([program('touch-memory'), String(mebibytes)]);
}
