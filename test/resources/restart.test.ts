/** System calls that a checkpoint interrupts: in the resumed program, and in the running one. */
import t from 'tap';
import { asUsers } from '../harness.js';
import { checkpointAgainAndAgain, refusal, testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  { program: 'syscall-restart', gapMs: 2500 },
  { program: 'syscall-restart-sigwait', gapMs: 2500 },
  'syscall-storm',
]);

for (const program of ['syscall-restart', 'syscall-restart-sigwait']) {
  t.test(`${program} in a program that runs on`, (test) => asUsers(test, (subtest, user) => checkpointAgainAndAgain(subtest, user, { program, times: 5 })));
}

t.test('a refused checkpoint does not cut an epoll_wait short', (test) =>
  asUsers(test, (subtest, user) => refusal(subtest, user, { program: 'epoll-wait', words: [/descriptor 3: an epoll instance/] })),
);
