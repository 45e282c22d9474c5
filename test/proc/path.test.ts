/** proc/path.ts: names in any encoding, or in none, survive. */
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { t } from 'tap';
import { pathBytes, pathText } from '../../supervisor/proc/path.js';
import { unescapePath } from '../../supervisor/proc/maps.js';
import { workdir } from '../harness.js';

t.test('pathBytes() gives back every byte, pathText() what people read', (t) => {
  const all = Buffer.from(Array.from({ length: 255 }, (_, index) => index + 1));
  t.ok(pathBytes(all.toString('latin1')).equals(all));
  t.equal(pathText(Buffer.from('/tmp/größe').toString('latin1')), '/tmp/größe');
  t.end();
});

t.test('a file whose name is no UTF-8 is found by its bytes', (t) => {
  const directory = join(workdir(t), 'd');
  mkdirSync(directory);
  const name = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe, 0x80])]);
  writeFileSync(name, 'x');
  const [found] = readdirSync(directory, 'latin1' as BufferEncoding);
  t.equal(statSync(pathBytes(`${Buffer.from(directory).toString('latin1')}/${found}`)).size, 1);
  t.end();
});

t.test('unescapePath() undoes what the kernel escapes in maps, a newline, and nothing else', (t) => {
  t.equal(unescapePath('/a\\012b\\012'), '/a\nb\n');
  t.equal(unescapePath('/a\\134b'), '/a\\134b');
  t.equal(unescapePath('/a\\040b\\999'), '/a\\040b\\999');
  t.end();
});
