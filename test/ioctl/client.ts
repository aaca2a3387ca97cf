/** Makes ioctl(2) calls on the file or directory of its argument and prints what each gives. */
import { errnoName } from '../../src/shared/abi/errno.ts';
import {
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  O_RDONLY,
} from '../../src/shared/sys/constants.ts';
import { addressOf, CString, ioctl, open } from '../../src/shared/sys/libc.ts';

const [NODUMP, IMMUTABLE, APPEND, JOURNAL] = [0x40, 0x10, 0x20, 0x4000];
const [XFLAG_IMMUTABLE, XFLAG_APPEND] = [0x8, 0x10];
const FS_IOC32_GETFLAGS = 0x80046601;
const FS_IOC32_SETFLAGS = 0x40046602;
const TCGETS = 0x5401;
const GUARD = 0x5a5a5a5a;

const argument = new Uint32Array(new SharedArrayBuffer(64));
const path = process.argv[2] as string;
const fd = open(new CString(path).address, O_RDONLY);
if (fd < 0) throw new Error(`${path}: ${errnoName(fd)}`);

function call(name: string, command: number, first: number): void {
  argument.fill(GUARD);
  argument[0] = first;
  const result = ioctl(fd, command, addressOf(argument));
  const how = result < 0 ? errnoName(result) : String(result);
  console.log(`${name}: ${how}${argument[1] === GUARD ? '' : ', wrote more than an int'}`);
}

call('FS_IOC_GETFLAGS', FS_IOC_GETFLAGS, 0);
console.log(`flags ${(argument[0] as number).toString(16)}`);
const flags = argument[0] as number;
call('FS_IOC_SETFLAGS nodump', FS_IOC_SETFLAGS, flags | NODUMP);
call('FS_IOC_SETFLAGS immutable', FS_IOC_SETFLAGS, flags | IMMUTABLE);
call('FS_IOC_SETFLAGS append', FS_IOC_SETFLAGS, flags | APPEND);
call('FS_IOC_SETFLAGS journal', FS_IOC_SETFLAGS, flags | JOURNAL);
call('FS_IOC32_GETFLAGS', FS_IOC32_GETFLAGS, 0);
call('FS_IOC32_SETFLAGS immutable', FS_IOC32_SETFLAGS, flags | IMMUTABLE);
call('TCGETS', TCGETS, 0);
for (const xflags of [XFLAG_IMMUTABLE, XFLAG_APPEND]) {
  ioctl(fd, FS_IOC_FSGETXATTR, addressOf(argument));
  argument[0] = xflags;
  const result = ioctl(fd, FS_IOC_FSSETXATTR, addressOf(argument));
  console.log(`FS_IOC_FSSETXATTR ${xflags}: ${errnoName(result)}`);
}
ioctl(fd, FS_IOC_FSGETXATTR, addressOf(argument));
console.log(`xflags ${(argument[0] as number).toString(16)}`);
