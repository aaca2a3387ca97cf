/**
 * What mount options forbid. These behaviours find a tree that is there already (`prepareTree`) and
 * try to change nothing that they may not: each belongs to the option its name begins with.
 */
import { spawnSync } from 'node:child_process';
import {
  O_CREAT,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
} from '../../../src/shared/sys/constants.ts';
import { syscall } from '../../harness/native.ts';
import { family } from '../behaviour.ts';
import { F_OK, MAP_PRIVATE, PROT_EXEC, PROT_READ, R_OK, SYS, W_OK } from '../numbers.ts';
import type { Stage } from '../stage.ts';

const COMMAND_TIMEOUT_MS = 30_000;

/** A script of `sh -eu` that makes what the behaviours need, in the current directory. */
export const PREPARE_TREE = `
  umask 0
  printf text > file; chmod 666 file
  mkdir -m 777 dir; printf inside > dir/inside
  ln -s file link; mkfifo -m 666 fifo
  mknod -m 666 null c 1 3
  cp /usr/bin/id id; chown 65532:65533 id; chmod 6755 id
  printf '#!/bin/sh\\necho ran\\n' > script; chmod 755 script
`;

function nothingChanges(stage: Stage): void {
  const { root } = stage;
  const names = root.names('.');
  root.create('new').is('EROFS');
  root.tryOpen('new', O_CREAT | O_WRONLY, 0o644).is('EROFS');
  root.mkdir('new').is('EROFS');
  root.mkfifo('new').is('EROFS');
  root.symlink('x', 'new').is('EROFS');
  root.link('file', 'new').is('EROFS');
  root.rename('file', 'new').is('EROFS');
  root.unlink('file').is('EROFS');
  root.rmdir('dir').is('EROFS');
  root.chmod('file', 0o600).is('EROFS');
  root.lchown('file', 1, 1).is('EROFS');
  root.lchown('link', 1, 1).is('EROFS');
  root.truncate('file', 0).is('EROFS');
  root.utimens('file', [1, 1], [1, 1]).is('EROFS');
  root.utimens('file', 'now', 'now').is('EROFS');
  root.setxattr('file', 'user.a', 'v').is('EROFS');
  root.removexattr('file', 'user.a').is('EROFS');
  root.tryOpen('.', O_TMPFILE | O_RDWR, 0o600).is('EROFS');
  stage.equal('names', root.names('.'), names);
}

function opensForReading(stage: Stage): void {
  const { root, alice } = stage;
  root.tryOpen('file', O_WRONLY).is('EROFS');
  root.tryOpen('file', O_RDWR).is('EROFS');
  root.tryOpen('file', O_RDONLY | O_TRUNC).is('EROFS');
  root.tryOpen('file', O_CREAT | O_RDONLY, 0o644).ok();
  root.create('file').is('EEXIST');
  root.mkdir('dir').is('EEXIST');
  root.access('file', W_OK).is('EROFS');
  alice.access('file', W_OK).is('EROFS');
  root.access('file', R_OK).ok();
  root.access('none', F_OK).is('ENOENT');
  stage.equal('content', alice.content('file'), 'text');
  stage.equal('content', alice.content('dir/inside'), 'inside');
  const fd = root.open('file', O_RDONLY).ok();
  root.fchmod(fd, 0o600).is('EROFS');
  root.fchown(fd, 1, 1).is('EROFS');
}

function specialFilesWrite(stage: Stage): void {
  stage.root.tryOpen('fifo', O_RDWR | O_NONBLOCK).ok();
  stage.root.write(stage.alice.open('null', O_WRONLY).ok(), 'gone').is(4);
  stage.root.access('null', W_OK).ok();
}

function runs(path: string, args: readonly string[]): string {
  const done = spawnSync(`${process.cwd()}/${path}`, args, {
    timeout: COMMAND_TIMEOUT_MS,
    encoding: 'utf8',
    uid: 65531,
    gid: 65531,
  });
  return (done.error as NodeJS.ErrnoException | undefined)?.code ?? done.stdout.trim();
}

export const restricted = family('restricted', [
  ['ro: nothing changes', nothingChanges],
  ['ro: files open for reading', opensForReading],
  ['ro: fifos and devices can be written to', specialFilesWrite],
  [
    'nosuid: set-id programs run with the ids of their caller',
    (stage) => {
      stage.equal('user', runs('id', ['-u']), '65531');
      stage.equal('group', runs('id', ['-g']), '65531');
    },
  ],
  [
    'suid: set-id programs run with their own ids',
    (stage) => {
      stage.equal('user', runs('id', ['-u']), '65532');
      stage.equal('group', runs('id', ['-g']), '65533');
    },
  ],
  [
    'nodev: devices do not open',
    (stage) => {
      stage.root.tryOpen('null', O_RDONLY).is('EACCES');
      stage.alice.tryOpen('null', O_WRONLY).is('EACCES');
      stage.root.tryOpen('fifo', O_RDWR | O_NONBLOCK).ok();
      stage.root.has('null', { type: 'char', rdev: '1:3' });
    },
  ],
  [
    'noexec: nothing is run or mapped for it',
    (stage) => {
      stage.equal('script', runs('script', []), 'EACCES');
      stage.equal('program', runs('id', ['-u']), 'EACCES');
      stage.root.access('script', 1).is('EACCES');
      const fd = stage.root.open('id', O_RDONLY).ok();
      const protection = PROT_READ | PROT_EXEC;
      stage.root
        .call('mmap', () => syscall(SYS.mmap, 0, 4096, protection, MAP_PRIVATE, fd, 0))
        .is('EPERM');
      stage.root.chdir('dir').ok();
    },
  ],
]);
