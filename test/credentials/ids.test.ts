/** Credentials of a thread whose own user is not root, but may act as others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missingTool, run } from '../harness/run.ts';

const OWN = 65530;
const SCRIPT = `
  import { readFileSync } from 'node:fs';
  import { Credentials } from '${new URL('../../src/shared/sys/credentials.js', import.meta.url).href}';
  const ids = () => readFileSync('/proc/thread-self/status', 'latin1').match(/^(Uid|Gid|Groups|CapEff):.*$/gm);
  const credentials = new Credentials();
  const before = ids();
  const results = [];
  for (const uid of [65531, 0, ${OWN}]) {
    results.push(credentials.become(uid, 65531, 7000), ids().slice(0, 3).join(' '), credentials.restore());
    results.push(credentials.becomeWithGroups(uid, 65532, [7001, 7002]), credentials.restore());
  }
  console.log(JSON.stringify({ canSwitch: credentials.canSwitch, before, after: ids(), results }));
`;

test('a user with capabilities becomes others and himself again', {
  timeout: 30_000,
}, async (t) => {
  const missing = await missingTool('setpriv');
  if (missing !== undefined || process.getuid?.() !== 0) {
    t.skip(missing ?? 'needs root');
    return;
  }
  const caps = '+setuid,+setgid,+sys_admin';
  const own = ['--reuid', `${OWN}`, '--regid', `${OWN}`, '--groups', '7005'];
  const node = [process.execPath, '--input-type=module', '-e', SCRIPT];
  const done = await run('setpriv', [...own, '--inh-caps', caps, '--ambient-caps', caps, ...node]);
  assert.equal(done.code, 0, done.stderr);
  const { canSwitch, before, after, results } = JSON.parse(done.stdout) as Record<string, unknown>;
  assert.equal(canSwitch, true);
  assert.deepEqual(after, before);
  const numbers = (results as unknown[]).filter((result) => typeof result === 'number');
  assert.deepEqual(numbers, new Array(12).fill(0));
  assert.match(String((results as unknown[])[1]), /65531.*65531.*7000/);
});
