/** The `sluice` command over a daemon that mounts nothing; FAKE_DAEMON says how it behaves. */
import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { runProgram } from '../../src/main/commands/program.ts';
import { SluiceError } from '../../src/shared/errors.ts';
import type { Logger } from '../../src/shared/log.ts';
import type { MountOptions } from '../../src/shared/options.ts';

type Reason = 'stopped' | 'external' | 'aborted';

async function startFake(options: MountOptions, logger: Logger) {
  const behaviour = process.env['FAKE_DAEMON'];
  const umask = process.umask();
  logger.info({ options, umask, cwd: process.cwd(), title: process.title }, 'fake start');
  await failedStart(behaviour);
  let end: (reason: Reason) => void = () => undefined;
  const unmounted = new Promise<Reason>((resolve) => {
    end = resolve;
  });
  if (behaviour === 'gone') {
    setTimeout(() => end('external'), 100);
  }
  if (behaviour === 'crash') {
    setTimeout(() => Promise.reject(new Error('defect\nhere')), 100);
  }
  // What keeps a daemon alive is its poll of /dev/fuse.
  setInterval(() => undefined, 1000);
  return {
    id: 'fake',
    mountpoint: options.mountpoint,
    unmounted,
    stop: async () => {
      logger.info('fake stop');
      if (behaviour === 'stop-fails') {
        throw new Error('busy');
      }
      if (behaviour !== 'stuck') {
        end('stopped');
      }
    },
    abort: () => {
      logger.info('fake abort');
      end('aborted');
    },
    reconfigure: (changed: MountOptions) => {
      logger.info({ options: changed }, 'fake reconfigure');
    },
    status: () => ({ requests: 7 }),
  };
}

async function failedStart(behaviour: string | undefined): Promise<void> {
  switch (behaviour) {
    case 'refuse':
      throw new SluiceError('ERR_SLUICE_MOUNT', 'mount refused\nby the test; try another');
    case 'bug':
      throw new TypeError('no such thing');
    case 'die':
      process.kill(process.pid, 'SIGKILL');
      await delay(60_000);
      return;
    case 'slow':
      writeSync(1, 'starting\n');
      await delay(1000);
      return;
    default:
  }
}

process.exit(
  await runProgram(
    process.argv.slice(2),
    startFake as unknown as NonNullable<Parameters<typeof runProgram>[1]>,
  ),
);
