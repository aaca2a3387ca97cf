/**
 * A parent that mounts by itself and hands the descriptor over, as systemd or a container runtime
 * may. Usage: given-fd-parent.js SOURCE MOUNTPOINT
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { MNT_DETACH, O_CLOEXEC, O_RDWR } from '../../src/shared/sys/constants.ts';
import { CString, close, mount, open, umount2 } from '../../src/shared/sys/libc.ts';
import { readMounts } from '../harness/mountinfo.ts';
import { cliPath } from '../harness/paths.ts';

const execute = promisify(execFile);
const [source, mountpoint] = process.argv.slice(2) as [string, string];
const GIVEN_FD = 3;

const text = (value: string) => new CString(value);

function mountHere(): number {
  const fd = open(text('/dev/fuse').address, O_RDWR | O_CLOEXEC);
  if (fd < 0) throw new Error(`/dev/fuse: ${fd}`);
  const data = text(`fd=${fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions`);
  const [from, to, type] = [text('given'), text(mountpoint), text('fuse')];
  const result = mount(from.address, to.address, type.address, 0, data.address);
  if (result < 0) throw new Error(`mount: ${result}`);
  return fd;
}

const isMounted = () => readMounts().some((line) => line.mountpoint === mountpoint);

const fuseFd = mountHere();
try {
  const daemon = spawn(process.execPath, [cliPath, 'mount', source, `/dev/fd/${GIVEN_FD}`], {
    stdio: ['ignore', 'pipe', 'inherit', fuseFd],
  });
  close(fuseFd);
  const exited = once(daemon, 'exit');
  const ready = await Promise.race([
    once(createInterface({ input: daemon.stdout as Readable }), 'line').then(([line]) =>
      String(line),
    ),
    exited.then(([code]) => `ended with ${code}`),
  ]);
  const script = 'cat "$1/f"; mkdir "$1/d"; echo written > "$1/d/g"; ls "$1"';
  const { stdout } = await execute('sh', ['-euc', script, 'sh', mountpoint], { timeout: 15_000 });
  daemon.kill('SIGTERM');
  const [code] = (await exited) as [number | null];
  process.stdout.write(`${JSON.stringify({ ready, stdout, code, isMounted: isMounted() })}\n`);
} finally {
  umount2(text(mountpoint).address, MNT_DETACH);
}
process.stdout.write(`${JSON.stringify({ isMounted: isMounted() })}\n`);
