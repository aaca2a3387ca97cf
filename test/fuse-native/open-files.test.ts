import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenFiles } from '../../src/main/session/fuse-native/open-files.ts';

const hiddenName = (count: number) => `.fuse_hidden0000002a${count.toString(16).padStart(8, '0')}`;

test('libfuse hides files in any order, each name once', () => {
  const files = new OpenFiles();
  const node = { id: 42, isCounted: true, attr: Buffer.alloc(0) };
  const number = files.add({ fh: 1, node });
  // Two threads: the second one is through first.
  assert.ok(files.isHiding(hiddenName(5)));
  files.hide(hiddenName(6), node);
  assert.ok(files.isHiding(hiddenName(5)), 'an earlier count that was not used yet');
  files.hide(hiddenName(5), node);
  assert.ok(!files.isHiding(hiddenName(5)) && !files.isHiding(hiddenName(6)), 'used');
  files.hide(hiddenName(1000), node);
  assert.ok(!files.isHiding(hiddenName(7)), 'too far behind to be under way still');
  assert.ok(!files.isHiding('.fuse_hidden') && !files.isHiding('f'));
  assert.equal(files.hidden(hiddenName(5)), 42);
  assert.equal(files.remove(number).length, 4);
  assert.equal(files.hidden(hiddenName(5)), undefined);
});
