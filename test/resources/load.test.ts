/** While other programs keep every processor busy. */
import t from 'tap';
import { currentUser } from '../harness.js';
import { load, testPrograms } from '../resource-cycle.js';

load(t, currentUser());

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
  'syscall-storm',
  'file-regular',
  'pipe',
  'rseq',
]);
