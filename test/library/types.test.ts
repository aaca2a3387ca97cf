/** What the types let through: a line below that compiles after all fails the build. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import {
  type MountInput,
  mount,
  type SluiceErrorCode,
  type UnmountReason,
} from '../../src/main/index.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const at = { source: '/', mountpoint: '/mnt' };

const WRONG: readonly MountInput[] = [
  // @ts-expect-error: a policy that is none
  { ...at, cache: 'sometimes' },
  // @ts-expect-error: a switch is no text
  { ...at, writeback: 'yes' },
  // @ts-expect-error: durations are numbers of seconds
  { ...at, entryTimeout: '1s' },
  // @ts-expect-error: counts are numbers
  { ...at, lanes: '4' },
  // @ts-expect-error: no such mode
  { ...at, inodeFileHandles: true },
  // @ts-expect-error: a trace is a file or a switch
  { ...at, trace: 1 },
  // @ts-expect-error: no such option
  { ...at, colour: 'red' },
];

// @ts-expect-error: the mount point is missing
const noMountpoint: MountInput = { source: '/' };
// @ts-expect-error: no such code
const code: SluiceErrorCode = 'ERR_OTHER';
// @ts-expect-error: no such reason
const reason: UnmountReason = 'bored';

suite('what does not compile', () => {
  for (const [index, input] of WRONG.entries()) {
    test(`is refused when it runs as well: ${Object.keys(input)[2]}`, async () => {
      const [source, mountpoint] = (await tempDirs('source', 'mnt')) as [string, string];
      const wrong = { ...WRONG[index], source, mountpoint } as MountInput;
      await assert.rejects(mount(wrong), { name: 'SluiceError', code: 'ERR_SLUICE_OPTION' });
    });
  }

  test('a missing mount point', async () => {
    await assert.rejects(mount(noMountpoint), { name: 'SluiceError' });
    assert.deepEqual([typeof code, typeof reason], ['string', 'string']);
  });
});
