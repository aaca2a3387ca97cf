/** Huge pages for tables that are read at random places, and for what is copied in one go. */
import { MADV_HUGEPAGE, PAGE_SIZE } from '../sys/constants.ts';
import { addressOf, madvise } from '../sys/libc.ts';

/**
 * Asks the kernel to back the whole pages of a part of a buffer with huge ones as they are touched first. To
 * be called before anything is written. Advice only: where the kernel knows no huge pages, or
 * `transparent_hugepage/enabled` is `never`, small ones serve, and nothing is lost.
 */
export function adviseHugePages(
  buffer: SharedArrayBuffer,
  offset = 0,
  sizeBytes = buffer.byteLength,
): void {
  const start = addressOf(new Uint8Array(buffer)) + offset;
  const first = Math.ceil(start / PAGE_SIZE) * PAGE_SIZE;
  const end = Math.floor((start + sizeBytes) / PAGE_SIZE) * PAGE_SIZE;
  if (end > first) madvise(first, end - first, MADV_HUGEPAGE);
}
