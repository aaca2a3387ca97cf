/** Does what makes the kernel ask for as many kinds of operation as it can. Usage: workload.js DIR */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  fdatasyncSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { AT_FDCWD, O_RDWR, O_TMPFILE, S_IFIFO } from '../../src/shared/sys/constants.ts';
import * as libc from '../../src/shared/sys/libc.ts';

const SEEK_DATA = 3;
const RENAME_NOREPLACE = 1;
const dir = process.argv[2] as string;
const text = (value: string) => new libc.CString(value);
const path = (name: string) => text(`${dir}/${name}`).address;

function checked(what: string, result: number | bigint): void {
  if (result < 0) throw new Error(`${what}: ${result}`);
}

mkdirSync(`${dir}/d`);
writeFileSync(`${dir}/f`, 'x'.repeat(10_000));
appendFileSync(`${dir}/f`, 'end');
readFileSync(`${dir}/f`);
truncateSync(`${dir}/f`, 9000);
chmodSync(`${dir}/f`, 0o640);
linkSync(`${dir}/f`, `${dir}/hard`);
symlinkSync('f', `${dir}/soft`);
readlinkSync(`${dir}/soft`);
checked('mknod', libc.mknodat(AT_FDCWD, path('pipe'), S_IFIFO | 0o600, 0));
writeFileSync(`${dir}/new\nline "quoted" \\ \xe9`, 'odd');
lstatSync(`${dir}/new\nline "quoted" \\ \xe9`);
renameSync(`${dir}/hard`, `${dir}/d/hard`);
checked(
  'renameat2',
  libc.renameat2(AT_FDCWD, path('d/hard'), AT_FDCWD, path('hard'), RENAME_NOREPLACE),
);
const xattr = text('user.traced').address;
checked('setxattr', libc.setxattr(path('f'), xattr, text('value').address, 5, 0));
const room = new Uint8Array(new SharedArrayBuffer(4096));
const roomAddress = libc.addressOf(room);
checked('getxattr', libc.getxattr(path('f'), xattr, roomAddress, 4096));
checked('listxattr', libc.listxattr(path('f'), roomAddress, 4096));
checked('removexattr', libc.removexattr(path('f'), xattr));
const fd = openSync(`${dir}/f`, 'r+');
fsyncSync(fd);
fdatasyncSync(fd);
checked('fallocate', libc.fallocate(fd, 0, 0, 20_000));
checked('lseek', libc.lseek(fd, 0, SEEK_DATA));
const to = openSync(`${dir}/copy`, 'w');
const cells = new BigInt64Array(new SharedArrayBuffer(16));
const offsets = libc.addressOf(cells);
checked('copy_file_range', libc.copyFileRange(fd, offsets, to, offsets + 8, 5000, 0));
checked('syncfs', libc.syncfs(fd));
closeSync(to);
closeSync(fd);
const unnamed = libc.openat(AT_FDCWD, path('.'), O_TMPFILE | O_RDWR, 0o600);
checked('tmpfile', unnamed);
libc.close(unnamed);
const folder = openSync(dir, 'r');
fsyncSync(folder);
closeSync(folder);
readdirSync(dir);
execFileSync('ls', ['-la', dir], { stdio: 'ignore' });
execFileSync('stat', ['-c', '%W', `${dir}/f`], { stdio: 'ignore' });
statfsSync(dir);
rmSync(`${dir}/pipe`);
rmdirSync(`${dir}/d`);
