/** A program that is checkpointed, killed and resumed twenty times prints what it always prints. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [{ program: 'counter', args: ['500', '5'], rounds: 20, withinMs: 100, compare: true }]);
