import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { assertSameTree, SAME_WORK_FIELDS, VIEW_FIELDS } from '../harness/compare.ts';
import { startMount } from '../harness/mount.ts';
import { missingTool, run, runOk } from '../harness/run.ts';
import { seconds } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const COMMITS = 300;
const FILES = 400;
const FILES_PER_COMMIT = 4;

/** The same names and times in every repository, and nothing of the user's own settings. */
const environment = {
  ...process.env,
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@example.org',
  GIT_AUTHOR_DATE: '1700000000 +0000',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@example.org',
  GIT_COMMITTER_DATE: '1700000000 +0000',
};

/** A history for `git fast-import`: `main` with all commits, `side` from the middle with one more. */
function history(): string {
  const commit = (
    branch: string,
    number: number,
    from: string,
    paths: readonly number[],
  ): string => {
    const changes = paths.map((path) => {
      const text = `file ${path} of commit ${number}\n`.repeat(1 + ((path * 7) % 60));
      return `M 100644 inline dir-${path % 20}/file-${path}.txt\ndata ${text.length}\n${text}\n`;
    });
    const message = `commit ${number}`;
    return (
      `commit refs/heads/${branch}\nmark :${number}\n` +
      `committer a <a@example.org> ${1_600_000_000 + number} +0000\n` +
      `data ${message.length}\n${message}\n${from}${changes.join('')}\n`
    );
  };
  const everyFile = Array.from({ length: FILES }, (_, path) => path);
  let text = commit('main', 1, '', everyFile);
  for (let number = 2; number <= COMMITS; number++) {
    const paths = Array.from(
      { length: FILES_PER_COMMIT },
      (_, i) => (number * 13 + i * 101) % FILES,
    );
    text += commit('main', number, '', paths);
  }
  const half = everyFile.filter((path) => path % 2 === 0);
  return text + commit('side', COMMITS + 1, `from :${COMMITS / 2}\n`, half);
}

/** Clones and works in `directory`; returns all that git said. */
async function work(origin: string, directory: string): Promise<string> {
  const options = { cwd: directory, env: environment, timeoutMs: 120_000 };
  const repository = { ...options, cwd: join(directory, 'repository') };
  let said = '';
  const git = async (...args: string[]): Promise<void> => {
    const { stdout } = await runOk('git', args, args[0] === 'clone' ? options : repository);
    said += `git ${args[0]}\n${stdout}`;
  };
  await git('clone', '--no-hardlinks', '--quiet', origin, 'repository');
  await git('fsck', '--full', '--strict');
  await git('status', '--porcelain=v2', '--branch');
  await git('ls-files', '--stage');
  await git('checkout', '--quiet', 'side');
  await git('status', '--porcelain=v2', '--branch');
  await git('rm', '-r', '--quiet', 'dir-3');
  await git('mv', 'dir-4', 'moved');
  await git('commit', '--quiet', '-m', 'moved');
  await git('fsck', '--full', '--strict');
  await git('status', '--porcelain=v2', '--branch');
  await git('rev-parse', 'HEAD');
  await git('diff', '--stat', 'main');
  return said;
}

test('git clone, fsck, status, checkout and commit', { timeout: 300_000 }, async (t) => {
  const missing = await missingTool('git', 'getfattr');
  if (missing !== undefined) return t.skip(missing);
  const [origin, plain, source] = (await tempDirs('origin', 'plain', 'source')) as [
    string,
    string,
    string,
  ];
  await runOk('git', ['init', '--quiet', '--bare', '--initial-branch=main', origin], {
    env: environment,
  });
  await runOk('git', ['fast-import', '--quiet'], {
    cwd: origin,
    env: environment,
    input: history(),
  });

  const mount = await startMount({ source });
  const plainStart = performance.now();
  const expected = await work(origin, plain);
  const mountStart = performance.now();
  const actual = await work(origin, mount.mountpoint);
  const end = performance.now();
  assert.equal(actual, expected);

  // The index holds inode numbers and times of its own tree.
  const files = await assertSameTree(plain, mount.mountpoint, {
    fields: SAME_WORK_FIELDS,
    exclude: ['repository/.git/index'],
  });
  await assertSameTree(source, mount.mountpoint, { fields: VIEW_FIELDS });
  const dirty = await run('git', ['status', '--porcelain'], {
    cwd: join(source, 'repository'),
    env: environment,
  });
  assert.equal(dirty.stdout, '', 'git sees the tree behind the mount as changed');
  t.diagnostic(
    `${COMMITS} commits, ${files} files: plain ${seconds(mountStart - plainStart)}, mount ${seconds(end - mountStart)}`,
  );
  await mount.stop();
});
