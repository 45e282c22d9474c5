/** What belongs to a process as a whole. */
import t from 'tap';
import { asUsers } from '../harness.js';
import { cycle, refusal, testPrograms } from '../resource-cycle.js';

testPrograms(t, [
  'process-attributes',
]);

t.test('process-undumpable', (test) =>
  asUsers(test, (subtest, user) => {
    const given = { program: 'process-undumpable' };
    // Only root may look into a process that has made itself undumpable.
    return user.uid === 0 ? cycle(subtest, user, given) : refusal(subtest, user, { ...given, words: [/lets nobody but root look into it; it runs on/, /PR_SET_DUMPABLE/] });
  }),
);
