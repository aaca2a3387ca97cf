/** Memory mappings of files: calls that sluice itself never makes. */
import koffi from 'koffi';

const libc = koffi.load(null);

type Call = (...args: (number | bigint)[]) => number;

function declare(name: string, result: string, parameters: string[]): Call {
  return libc.func(name, result, parameters) as unknown as Call;
}

const c = {
  mmap: declare('mmap64', 'intptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']),
  munmap: declare('munmap', 'int', ['uintptr_t', 'size_t']),
  msync: declare('msync', 'int', ['uintptr_t', 'size_t', 'int']),
  memcpy: declare('memcpy', 'uintptr_t', ['uintptr_t', 'uintptr_t', 'size_t']),
  fadvise: declare('posix_fadvise64', 'int', ['int', 'int64_t', 'int64_t', 'int']),
};

export const PROT_READ = 1;
export const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MS_SYNC = 4;
const POSIX_FADV_DONTNEED = 4;

function result(value: number): number {
  return value < 0 ? -koffi.errno() : value;
}

/** mmap(2), shared. @returns the address, or -errno */
export function map(fd: number, sizeBytes: number, protection: number, offset: number): number {
  return result(c.mmap(0, sizeBytes, protection, MAP_SHARED, fd, offset));
}

/** munmap(2). */
export function unmap(address: number, sizeBytes: number): number {
  return result(c.munmap(address, sizeBytes));
}

/** msync(2), waiting. */
export function syncMapping(address: number, sizeBytes: number): number {
  return result(c.msync(address, sizeBytes, MS_SYNC));
}

/** memcpy(3) between numeric addresses: a mapping beyond the end of its file would raise SIGBUS. */
export function copyMemory(target: number, source: number, sizeBytes: number): void {
  c.memcpy(target, source, sizeBytes);
}

/** Asks the kernel to forget the clean pages of a file. @returns 0 or -errno */
export function dropPages(fd: number): number {
  return -c.fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}
