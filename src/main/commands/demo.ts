/** `sluice demo`: a small tree to try the mount on; with operands it is `sluice mount`. */
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type ExitCode, SluiceError } from '../../shared/errors.ts';
import { type MountArguments, resolveMount, sourcesOf } from '../config/sources.ts';
import { type CommandContext, runMount, serve } from './mount.ts';

const README = `This directory is served by sluice
==================================

What you see at the mountpoint are the files of the directory behind it. Change them here and
look there, or the other way round. Everything is removed when the demo stops.
`;

/**
 * Mounts a demo tree in fresh folders and removes both when the mount is gone.
 *
 * @returns the exit status of the process
 * @throws SluiceError as {@link runMount}
 */
export async function runDemo(given: MountArguments, context: CommandContext): Promise<ExitCode> {
  if (given.operands.length === 2 || given.isPrinting) {
    return runMount(given, context);
  }
  if (given.operands.length !== 0) {
    const message = 'demo: MOUNTPOINT is missing; give SOURCE and MOUNTPOINT, or neither';
    throw new SluiceError('ERR_SLUICE_USAGE', message);
  }
  const source = makeFolder('source');
  const mountpoint = makeFolder('mount');
  try {
    plantTree(source);
    const sources = sourcesOf({ ...given, operands: [source, mountpoint] });
    const mount = await resolveMount(sources);
    if (mount.options.background) {
      const message = 'demo: --background needs SOURCE and MOUNTPOINT; its own folders go with it';
      throw new SluiceError('ERR_SLUICE_USAGE', message);
    }
    return await serve(mount, sources, context.start, (line) => {
      process.stdout.write(`${line}\n${instructions(source, mountpoint)}`);
    });
  } finally {
    removeFolders(source, mountpoint);
  }
}

function makeFolder(role: string): string {
  return mkdtempSync(join(resolve(tmpdir()), `sluice-demo-${role}-`));
}

function plantTree(root: string): void {
  mkdirSync(join(root, 'notes'));
  writeFileSync(join(root, 'README'), README);
  writeFileSync(join(root, 'notes', 'first.txt'), 'The first note.\n');
  writeFileSync(join(root, 'notes', 'second.txt'), 'The second note.\n');
  writeFileSync(join(root, 'squares.csv'), 'number,square\n1,1\n2,4\n3,9\n');
  symlinkSync('notes/second.txt', join(root, 'latest'));
}

function instructions(source: string, mountpoint: string): string {
  return `
try, in another terminal:
  ls -l ${mountpoint}
  cat ${mountpoint}/README
  echo hello > ${mountpoint}/notes/third.txt; cat ${source}/notes/third.txt
  df ${mountpoint}
to stop: Ctrl-C here, or umount ${mountpoint}
both folders are removed then; npm start -- SOURCE MOUNTPOINT mounts a directory of yours
`;
}

/**
 * The mountpoint is removed first and never recursively: where it is still mounted that would
 * empty the source, so a failure leaves both.
 */
function removeFolders(source: string, mountpoint: string): void {
  try {
    rmdirSync(mountpoint);
  } catch {
    const cure = `umount -l ${mountpoint}, then remove it and ${source}`;
    process.stderr.write(`sluice: ${mountpoint} is still in use and was left; ${cure}\n`);
    return;
  }
  rmSync(source, { recursive: true, force: true });
}
