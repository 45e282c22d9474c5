/** Files, directories, devices and pipes; output that must be complete and not twice. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'file-regular',
  'file-deleted',
  'directory',
  'devices',
  'pipe',
  'io-uring',
  { program: 'stdio', compare: true },
  { program: 'counter', compare: true },
  { program: 'counter-static', compare: true },
  { program: 'file-append-log' },
]);
