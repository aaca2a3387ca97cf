/** Trials that once went differently on the mount, as small as they could be made. */
import type { Operation, Trial } from './operations.ts';

interface Regression {
  readonly name: string;
  readonly trial: Trial;
}

/** Root makes a directory that everybody may write to. */
const OPEN: readonly Operation[] = [
  { op: 'mkdir', path: 'd', mode: 0o755 },
  { op: 'chmod', on: 'd', mode: 0o777 },
];

export const REGRESSIONS: readonly Regression[] = [
  {
    name: 'the whiteout that a rename leaves belongs to the caller',
    trial: [
      { actor: 0, sequence: OPEN },
      {
        actor: 1,
        sequence: [
          { op: 'open', handle: 0, path: 'd/a', flags: 'RDWR|CREAT', mode: 0o644 },
          { op: 'rename', from: 'd/a', to: 'd/b', flags: 4 },
        ],
      },
    ],
  },
  {
    name: 'root takes the capabilities of a file when he changes it, and not the set-id bits',
    trial: [
      {
        actor: 0,
        sequence: [
          { op: 'open', handle: 0, path: 'f', flags: 'RDWR|CREAT', mode: 0o755 },
          { op: 'chmod', on: 'f', mode: 0o6755 },
          { op: 'setcap', on: 'f' },
          { op: 'fallocate', handle: 0, mode: 0, offset: 0, size: 512 },
          { op: 'stat', on: 'f', follow: true },
        ],
      },
    ],
  },
];
