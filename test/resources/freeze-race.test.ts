/** Hundreds of checkpoints, at any moment, of programs that keep changing: none of them may show. */
import t from 'tap';
import { asUsers } from '../harness.js';
import { checkpointAgainAndAgain } from '../resource-cycle.js';

for (const program of ['thread-churn', 'signal-storm', 'syscall-storm']) {
  t.test(`${program} is checkpointed a hundred times`, (test) =>
    asUsers(test, (subtest, user) => checkpointAgainAndAgain(subtest, user, { program, times: 50, withinMs: 20 })),
  );
}
