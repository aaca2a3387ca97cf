/** What the session tests run in a process of its own. Prints one JSON line. */
import { once } from 'node:events';
import { abortConnection, mountFuse } from '../../src/main/session/mount.ts';
import { checkFdLimit, checkFuse } from '../../src/main/session/preflight.ts';
import { unmount } from '../../src/main/session/unmount.ts';
import { SluiceError } from '../../src/shared/errors.ts';
import { CapabilitySwitch } from '../../src/shared/sys/capabilities.ts';
import { CAP_SYS_ADMIN } from '../../src/shared/sys/constants.ts';
import { addressOf, close, fcntl, read } from '../../src/shared/sys/libc.ts';
import { countRows, keepingLog, request, serve } from './fake-session.ts';

const F_GETFD = 1;
const F_GETFL = 3;

const [command = '', mountpoint = ''] = process.argv.slice(2);

const commands: Record<string, () => Promise<object>> = {
  'mount-and-wait': mountAndWait,

  async 'mount-and-wait-without-capability'() {
    // A program that is run by uid 0 regains it: the helper can mount, this process cannot.
    new CapabilitySwitch(CAP_SYS_ADMIN).drop();
    return await mountAndWait();
  },

  async abort() {
    const { log, warnings } = keepingLog();
    const device = mountFuse(request(mountpoint), log);
    const stop = await new Promise<() => void>((resolve) => {
      const stopServing = serve(device.fuseFd, () => resolve(stopServing));
    });
    stop();
    const aborted = abortConnection(device.connection ?? -1, log);
    const bytes = new Uint8Array(new SharedArrayBuffer(1 << 18));
    const errno = read(device.fuseFd, addressOf(bytes), bytes.length);
    const outcome = await unmount(device, { timeoutMs: 2000, log });
    return { aborted, errno, outcome, rows: countRows(mountpoint), warnings };
  },

  async 'fd-limit'() {
    return { limit: checkFdLimit() };
  },

  async 'check-fuse'() {
    checkFuse();
    return {};
  },
};

async function mountAndWait(): Promise<object> {
  checkFuse();
  const { log, warnings } = keepingLog();
  const device = mountFuse(request(mountpoint, { fsname: 'a,b\\c d' }), log);
  const stop = serve(device.fuseFd);
  console.log(
    JSON.stringify({
      device,
      descriptorFlags: fcntl(device.fuseFd, F_GETFD, 0),
      statusFlags: fcntl(device.fuseFd, F_GETFL, 0),
    }),
  );
  await once(process.stdin, 'data');
  const outcome = await unmount(device, { timeoutMs: 900, log });
  stop();
  close(device.fuseFd);
  process.stdin.destroy();
  return { outcome, warnings };
}

async function run(): Promise<object> {
  try {
    return (await commands[command]?.()) ?? { error: 'unknown command' };
  } catch (error) {
    return error instanceof SluiceError
      ? { code: error.code, exitCode: error.exitCode, message: error.message }
      : { error: String(error) };
  }
}

console.log(JSON.stringify(await run()));
