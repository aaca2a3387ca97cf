/** Tests of options by key, so that none can be forgotten. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { OPTIONS, type OptionKey, rowOf } from '../../src/shared/options.ts';

const TEST_TIMEOUT_MS = 60_000;
const tested = new Set<OptionKey>();

/** A test of what an option does, through a mount. */
export function optionTest(
  key: OptionKey,
  what: string,
  body: (t: TestContext) => Promise<void>,
): void {
  tested.add(key);
  test(`${rowOf(key).name}: ${what}`, { timeout: TEST_TIMEOUT_MS }, body);
}

/** A test that fails when this file has left out an option of the group. Stands at its end. */
export function everyOptionIsTested(group: string): void {
  test(`every option of "${group}" has a test`, () => {
    const keys = (Object.keys(OPTIONS) as OptionKey[]).filter((key) => rowOf(key).group === group);
    assert.ok(keys.length > 0, `there is no group ${group}`);
    assert.deepEqual(
      keys.filter((key) => !tested.has(key)),
      [],
    );
  });
}
