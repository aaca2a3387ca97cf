import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ERRNO } from '../../src/shared/abi/errno.ts';
import {
  MountErrorReporter,
  MountRootError,
  REPORTED_MOUNTS_LIMIT,
} from '../../src/shared/passthrough/mount-error.ts';

const failure = { errno: -ERRNO.EIO, description: 'Failed to open' };

describe('MountRootError', () => {
  it('says what it knows, in four forms', () => {
    const text = (mountId?: number, mountRoot?: string) =>
      new MountRootError({ ...failure, mountId, mountRoot }, false).toString();
    assert.equal(text(), 'Failed to open');
    assert.equal(text(27), 'Filesystem with mount ID 27: Failed to open');
    assert.equal(text(undefined, '/srv'), 'Filesystem mounted on "/srv": Failed to open');
    assert.equal(text(27, '/srv'), 'Filesystem mounted on "/srv" (mount ID: 27): Failed to open');
  });

  it('takes mount id 0 and an empty root for known', () => {
    const error = new MountRootError({ ...failure, mountId: 0, mountRoot: '' }, false);
    assert.equal(`${error}`, 'Filesystem mounted on "" (mount ID: 0): Failed to open');
  });

  it('keeps the errno', () => {
    assert.equal(new MountRootError(failure, false).errno, -ERRNO.EIO);
  });
});

describe('MountErrorReporter', () => {
  it('is silent from the second error of a mount id on', () => {
    const reporter = new MountErrorReporter();
    const silent = [27, 27, 28, 27, 28].map(
      (mountId) => reporter.report({ ...failure, mountId }).silent,
    );
    assert.deepEqual(silent, [false, true, false, true, true]);
  });

  it('is silent for a mount id whatever the error and the root', () => {
    const reporter = new MountErrorReporter();
    reporter.report({ ...failure, mountId: 5 });
    const second = reporter.report({
      errno: -ERRNO.EINVAL,
      description: 'Failed to find mount root for mount ID 5',
      mountId: 5,
      mountRoot: '/elsewhere',
    });
    assert.equal(second.silent, true);
    assert.equal(second.errno, -ERRNO.EINVAL);
  });

  it('is never silent without a mount id', () => {
    const reporter = new MountErrorReporter();
    reporter.report(failure);
    assert.equal(reporter.report({ ...failure, mountRoot: '/srv' }).silent, false);
  });

  it('starts over when its list is full', () => {
    const reporter = new MountErrorReporter();
    for (let mountId = 0; mountId < REPORTED_MOUNTS_LIMIT; mountId++) {
      reporter.report({ ...failure, mountId });
    }
    assert.equal(reporter.report({ ...failure, mountId: 0 }).silent, true);
    assert.equal(reporter.report({ ...failure, mountId: REPORTED_MOUNTS_LIMIT }).silent, false);
    assert.equal(reporter.report({ ...failure, mountId: 0 }).silent, false);
  });
});
