/** Mappings of every kind, with their contents, protections, advice and guards. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'memory-anon',
  'memory-deleted-file',
  'memory-guard',
  'memory-heap',
  'memory-huge-advice',
  'memory-layout',
  'memory-lock',
  'memory-memfd',
  'memory-private-file',
  'memory-reserve',
  'memory-shared-anon',
  'memory-shared-file',
  'memory-stack',
  'large',
  { program: 'large', args: ['64', '16'] },
]);
