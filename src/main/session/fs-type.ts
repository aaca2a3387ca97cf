/** The file system type the kernel shows for our mounts. */
export const FS_TYPE = 'fuse.sluice';
