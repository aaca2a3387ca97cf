import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FileSystemKind, makeFileSystem } from '../harness/file-systems.ts';
import { startMount } from '../harness/mount.ts';
import { missingTool } from '../harness/run.ts';
import { tempDirs } from '../harness/temp-dir.ts';
import { type LockClient, lockClient } from './client.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { statusReaches } from './status.ts';

const TIME_LIMIT = { timeout: 240_000 };
const PENDING_MS = 250;

/** Where each client works: by its letter. */
type Places = Readonly<Record<string, string>>;

/**
 * Nobody waits for the RELEASE behind the last close of a file. Whoever works on the mount comes
 * after it all the same; for others it takes a moment.
 */
const RELEASE_MS = 200;

/** Plays one scenario. @returns a line for each step, with what it answered and pids as letters */
async function play({ steps }: Scenario, places: Places, releaseMs = 0): Promise<string[]> {
  for (const file of ['f', 'g']) writeFileSync(join(places['A'] as string, file), 'content');
  const clients = new Map<string, LockClient>();
  const lines: string[] = [];
  for (const step of steps.trim().split('\n')) {
    const [who, ...words] = step.trim().split(' ') as [string, ...string[]];
    const client = clients.get(who) ?? (await lockClient());
    clients.set(who, client);
    const answer = await perform(client, words, places[who] as string);
    if (['close', 'kill'].includes(words[0] as string)) await sleep(releaseMs);
    lines.push(`${step.trim()} = ${withLetters(answer, clients)}`);
  }
  for (const client of clients.values()) assert.ok(await client.kill(), 'a client does not end');
  return lines;
}

async function perform(client: LockClient, words: string[], place: string): Promise<string> {
  const [what, file, ...rest] = words;
  if (what === 'pending') return client.answer(PENDING_MS);
  if (what === 'ended') return client.answer();
  if (what === 'kill') return (await client.kill()) ? 'ok' : 'lives';
  if (what === 'open') {
    const [handle, name = handle] = (file as string).split('=') as [string, string?];
    return client.ask(`open ${handle} ${join(place, name)} ${rest.join(' ')}`);
  }
  if (words.at(-1) !== '&') return client.ask(words.join(' '));
  client.begin(words.slice(0, -1).join(' '));
  return 'begun';
}

/** The pid of GETLK as the client's letter. */
function withLetters(answer: string, clients: ReadonlyMap<string, LockClient>): string {
  let text = answer;
  for (const [letter, { pid }] of clients)
    text = text.replace(new RegExp(` ${pid}$`), ` ${letter}`);
  return text;
}

/** Who looks from behind the mount sees locks of open file descriptions, which name no process. */
function withoutPids(lines: readonly string[], letters: string): string[] {
  return lines.map((line) =>
    letters.includes(line[0] as string) ? line.replace(/( get .*) \S+$/, '$1 ?') : line,
  );
}

/** What the scenarios gave in a plain directory: that is the same for every mount. */
const plainAnswers = new Map<Scenario, string[]>();

async function expectedOf(scenario: Scenario): Promise<string[]> {
  const known = plainAnswers.get(scenario);
  if (known !== undefined) return known;
  const [plain] = (await tempDirs('plain')) as [string];
  const lines = await play(scenario, { A: plain, B: plain, C: plain });
  plainAnswers.set(scenario, lines);
  return lines;
}

async function sourceOf(kind: FileSystemKind | 'temporary'): Promise<string | { skip: string }> {
  if (kind === 'temporary') return ((await tempDirs('source')) as [string])[0];
  const made = await makeFileSystem(kind);
  return 'skip' in made ? made : made.path;
}

suite('locks do on the mount what they do in the directory', () => {
  for (const [what, kind, flags] of [
    ['forwarded', 'temporary', ['--posix-lock', '--flock']],
    ['forwarded, one lane', 'temporary', ['--posix-lock', '--flock', '--lanes=1']],
    ['forwarded, on xfs', 'xfs', ['--posix-lock', '--flock', '--cache=never']],
    ['forwarded, on tmpfs', 'tmpfs', ['--posix-lock', '--flock', '--inode-file-handles=never']],
    ['local', 'temporary', []],
  ] as const) {
    test(what, TIME_LIMIT, async (t) => {
      const missing = await missingTool('perl');
      if (missing !== undefined) return t.skip(missing);
      const source = await sourceOf(kind);
      if (typeof source !== 'string') return t.skip(source.skip);
      const mount = await startMount({ source, flags });
      const m = mount.mountpoint;
      for (const scenario of SCENARIOS) {
        const played = await play(scenario, { A: m, B: m, C: m });
        assert.deepEqual(played, await expectedOf(scenario), scenario.name);
      }
      for (const field of ['openFiles', 'slotsInUse', 'lockOwners', 'lockWaits']) {
        await statusReaches(mount, field, 0);
      }
      await mount.stop();
    });
  }

  for (const [what, behind] of [
    ['the first client behind the mount', 'A'],
    ['the others behind the mount', 'BC'],
  ] as const) {
    test(what, TIME_LIMIT, async (t) => {
      const missing = await missingTool('perl');
      if (missing !== undefined) return t.skip(missing);
      const [source] = (await tempDirs('source')) as [string];
      const mount = await startMount({ source, flags: ['--posix-lock', '--flock'] });
      const placeOf = (who: string): string => (behind.includes(who) ? source : mount.mountpoint);
      const places = { A: placeOf('A'), B: placeOf('B'), C: placeOf('C') };
      for (const scenario of SCENARIOS) {
        const plain = withoutPids(await expectedOf(scenario), behind);
        const played = withoutPids(await play(scenario, places, RELEASE_MS), behind);
        assert.deepEqual(played, plain, scenario.name);
      }
      await statusReaches(mount, 'lockOwners', 0);
      await mount.stop();
    });
  }
});
