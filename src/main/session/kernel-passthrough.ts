/**
 * Whether the kernel may be asked to read and write files by itself: what speaks against it.
 */
import type { MountOptions } from '../../shared/options.ts';
import { hasCapability } from '../../shared/sys/capabilities.ts';
import { CAP_SYS_ADMIN, MS_NOATIME, MS_SYNCHRONOUS } from '../../shared/sys/constants.ts';

type Choice = Pick<
  MountOptions,
  | 'kernelPassthrough'
  | 'cache'
  | 'writeback'
  | 'noOpen'
  | 'sealSize'
  | 'allowDirectIo'
  | 'killprivV2'
  | 'opTimeoutMs'
  | 'mountFlags'
> & {
  /** Whether the source has security.capability under another name. */
  readonly renamesCapability: boolean;
  /** The layer that has to see what is read and written. */
  readonly dataLayer?: string | undefined;
};

const OBSTACLES: readonly (readonly [reason: string, applies: (o: Choice) => boolean])[] = [
  ['it is switched off', (o) => !o.kernelPassthrough],
  ['cache=never keeps no pages, not even those of the file behind', (o) => o.cache === 'never'],
  ['writeback gathers writes in pages of its own', (o) => o.writeback],
  ['no_open leaves no open to decide at', (o) => o.noOpen],
  ['seal_size has to see every write', (o) => o.sealSize],
  ['without allow_direct_io the daemon drops O_DIRECT', (o) => !o.allowDirectIo],
  ['noatime is kept by the daemon', (o) => (o.mountFlags & MS_NOATIME) !== 0],
  // The kernel takes the file behind for one of a mount without it.
  ['sync asks for every write to be on the disk', (o) => (o.mountFlags & MS_SYNCHRONOUS) !== 0],
  ['xattrmap renames security.capability, which a write has to remove', (o) => o.renamesCapability],
  ['op_timeout cannot end a read of the kernel itself', (o) => o.opTimeoutMs > 0],
  // fuse_setattr() asks for set-group-id bits to go only where the group may execute.
  ['without killpriv_v2 writes would leave set-group-id bits', (o) => !o.killprivV2],
  ['it needs CAP_SYS_ADMIN', () => !hasCapability(CAP_SYS_ADMIN)],
];

/** @returns the first reason why not, undefined if there is none */
export function whyNoKernelPassthrough(options: Choice): string | undefined {
  const obstacle = OBSTACLES.find(([, applies]) => applies(options))?.[0];
  if (obstacle !== undefined || options.dataLayer === undefined) return obstacle;
  return `the layer ${options.dataLayer} has to see what is read and written`;
}
