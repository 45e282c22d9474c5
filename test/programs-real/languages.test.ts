import t from 'tap';
import { testProgram } from './real-program.js';

const PI = `
q, r, t, k, m, x = 1, 0, 1, 1, 3, 3
digits = 0
while digits < 3000:
    if 4 * q + r - t < m * t:
        print(m, end='\\n' if digits % 60 == 59 else '', flush=digits % 300 == 0)
        digits += 1
        q, r, m = 10 * q, 10 * (r - m * t), 10 * (3 * q + r) // t - 10 * m
    else:
        q, r, t, k, m, x = q * k, (2 * q + r) * x, t * x, k + 1, (q * (7 * k + 2) + r * x) // (t * x), x + 2
`;

const LOG = `
import random
random.seed(1)
with open('run.log', 'a') as log, open('data.bin', 'wb') as data:
    for step in range(400000):
        log.write(f'{step} {random.random()}\\n')
        data.write(random.randbytes(8))
        if step % 1000 == 0: log.flush()
`;

const python = { command: ['python3', 'main.py'], version: ['--version'] };
await testProgram(t, { ...python, name: 'Python', does: 'digits of pi with big integers', files: { 'main.py': PI } });
await testProgram(t, { ...python, name: 'Python, log file', does: 'appends to a log and writes a data file', files: { 'main.py': LOG }, outputs: ['run.log', 'data.bin'] });

await testProgram(t, {
  name: 'Perl',
  does: 'hashes, regular expressions, string building',
  command: ['perl', 'main.pl'],
  version: ['--version'],
  files: {
    'main.pl': `use strict; my %h; my $x = 12345;
      for my $i (1 .. 2000000) {
        $x = ($x * 1103515245 + 12345) & 0x7fffffff;
        $h{$x % 5000} .= chr(97 + $x % 26) if $i % 7 == 0;
        $h{$x % 5000} =~ s/a+/b/ if $i % 1001 == 0;
        print "$i\\n" if $i % 100000 == 0;
      }
      print "$_ $h{$_}\\n" for sort { $a <=> $b } keys %h;`,
  },
});

const AWK = `BEGIN {
  for (i = 1; i <= 1500000; i++) { x = (x * 69069 + 1) % 4294967296; a[x % 10007] += i; if (i % 250000 == 0) print i, a[17] }
  for (k = 0; k < 10007; k++) print k, a[k]
}`;
await testProgram(t, { name: 'awk', does: 'arrays and floating point', command: ['awk', '-f', 'main.awk'], version: ['--version'], files: { 'main.awk': AWK } });
await testProgram(t, { name: 'busybox awk', does: 'the same, in a statically linked program', command: ['busybox', 'awk', '-f', 'main.awk'], version: [], files: { 'main.awk': AWK.replace('1500000', '500000') } });
await testProgram(t, { name: 'bc', does: 'pi and e to many digits', command: ['bc', '-l', 'main.bc'], version: ['--version'], files: { 'main.bc': 'scale=1200\n4*a(1)\nscale=1100\ne(1)\n' } });

const SHELL = `i=0; x=1
while [ $i -lt 300000 ]; do
  x=$(( (x * 1103515245 + 12345) % 2147483648 )); i=$((i + 1))
  case $i in *0000) echo $i $x;; esac
done`;
await testProgram(t, { name: 'dash', does: 'a loop of builtins', command: ['dash', 'main.sh'], files: { 'main.sh': SHELL } });
await testProgram(t, { name: 'busybox sh', does: 'the same, in a statically linked program', command: ['busybox', 'sh', 'main.sh'], version: [], files: { 'main.sh': SHELL } });
await testProgram(t, { name: 'bash', does: 'arrays and arithmetic', command: ['bash', 'main.sh'], version: ['--version'], files: { 'main.sh': `x=1; for ((i = 0; i < 150000; i++)); do ((x = (x * 1103515245 + 12345) & 0x7fffffff)); a[i % 100]=$x; if ((i % 10000 == 0)); then printf '%d %d\\n' $i $x; fi; done; echo "\${a[@]}"` } });
await testProgram(t, {
  name: 'Lua',
  does: 'tables and integers',
  command: ['lua5.4', 'main.lua'],
  version: ['-v'],
  files: { 'main.lua': 'local x, t = 1, {} for i = 1, 12000000 do x = (x * 1103515245 + 12345) & 0x7fffffff; t[x % 1000] = (t[x % 1000] or 0) + 1 if i % 500000 == 0 then print(i, x) io.flush() end end for i = 0, 999 do print(i, t[i]) end' },
});
await testProgram(t, {
  name: 'Tcl',
  does: 'dictionaries and integers',
  command: ['tclsh', 'main.tcl'],
  files: { 'main.tcl': 'set x 1; for {set i 0} {$i < 500000} {incr i} { set x [expr {($x * 1103515245 + 12345) & 0x7fffffff}]; dict incr d [expr {$x % 1000}]; if {$i % 50000 == 0} {puts "$i $x"; flush stdout} }; puts $d' },
});
