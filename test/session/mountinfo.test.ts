import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  findMountById,
  findMountByPoint,
  parseMountInfo,
  readMountInfo,
} from '../../src/shared/sys/mountinfo.ts';

const GOLDEN = Buffer.concat([
  Buffer.from(
    [
      '22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard',
      '36 22 0:39 /sub\\040dir /mnt/a\\040b\\011c\\012d\\134e rw,nosuid shared:5 master:2 propagate_from:1 - fuse.sluice src\\134x\\043 rw,user_id=0',
      '37 36 0:40 / /mnt/a\\040b\\011c\\012d\\134e ro - tmpfs none rw',
      '40 22 0:41 / /mnt/dash - - proc - rw',
      'nonsense',
      '41 22 0:42 / /mnt/',
    ].join('\n'),
  ),
  Buffer.from([0xff, 0xfe]),
  Buffer.from(' rw - fuse x rw\n'),
]);

test('rows, octal escapes and optional fields are read', () => {
  const rows = parseMountInfo(GOLDEN);
  assert.deepEqual(
    rows.map((row) => row.mountId),
    [22, 36, 37, 40, 41],
  );
  const [, sluice] = rows;
  assert.deepEqual(
    { ...sluice, rootBytes: undefined, mountPointBytes: undefined },
    {
      mountId: 36,
      parentId: 22,
      devMajor: 0,
      devMinor: 39,
      root: '/sub dir',
      rootBytes: undefined,
      mountPoint: '/mnt/a b\tc\nd\\e',
      mountPointBytes: undefined,
      options: 'rw,nosuid',
      fsType: 'fuse.sluice',
      source: 'src\\x#',
      superOptions: 'rw,user_id=0',
    },
  );
});

test('a mount point that is not UTF-8 keeps its bytes', () => {
  const point = Buffer.concat([Buffer.from('/mnt/'), Buffer.from([0xff, 0xfe])]);
  assert.equal(findMountByPoint(parseMountInfo(GOLDEN), point)?.mountId, 41);
});

test('of mounts on top of each other the topmost is found, in any order of rows', () => {
  const rows = parseMountInfo(GOLDEN);
  assert.equal(findMountByPoint(rows, '/mnt/a b\tc\nd\\e')?.mountId, 37);
  assert.equal(findMountByPoint(rows.toReversed(), '/mnt/a b\tc\nd\\e')?.mountId, 37);
  assert.equal(findMountByPoint(rows, '/mnt/a'), undefined);
  assert.equal(findMountById(rows, 36)?.devMinor, 39);
  assert.equal(findMountById(rows, 99), undefined);
});

test('the machine itself has a root mount', () => {
  assert.equal(findMountByPoint(readMountInfo(), '/')?.mountPoint, '/');
});
