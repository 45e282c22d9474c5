/** Registers of every kind, and what code expects of the kernel beside them: the vDSO, restartable sequences. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'registers',
  'registers-x87',
  'registers-sse',
  'registers-avx',
  'registers-avx512',
  'registers-segment',
  'vdso',
  'rseq',
  'recursion',
]);
