/**
 * A program: keeps files that lose their names in every way there is, has thousands of others touched
 * in between, and prints as JSON what it then finds. The same on any file system.
 * Usage: holder.js DIRECTORY
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const O_PATH = 0o10000000;
const OTHERS = 3000;
const [directory] = process.argv.slice(2) as [string];
const at = (name: string): string => join(directory, name);
const found: Record<string, unknown> = {};

/** Notes what a call gives, or how it fails. */
function note(what: string, call: () => unknown): void {
  try {
    found[what] = call();
  } catch (error) {
    found[what] = (error as NodeJS.ErrnoException).code;
  }
}

function contentOf(fd: number): string {
  const buffer = Buffer.alloc(100);
  return buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0));
}

function make(name: string): string {
  writeFileSync(at(name), `content of ${name}`);
  return at(name);
}

/** Touches other inodes, and has the kernel forget what it can. */
function touchOthers(): void {
  for (let i = 0; i < OTHERS; i++) statSync(at(`others/file-${i}`));
  for (let i = 0; i < 300; i++) readFileSync(at(`others/file-${i}`));
  if (process.getuid?.() === 0) writeFileSync('/proc/sys/vm/drop_caches', '2');
  for (let i = 0; i < OTHERS; i++) statSync(at(`others/file-${OTHERS - 1 - i}`));
}

mkdirSync(at('others'));
for (let i = 0; i < OTHERS; i++) writeFileSync(at(`others/file-${i}`), '');

const unlinked = openSync(make('unlinked'), 'r+');
const replaced = openSync(make('replaced'), 'r');
const linked = openSync(make('linked'), 'r');
const pathOnly = openSync(make('path-only'), O_PATH);
const pathOfLinked = openSync(make('path-of-linked'), O_PATH);
const pathReplaced = openSync(make('path-replaced'), O_PATH);
mkdirSync(at('cwd'));
process.chdir(at('cwd'));
mkdirSync(at('open-dir'));
const openDirectory = openSync(at('open-dir'), 'r');
linkSync(at('linked'), at('linked-2'));
linkSync(at('path-of-linked'), at('path-of-linked-2'));
touchOthers();
unlinkSync(at('unlinked'));
unlinkSync(at('path-only'));
unlinkSync(at('linked'));
unlinkSync(at('path-of-linked'));
renameSync(make('new-1'), at('replaced'));
renameSync(make('new-2'), at('path-replaced'));
rmdirSync(at('cwd'));
rmdirSync(at('open-dir'));
touchOthers();

note('unlinked nlink', () => fstatSync(unlinked).nlink);
note('unlinked content', () => contentOf(unlinked));
note('unlinked write', () => writeSync(unlinked, 'CONTENT', 0));
note('unlinked content after', () => contentOf(unlinked));
note('unlinked reopened', () => readFileSync(`/proc/self/fd/${unlinked}`, 'latin1'));
note('unlinked written by proc', () => {
  writeFileSync(`/proc/self/fd/${unlinked}`, 'anew');
  return contentOf(unlinked);
});
note('replaced', () => [fstatSync(replaced).nlink, contentOf(replaced)]);
note('replacement', () => readFileSync(at('replaced'), 'latin1'));
note('linked', () => [fstatSync(linked).nlink, contentOf(linked)]);
note('linked by its other name', () => readFileSync(at('linked-2'), 'latin1'));
for (const [name, fd] of Object.entries({ pathOnly, pathOfLinked, pathReplaced })) {
  note(`${name} stat`, () => [fstatSync(fd).nlink, fstatSync(fd).size]);
  note(`${name} reopened`, () => readFileSync(`/proc/self/fd/${fd}`, 'latin1'));
  note(`${name} read`, () => contentOf(fd));
}
note('cwd', () => process.cwd());
note('cwd stat', () => statSync('.').nlink);
note('cwd list', () => readdirSync('.'));
note('cwd create', () => writeFileSync('new', ''));
note('open directory', () => [
  fstatSync(openDirectory).isDirectory(),
  fstatSync(openDirectory).nlink,
]);
note('gone', () => ['unlinked', 'linked', 'cwd'].map((name) => existsSync(at(name))));
process.chdir('/');
for (const fd of [
  unlinked,
  replaced,
  linked,
  pathOnly,
  pathOfLinked,
  pathReplaced,
  openDirectory,
]) {
  closeSync(fd);
}
process.stdout.write(JSON.stringify(found));
