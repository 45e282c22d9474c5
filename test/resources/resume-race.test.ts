/** Programs that keep changing are killed after a checkpoint at any moment, and resumed, many times over. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, ['thread-churn', 'signal-storm', 'syscall-storm'], { rounds: 8, withinMs: 60 });
