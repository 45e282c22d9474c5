/** On one processor, where supervisor and program are never running at once. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'registers-avx',
  'memory-anon',
  'memory-guard',
  'memory-private-file',
  'threads',
  'thread-churn',
  'signal-pending',
  'signal-storm',
  'itimer',
  'posix-timers',
  'syscall-restart',
  'syscall-storm',
  'file-regular',
  'pipe',
  'rseq',
], { prefix: ['taskset', '-c', '0'] });
