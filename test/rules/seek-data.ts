/**
 * Writes a new file and asks at once where its first data is, before the kernel writes back by
 * itself. Prints the answer, or -errno. Usage: seek-data.js FILE
 */
import { O_CLOEXEC, O_CREAT, O_RDWR } from '../../src/shared/sys/constants.ts';
import { addressOf, CString, lseek, open, write } from '../../src/shared/sys/libc.ts';

const SEEK_DATA = 3;
const BYTES = 10_000;
const path = new CString(process.argv[2] as string);
const data = new Uint8Array(new SharedArrayBuffer(BYTES)).fill(1);
const dataAddress = addressOf(data);
const fd = open(path.address, O_RDWR | O_CREAT | O_CLOEXEC, 0o600);
const written = fd < 0 ? fd : write(fd, dataAddress, BYTES);
process.stdout.write(String(written < 0 ? written : lseek(fd, 0, SEEK_DATA)));
