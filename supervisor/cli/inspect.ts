/** `procs inspect`: what is in an image, readable. */
import fs from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { EXIT, messageOf } from '../errors.js';
import { Image, type Checkpoint, type ImageRecord } from '../image/image.js';
import { pathText } from '../proc/path.js';
import { describeRecord } from '../resources/index.js';
import { currentDirectory, newCommand, refuseValue } from './command.js';
import { formatBytes, formatTable, formatTime, printable, toJson } from '../format.js';

export function command(): Command {
  return newCommand(
    'inspect',
    '[options] FILE',
    `Shows what is in an image: its checkpoints, and of the newest one (or
--checkpoint N) the command, time, host, processes, threads, memory map and
descriptors. Nothing is resumed or changed.`,
    [
      ['procs inspect simulate.procs', 'the newest checkpoint'],
      ['procs inspect --json simulate.procs', 'everything, for programs'],
    ],
  )
    .option('--json', 'print it as JSON')
    .option('--checkpoint <n>', 'another checkpoint than the newest', (text) => (/^[1-9]\d{0,8}$/.test(text) ? Number(text) : refuseValue('A number is wanted.')))
    .argument('<file>')
    .action((argument: string, given: { json?: boolean; checkpoint?: number }) => {
      using image = Image.openForReading(resolve(currentDirectory(), argument), { architecture: 'any' });
      const checkpoint = image.read(given.checkpoint);
      process.stdout.write(given.json === true ? toJson(asJson(image, checkpoint)) : describe(image, checkpoint));
      if (image.damage.length > 0) process.exitCode = EXIT.BAD_IMAGE;
    });
}

function asJson(image: Image, { summary, header, records, extents }: Checkpoint): unknown {
  return {
    image: { path: image.path, id: image.id, architecture: image.architecture, pageSize: image.pageSize, ownerUid: image.ownerUid },
    checkpoints: image.checkpoints,
    damage: image.damage,
    notes: image.notes,
    checkpoint: { ...summary, pageCount: extents.pageCount(), header, records },
  };
}

function describe(image: Image, { summary, header, records, extents }: Checkpoint): string {
  const onDisk = formatBytes(fs.fstatSync(image.fd).blocks * 512);
  const rows = image.checkpoints.map(({ number, timeMs, dataBytes }) => [
    String(number), formatTime(timeMs), `${formatBytes(dataBytes)} written`, number === summary.number ? '<- shown below' : '',
  ]);
  const sections = [
    `${printable(image.path)}: ${image.architecture}, ${onDisk} on disk, of user ${image.ownerUid}\n`,
    'checkpoints:\n' + formatTable(rows, '  '),
    ...image.damage.map(({ reason }) => `DAMAGED: ${reason}\n`),
    ...image.notes.map((note) => `note: ${note}\n`),
    `\ncheckpoint ${summary.number}, ${formatTime(summary.timeMs)}, ${formatBytes(extents.pageCount() * image.pageSize)} of memory stored\n`,
    ...fieldLines(header, '  ').map(endLine),
  ];
  const paths = pathsOfFiles(records);
  let lastKind = '';
  for (const record of records) {
    const lines = recordLines(record);
    // Descriptors, files and threads of one line each stand together.
    if (lines.length > 1 || (lines.length === 1 && record.kind !== lastKind)) sections.push('\n');
    sections.push(...lines.map((line) => endLine(printable(withPath(line, paths)))));
    if (lines.length > 0) lastKind = record.kind;
  }
  return sections.join('');
}

/** Mappings name their file by its number. */
function withPath(line: string, paths: ReadonlyMap<string, string>): string {
  const path = paths.get(/ file (\d+) at \d+$/.exec(line)?.[1] ?? '');
  return path === undefined ? line : `${line} of ${path}`;
}

function pathsOfFiles(records: readonly ImageRecord[]): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const { kind, id, path } of records) {
    if (kind === 'file' && typeof path === 'string') paths.set(String(id), pathText(path));
  }
  return paths;
}

/** Of a kind that this version does not know, or that cannot be read: its fields. */
function recordLines(record: ImageRecord): readonly string[] {
  try {
    const lines = describeRecord(record);
    if (lines !== undefined) return lines;
  } catch (error) {
    return [`${record.kind} (${messageOf(error)})`, ...recordFields(record)];
  }
  return [`${record.kind}, version ${record.version}, of a kind that this version of procs does not know`, ...recordFields(record)];
}

function recordFields(record: ImageRecord): readonly string[] {
  const { kind: _, version: __, ...fields } = record;
  return fieldLines(fields, '  ');
}

function fieldLines(fields: Readonly<Record<string, unknown>>, indent: string): readonly string[] {
  const width = Math.max(0, ...Object.keys(fields).map((name) => name.length));
  return Object.entries(fields).map(([name, value]) => {
    const isTime = name.endsWith('Ms') && typeof value === 'number' && value > 1e12;
    return `${indent}${printable(name).padEnd(width)}  ${isTime ? formatTime(value) : printable(valueText(value))}`;
  });
}

const MAX_VALUE_LENGTH = 200;

function valueText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value.map(shellWord).join(' ');
  const text = toJson(value).replace(/\s+/g, ' ').trim();
  return text.length > MAX_VALUE_LENGTH ? `${text.slice(0, MAX_VALUE_LENGTH)}…` : text;
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

function endLine(line: string): string {
  return `${line}\n`;
}
