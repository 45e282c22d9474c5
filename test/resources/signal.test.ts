/** Signals: dispositions, masks, stacks, those that wait and those that keep coming. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'signals',
  'signal-pending',
  'signal-stack',
  'signal-storm',
]);
