/** The kernel must not act by set-id bits that a write through the daemon has taken. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startMount } from '../harness/mount.ts';
import { run } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const options = {
  timeout: 120_000,
  skip: process.getuid?.() !== 0 && 'becoming another user needs root',
};

/** As whom a program of root's runs for a user, before and after the user has changed it. */
const SCRIPT = `
  as() { setpriv --reuid 65531 --regid 65531 --clear-groups "$@"; }
  cd "$1"; program=$(command -v id)
  cp "$program" written; cp "$program" replaced; chmod 4777 written replaced
  as ./written -u; as ./replaced -u
  as sh -c 'printf x >> written; cp "$1" replaced' sh "$program"
  as ./written -u; as ./replaced -u`;

async function usersOfProgram(directory: string): Promise<string> {
  const done = await run('sh', ['-c', SCRIPT, 'sh', directory]);
  return `${done.stdout}${done.stderr}`;
}

for (const flags of [['--cache=metadata'], ['--cache=never'], []]) {
  const how = flags.join(' ') || 'defaults';
  test(
    `a program does not run as its owner once another has changed it: ${how}`,
    options,
    async () => {
      const [plain, source] = (await tempDirs('plain', 'source')) as [string, string];
      const mount = await startMount({ source, flags });
      assert.equal(await usersOfProgram(plain), '0\n0\n65531\n65531\n');
      assert.equal(await usersOfProgram(mount.mountpoint), '0\n0\n65531\n65531\n');
      await mount.stop();
    },
  );
}
