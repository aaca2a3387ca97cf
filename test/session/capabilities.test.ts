import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { CapabilitySwitch, hasCapability } from '../../src/shared/sys/capabilities.ts';
import { CAP_FSETID, CAP_SYS_ADMIN } from '../../src/shared/sys/constants.ts';

const CAP_SYSLOG = 34;

/** The effective set of the calling thread, as the kernel prints it. */
function effectiveSet(): bigint {
  const digits = /^CapEff:\s*([0-9a-f]+)$/m.exec(
    readFileSync('/proc/thread-self/status', 'latin1'),
  )?.[1];
  return BigInt(`0x${digits}`);
}

function holds(capability: number): boolean {
  return ((effectiveSet() >> BigInt(capability)) & 1n) === 1n;
}

interface Steps {
  readonly results: readonly number[];
  readonly before: string;
  readonly dropped: string;
  readonly asked: boolean;
  readonly restored: string;
}

if (isMainThread) {
  testOnMain();
} else {
  dropInWorker();
}

function dropInWorker(): void {
  const before = effectiveSet().toString();
  const capabilitySwitch = new CapabilitySwitch(CAP_FSETID);
  const results = [capabilitySwitch.drop()];
  const dropped = effectiveSet().toString();
  const asked = hasCapability(CAP_FSETID);
  parentPort?.once('message', () => {
    results.push(capabilitySwitch.restore());
    const restored = effectiveSet().toString();
    parentPort?.postMessage({ results, before, dropped, asked, restored } satisfies Steps);
  });
  parentPort?.postMessage('dropped');
}

function testOnMain(): void {
  test('capabilities in both words are read as the kernel prints them', () => {
    for (const capability of [CAP_FSETID, CAP_SYS_ADMIN, CAP_SYSLOG]) {
      assert.equal(hasCapability(capability), holds(capability), `capability ${capability}`);
    }
    assert.equal(hasCapability(63), false);
  });

  const skip = holds(CAP_FSETID) ? false : 'needs CAP_FSETID';
  test('a capability is dropped in one thread only and comes back', {
    skip,
    timeout: 20_000,
  }, async () => {
    const worker = new Worker(new URL(import.meta.url));
    const steps = await new Promise<Steps>((resolve, reject) => {
      worker.on('error', reject);
      worker.on('message', (message: Steps | 'dropped') => {
        if (message === 'dropped') {
          assert.equal(holds(CAP_FSETID), true, 'the main thread keeps the capability');
          worker.postMessage('go on');
        } else {
          resolve(message);
        }
      });
    });
    assert.deepEqual(steps.results, [0, 0]);
    assert.equal(BigInt(steps.before) & ~BigInt(steps.dropped), 1n << BigInt(CAP_FSETID));
    assert.equal(BigInt(steps.dropped) & ~BigInt(steps.before), 0n);
    assert.equal(steps.asked, false);
    assert.equal(steps.restored, steps.before);
  });

  test('a capability that is not held needs no switch', () => {
    const none = new CapabilitySwitch(63);
    assert.deepEqual([none.held, none.drop(), none.restore()], [false, 0, 0]);
  });
}
