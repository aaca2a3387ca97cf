/**
 * What locks have to do, as steps of clients A, B and C on the files f and g:
 *
 *     A open f rw       a file by its own name as the handle, `A open f2=f r` by another one
 *     A set f w 0 10    a command of client.ts
 *     A ... &           is begun and not waited for
 *     A pending         what was begun has not ended
 *     A ended           waits for its end
 *     A kill            by SIGKILL
 */
export interface Scenario {
  readonly name: string;
  readonly steps: string;
}

const OPEN_AB = `
  A open f rw
  B open f rw`;

const OPEN_ABC = `${OPEN_AB}
  C open f rw`;

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'ranges that overlap conflict, unless both read',
    steps: `${OPEN_AB}
      A set f w 10 10
      B set f w 0 10
      B set f w 19 1
      B set f r 19 1
      B set f r 20 5
      A set f r 20 5
      A set f w 20 5
      B set f u 0 0
      A set f w 20 5`,
  },
  {
    name: 'GETLK tells the first lock in the way, and who has it',
    steps: `${OPEN_AB}
      B get f w 0 0
      A set f r 100 50
      A set f w 10 10
      B get f r 0 0
      B get f w 30 0
      B get f r 100 10
      A get f w 0 0
      A set f w 5000000000 5000000000
      B get f r 9999999999 1`,
  },
  {
    name: 'an unlock in the middle splits',
    steps: `${OPEN_AB}
      A set f w 0 100
      A set f u 40 20
      B get f w 0 0
      B get f w 50 0
      B set f w 40 20
      B set f w 39 1
      B set f w 60 1`,
  },
  {
    name: 'neighbours merge, and a lock of another kind takes its part',
    steps: `${OPEN_AB}
      A set f w 0 10
      A set f w 10 10
      B get f w 0 0
      A set f r 5 10
      B get f r 0 0
      B get f w 5 1
      B get f r 15 1
      B set f r 5 10`,
  },
  {
    name: 'upgrade and downgrade',
    steps: `${OPEN_AB}
      A set f r 0 0
      B set f r 0 0
      A set f w 0 0
      B set f u 0 0
      A set f w 0 0
      B set f r 0 0
      A set f r 0 0
      B set f r 0 0`,
  },
  {
    name: 'length 0 is to the end, wherever that will be; the largest offsets are offsets',
    steps: `${OPEN_AB}
      A set f w 100 0
      B set f w 0 100
      B set f r 1000000000000 1
      B get f w 9223372036854775806 1
      A set f u 200 0
      B set f w 9223372036854775807 1
      A get f w 4611686018427387904 0
      A set f w 9223372036854775807 1`,
  },
  {
    name: 'the mode of the open file counts',
    steps: `
      A open f r
      A open f2=f w
      B open f rw
      A set f w 0 1
      A set f2 r 0 1
      A set f r 0 1
      A set f2 w 10 1
      B get f w 0 0
      B get f w 5 0
      A get f w 0 0`,
  },
  {
    name: 'closing any descriptor of the file gives up all locks on it, and on it alone',
    steps: `${OPEN_AB}
      A open f2=f r
      A open g rw
      B open g rw
      A set f w 0 10
      A set g w 0 10
      A close f2
      B set f w 0 10
      B set g w 0 10
      A close f
      A close g
      B set g w 0 10`,
  },
  {
    name: 'closing a duplicate does so too',
    steps: `${OPEN_AB}
      A dup f d
      A set d w 0 10
      B set f w 0 10
      A close d
      B set f w 0 10
      A set f w 0 10`,
  },
  {
    name: 'nobody unlocks what others hold',
    steps: `${OPEN_AB}
      A set f w 0 10
      B set f u 0 0
      B set f w 0 10
      B close f
      B open f rw
      B set f w 0 10`,
  },
  {
    name: 'a holder that is killed holds nothing',
    steps: `${OPEN_ABC}
      A set f w 0 10
      B wait f w 0 10 &
      B pending
      A kill
      B ended
      C set f w 0 10
      B kill
      C set f w 0 10`,
  },
  {
    name: 'an unlock wakes who waits',
    steps: `${OPEN_AB}
      A set f w 0 10
      B wait f w 5 10 &
      B pending
      A set f u 0 5
      B pending
      A set f u 0 0
      B ended
      A set f w 5 1`,
  },
  {
    name: 'a close wakes who waits',
    steps: `${OPEN_AB}
      A open f2=f rw
      A set f w 0 10
      B wait f r 0 0 &
      B pending
      A close f2
      B ended`,
  },
  {
    name: 'a downgrade wakes readers, all of them',
    steps: `${OPEN_ABC}
      A set f w 0 0
      B wait f r 0 0 &
      C wait f r 0 0 &
      B pending
      C pending
      A set f r 0 0
      B ended
      C ended
      A set f w 0 0`,
  },
  {
    name: 'who waits for another range does not wait behind the first',
    steps: `${OPEN_ABC}
      A set f w 0 20
      B wait f w 0 10 &
      B pending
      C wait f w 10 10 &
      C pending
      A set f u 10 10
      C ended
      B pending
      A set f u 0 10
      B ended`,
  },
  {
    name: 'a signal with a handler ends the wait',
    steps: `${OPEN_AB}
      A set f w 0 10
      B alarm 300
      B wait f w 0 10
      B set f w 20 10
      A set f u 0 0
      B set f w 0 10`,
  },
  {
    name: 'a waiter that is killed leaves nothing',
    steps: `${OPEN_ABC}
      A set f w 0 10
      B wait f w 0 10 &
      B pending
      B kill
      A set f u 0 0
      C set f w 0 0`,
  },
  {
    name: 'locks of open file descriptions are apart from those of the process',
    steps: `${OPEN_AB}
      A open f2=f rw
      A ofd f w 0 10
      A ofd f2 w 0 10
      A set f2 w 0 10
      B set f w 5 1
      A dup f d
      A close f
      B set f w 5 1
      A close d
      B set f w 5 1
      A ofd f2 w 0 10`,
  },
  {
    name: 'flock: shared and exclusive',
    steps: `${OPEN_ABC}
      A flock f s
      B flock f s
      C flock f e
      A flock f u
      B flock f e
      A flock f s
      B flock f s
      A flock f s`,
  },
  {
    name: 'flock: two opens of one process conflict, duplicates do not',
    steps: `
      A open f rw
      A open f2=f r
      A dup f d
      A flock f e
      A flock f2 e
      A flock d e
      A close f
      A flock f2 e
      A close d
      A flock f2 e`,
  },
  {
    name: 'flock: the last close of the file and the end of the process unlock at once',
    steps: `${OPEN_AB}
      A flock f e
      B flock f e
      A close f
      B flock f e
      A open f r
      A flock f e
      B kill
      A flock f e`,
  },
  {
    name: 'flock: waits end by an unlock, a close, a death and a signal',
    steps: `${OPEN_ABC}
      A flock f e
      B flock f e wait &
      B pending
      A flock f u
      B ended
      A flock f s wait &
      A pending
      B close f
      A ended
      C alarm 300
      C flock f e wait
      C flock f e wait &
      C pending
      A kill
      C ended`,
  },
  {
    name: 'flock: a change of kind that has to wait has lost the old lock',
    steps: `${OPEN_ABC}
      A flock f s
      B flock f s
      A flock f e
      C flock f e
      B flock f e
      C flock f s`,
  },
  {
    name: 'flock and fcntl locks do not meet',
    steps: `${OPEN_AB}
      A flock f e
      B set f w 0 0
      A set f w 0 0
      B flock f s`,
  },
];
