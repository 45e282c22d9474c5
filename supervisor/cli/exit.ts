/**
 * Ends the supervisor as its program ended, so that a shell, a scheduler or a service manager sees no
 * difference: with the same status, or killed by the same signal.
 */
import { onExit } from 'signal-exit';
import { native } from '../native.js';
import type { Outcome } from '../job/types.js';

/** Exit handlers run first: locks are released, the job is taken from the registry. */
export function endAs(outcome: Outcome): never {
  if (outcome.kind === 'exited') process.exit(outcome.status);
  native.setCoreLimitZero(); // the program has dumped its own
  onExit(() => native.dieOfSignal(outcome.signal), { alwaysLast: true });
  // For signals of which one does not die.
  process.exit(128 + outcome.signal);
}
