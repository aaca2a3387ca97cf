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
];
