/** Timers and clocks. Between kill and resume more time passes than they had left. */
import t from 'tap';
import { testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'itimer',
  { program: 'alarm', gapMs: 2500 },
  { program: 'posix-timers', gapMs: 2500 },
  { program: 'clocks', gapMs: 2500 },
]);
