/**
 * V8 interprets a function for thousands of calls before it compiles it, at many times the cost. So
 * while the lanes start, main answers requests of the frequent kinds about a directory of their own: the
 * same code, with other tables and a connection that swallows the replies.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { FATTR_MODE } from '../../shared/abi/flags.ts';
import { OP } from '../../shared/abi/opcodes.ts';
import {
  CREATE_IN,
  ENTRY_OUT,
  FORGET_IN,
  GETATTR_IN,
  GETXATTR_IN,
  MKDIR_IN,
  OPEN_IN,
  READ_IN,
  RELEASE_IN,
  RENAME2_IN,
  SETATTR_IN,
  WRITE_IN,
} from '../../shared/abi/structs.ts';
import type { Logger } from '../../shared/log.ts';
import type { MountOptions } from '../../shared/options.ts';
import { NEGOTIATED } from '../../shared/passthrough/config.ts';
import { O_CLOEXEC, O_RDWR } from '../../shared/sys/constants.ts';
import { CString, close, open } from '../../shared/sys/libc.ts';
import { PassthroughFs } from '../passthrough-fs.ts';
import { isHidden } from '../session/hidden.ts';
import { Requests, ROOT, type Words } from './requests.ts';

/** The start takes so much longer at the most, and less where the lanes take as long. */
const LONGEST_MS = 500;
/** More makes no difference. */
const MOST_ROUNDS = 4000;
const INODES = 1024;
const DESCRIPTORS = 1024;
/** As main would meet them with kernel_passthrough off: the connection that swallows all is no device. */
const AGREED = NEGOTIATED.KILLPRIV_V2 | NEGOTIATED.SETXATTR_EXT | NEGOTIATED.DONT_MASK;

const DATA = new Uint8Array(4096);
const FILE = Buffer.from('file\0');
const RENAMED = Buffer.from('renamed\0');
const DIRECTORY = Buffer.from('directory\0');
const CAPABILITY = Buffer.from('security.capability\0');

interface WarmUp {
  readonly rounds: number;
  /** Requests that were answered with an error, or not at all. */
  readonly errors: number;
}

/**
 * Whether a warm-up will not meet the mount, which nobody serves yet: where that hides the directory for temporary
 * files. To be asked before it is mounted.
 *
 * @param mountpoint its real path
 */
export function mayWarmUp(mountpoint: string): boolean {
  return !isHidden(mountpoint, resolve(tmpdir()));
}

/** Has main's code compiled. What fails here costs speed and nothing else. */
export function warmUp(options: MountOptions, logger: Logger): void {
  const startMs = performance.now();
  let source: string | undefined;
  try {
    source = mkdtempSync(join(tmpdir(), 'sluice-warm-up-'));
    const done = warmUpIn(source, options, startMs + LONGEST_MS);
    logger.debug({ ...done, elapsedMs: Math.round(performance.now() - startMs) }, 'warmed up');
  } catch (error) {
    logger.debug({ err: error }, 'no warm-up: the first operations will be slower');
  } finally {
    if (source !== undefined) rmSync(source, { recursive: true, force: true });
  }
}

/** In a round a name is looked up that there is not, and an attribute read: so many errors it has. */
export const ERRORS_PER_ROUND = 2;

function warmUpIn(source: string, options: MountOptions, untilMs: number): WarmUp {
  const fs = new PassthroughFs({
    options: { ...options, source, maxInodes: INODES, fdBudget: 0, trace: false },
    source,
    fdLimit: DESCRIPTORS,
    mayBlock: false,
    report: () => undefined,
    closeHeld: (fd) => close(fd),
    onUnlocked: () => undefined,
  });
  const sink = open(new CString('/dev/null').address, O_RDWR | O_CLOEXEC);
  try {
    fs.ctx.fuseFd = sink;
    fs.importRoot();
    fs.init(AGREED);
    const requests = new Requests(fs.ctx);
    let rounds = 0;
    for (; rounds < MOST_ROUNDS && performance.now() < untilMs; rounds++) {
      const file = createFile(requests);
      useFile(requests, file);
      removeFile(requests, file);
      useDirectory(requests);
    }
    return { rounds, errors: requests.errors };
  } finally {
    fs.close();
    close(sink);
  }
}

function createFile(requests: Requests): Words {
  named(requests, OP.LOOKUP, FILE);
  requests.begin(OP.CREATE, ROOT, CREATE_IN.SIZE);
  requests.set(CREATE_IN.flags, O_RDWR);
  requests.set(CREATE_IN.mode, 0o100644);
  requests.append(FILE);
  requests.send();
  const node = requests.node();
  const handle = requests.handle(ENTRY_OUT.SIZE);
  requests.begin(OP.GETXATTR, node, GETXATTR_IN.SIZE);
  requests.append(CAPABILITY);
  requests.send();
  requests.beginOpened(OP.WRITE, node, WRITE_IN.SIZE, handle);
  requests.set(WRITE_IN.size, DATA.length);
  requests.append(DATA);
  requests.send();
  release(requests, OP.RELEASE, node, handle);
  return node;
}

function useFile(requests: Requests, node: Words): void {
  named(requests, OP.LOOKUP, FILE);
  requests.begin(OP.OPEN, node, OPEN_IN.SIZE);
  requests.send();
  const handle = requests.handle();
  requests.beginOpened(OP.READ, node, READ_IN.SIZE, handle);
  requests.set(READ_IN.size, DATA.length);
  requests.send();
  release(requests, OP.RELEASE, node, handle);
  requests.begin(OP.SETATTR, node, SETATTR_IN.SIZE);
  requests.set(SETATTR_IN.valid, FATTR_MODE);
  requests.set(SETATTR_IN.mode, 0o100600);
  requests.send();
  requests.begin(OP.GETATTR, node, GETATTR_IN.SIZE);
  requests.send();
}

function removeFile(requests: Requests, node: Words): void {
  requests.begin(OP.RENAME2, ROOT, RENAME2_IN.SIZE);
  requests.set(RENAME2_IN.newdir, ROOT.lo);
  requests.append(FILE);
  requests.append(RENAMED);
  requests.send();
  named(requests, OP.UNLINK, RENAMED);
  // Of CREATE and of the second LOOKUP.
  forget(requests, node, 2);
}

function useDirectory(requests: Requests): void {
  requests.begin(OP.MKDIR, ROOT, MKDIR_IN.SIZE);
  requests.set(MKDIR_IN.mode, 0o755);
  requests.append(DIRECTORY);
  requests.send();
  const node = requests.node();
  requests.begin(OP.OPENDIR, ROOT, OPEN_IN.SIZE);
  requests.send();
  const handle = requests.handle();
  requests.beginOpened(OP.READDIRPLUS, ROOT, READ_IN.SIZE, handle);
  requests.set(READ_IN.size, DATA.length);
  requests.send();
  release(requests, OP.RELEASEDIR, ROOT, handle);
  named(requests, OP.RMDIR, DIRECTORY);
  // Of MKDIR and of the listing.
  forget(requests, node, 2);
}

/** A request about a name in the directory. */
function named(requests: Requests, opcode: number, name: Uint8Array): void {
  requests.begin(opcode, ROOT, 0);
  requests.append(name);
  requests.send();
}

function release(requests: Requests, opcode: number, node: Words, handle: Words): void {
  requests.beginOpened(opcode, node, RELEASE_IN.SIZE, handle);
  requests.send();
}

function forget(requests: Requests, node: Words, count: number): void {
  requests.begin(OP.FORGET, node, FORGET_IN.SIZE);
  requests.set(FORGET_IN.nlookup, count);
  requests.send();
}
