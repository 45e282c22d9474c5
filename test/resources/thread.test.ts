/** Threads: their ids, names, storage, locks and scheduling; libraries that were loaded. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'threads',
  'tls',
  'robust-futex',
  'scheduling',
  'thread-churn',
  'dlopen',
]);
