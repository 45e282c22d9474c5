/** What cannot be saved: the message names every reason, nothing is written, and the program is unharmed. */
import t from 'tap';
import { asUsers } from '../harness.js';
import { refusal } from '../resource-cycle.js';

const LATER = /^ {4}it cannot be saved yet: close it before a checkpoint$/m;

/** Programs, and what the message has to say. */
const REFUSED: Readonly<Record<string, readonly RegExp[]>> = {
  'refuse-child': [/, child \d+: another process of the program$/m, /programs of several processes cannot be saved yet/],
  'refuse-epoll': [/, descriptor 3: an epoll instance$/m, LATER],
  'refuse-eventfd': [/All 2 reasons:$/m, /, descriptor 3: an eventfd$/m, /, descriptor 4: an eventfd$/m, LATER],
  'refuse-inotify': [/, descriptor 3: an inotify instance$/m, LATER],
  'refuse-io-uring': [/, descriptor 3: an io_uring$/m, /fall back to ordinary calls/],
  'refuse-pidfd': [/, descriptor 3: a pidfd$/m, LATER],
  'refuse-seccomp': [/, seccomp: a system call filter/, /without its sandbox/],
  'refuse-signalfd': [/, descriptor 3: a signalfd$/m, LATER],
  'refuse-socket': [/All 5 reasons:$/m, ...[3, 4, 5, 6, 7].map((fd) => new RegExp(`, descriptor ${fd}: a socket$`, 'm')), LATER],
  'refuse-timerfd': [/All 2 reasons:$/m, /, descriptor 3: a timerfd$/m, /, descriptor 4: a timerfd$/m, LATER],
  'refuse-userfaultfd': [/, descriptor 3: a userfaultfd$/m, /close it before a checkpoint/],
  'refuse-many': [
    /All 7 reasons:$/m,
    /, child \d+: another process/,
    /, descriptor 3: a socket$/m,
    /, descriptor 4: a socket$/m,
    /, descriptor 5: an eventfd$/m,
    /, descriptor 6: a timerfd$/m,
    /, descriptor 7: an inotify instance$/m,
    /, descriptor 8: a signalfd$/m,
  ],
};

for (const [program, words] of Object.entries(REFUSED)) {
  t.test(program, (test) => asUsers(test, (subtest, user) => refusal(subtest, user, { program, words })));
}
