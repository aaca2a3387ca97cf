import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const FAKE = fileURLToPath(new URL('fake-sluice.js', import.meta.url));
const CLI = fileURLToPath(new URL('../../src/main/cli.js', import.meta.url));
const BOUND = { timeout: 30_000 };

const folder = mkdtempSync(join(tmpdir(), 'sluice-cli-'));
after(() => rmSync(folder, { recursive: true }));

/** A run of the command: what it has written so far, and how it ended. */
class Run {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  readonly ended: Promise<number | NodeJS.Signals | null>;

  constructor(script: string, behaviour: string, argv: readonly string[]) {
    this.child = spawn(process.execPath, [script, ...argv], {
      cwd: folder,
      env: { ...process.env, FAKE_DAEMON: behaviour, TMPDIR: folder },
      timeout: BOUND.timeout,
      killSignal: 'SIGKILL',
    });
    this.child.stdout?.on('data', (data) => {
      this.stdout += data;
    });
    this.child.stderr?.on('data', (data) => {
      this.stderr += data;
    });
    this.ended = new Promise((resolve) => {
      this.child.on('close', (code, signal) => resolve(code ?? signal));
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  logs(): Record<string, unknown>[] {
    return logLines(this.stderr);
  }

  messages(): unknown[] {
    return this.logs().map((line) => line['msg']);
  }
}

function logLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function fake(behaviour: string, ...argv: string[]): Run {
  return new Run(FAKE, behaviour, argv);
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs < 20_000; waitedMs += 20) {
    if (condition()) {
      return;
    }
    await delay(20);
  }
  throw new assert.AssertionError({ message: `never came: ${what}` });
}

async function usable(run: Run): Promise<void> {
  await until('the line of a usable mount', () => run.stdout.includes('is mounted on'));
}

function endIfAlive(pid: number): void {
  if (existsSync(`/proc/${pid}`)) {
    process.kill(pid, 'SIGKILL');
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} stops the daemon and ends with 0`, BOUND, async () => {
    const run = fake('serve', 'mount', 'a b', '/m\nn');
    await usable(run);
    const path = join(folder, 'a b');
    assert.equal(run.stdout, `sluice: ${path} is mounted on /m\\x0an (pid ${run.child.pid})\n`);
    run.kill(signal);
    assert.equal(await run.ended, 0);
    assert.deepEqual(run.messages().slice(1), [
      'stopping; a second signal aborts',
      'fake stop',
      'unmounted',
    ]);
  });
}

test('the process is prepared before the daemon starts', BOUND, async () => {
  const run = fake('gone', 'mount', 'src', 'mnt', '-o', 'lanes=2');
  assert.equal(await run.ended, 0);
  const [start, end] = run.logs();
  assert.equal(start?.['umask'], 0);
  assert.equal(start?.['cwd'], '/');
  assert.equal(start?.['title'], 'sluice');
  const options = start?.['options'] as Record<string, unknown>;
  assert.equal(options['source'], join(folder, 'src'));
  assert.equal(options['lanes'], 2);
  assert.match(String(start?.['mount']), /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-/);
  assert.equal(end?.['mount'], start?.['mount']);
  assert.equal(end?.['reason'], 'external');
});

test('a second signal aborts and ends with 0', BOUND, async () => {
  const run = fake('stuck', 'mount', '/s', '/m');
  await usable(run);
  run.kill('SIGTERM');
  await until('the stop', () => run.messages().includes('fake stop'));
  run.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.ok(run.messages().includes('second signal: aborting; requests in flight fail'));
  assert.ok(run.messages().includes('fake abort'));
});

test('one Ctrl-C that arrives twice does not abort, a later one does', BOUND, async () => {
  const run = fake('stuck', 'mount', '/s', '/m');
  await usable(run);
  run.kill('SIGINT');
  await until('the stop', () => run.messages().includes('fake stop'));
  run.kill('SIGINT');
  await delay(1000);
  assert.equal(run.messages().includes('fake abort'), false);
  run.kill('SIGINT');
  assert.equal(await run.ended, 0);
  assert.ok(run.messages().includes('fake abort'));
});

test('a stop that fails aborts and ends with 2', BOUND, async () => {
  const run = fake('stop-fails', 'mount', '/s', '/m');
  await usable(run);
  run.kill('SIGTERM');
  assert.equal(await run.ended, 2);
  assert.ok(run.messages().includes('fake abort'));
});

test('SIGUSR2 switches debug messages on, with the status, and off', BOUND, async () => {
  const run = fake('serve', 'mount', '/s', '/m', '--log-level=warn');
  await usable(run);
  run.kill('SIGUSR2');
  await until('the status', () => run.messages().includes('status'));
  assert.equal(run.logs().find((line) => line['msg'] === 'status')?.['requests'], 7);
  run.kill('SIGUSR2');
  await until('the end of it', () => run.messages().includes('debug messages are off'));
  run.kill('SIGTERM');
  assert.equal(await run.ended, 0);
  assert.deepEqual(run.messages(), ['debug messages are on', 'status', 'debug messages are off']);
});

test('SIGHUP without a file changes nothing', BOUND, async () => {
  const run = fake('serve', 'mount', '/s', '/m');
  await usable(run);
  run.kill('SIGHUP');
  await until('the reload', () => run.messages().includes('reloaded: nothing has changed'));
  run.kill('SIGTERM');
  assert.equal(await run.ended, 0);
});

test('SIGHUP reads the file again, by its name from the start', BOUND, async () => {
  const file = join(folder, 'reload.toml');
  writeFileSync(file, 'source = "/s"\nmountpoint = "/m"\nentry_timeout = 5\n');
  const run = fake('serve', 'mount', '--config', 'reload.toml');
  await usable(run);
  writeFileSync(file, 'source = "/s"\nmountpoint = "/m"\nentry_timeout = 6\nlans = 1\n');
  run.kill('SIGHUP');
  await until('the mistake', () => /not reloaded.*lans: unknown option/.test(run.stderr));
  assert.equal(run.messages().includes('fake reconfigure'), false);
  writeFileSync(file, 'source = "/s"\nmountpoint = "/m"\nentry_timeout = 6\n');
  run.kill('SIGHUP');
  await until('the reload', () => /reloaded: entry_timeout 5 -> 6/.test(run.stderr));
  const changed = run.logs().find((line) => line['msg'] === 'fake reconfigure') ?? {};
  assert.equal((changed['options'] as Record<string, unknown>)['entryTimeoutMs'], 6000);
  run.kill('SIGTERM');
  assert.equal(await run.ended, 0);
});

test('SIGHUP before the mount is usable reloads when it is', BOUND, async () => {
  const run = fake('slow', 'mount', '/s', '/m');
  await until('the start', () => run.stdout.includes('starting'));
  run.kill('SIGHUP');
  await until('the reload', () => run.messages().includes('reloaded: nothing has changed'));
  assert.match(run.stdout, /is mounted on/);
  run.kill('SIGTERM');
  assert.equal(await run.ended, 0);
});

test('--print-config prints and mounts nothing', BOUND, async () => {
  const run = fake('serve', 'mount', '--print-config', '-o', 'lanes=2');
  assert.equal(await run.ended, 0);
  assert.equal(run.stderr, '');
  assert.match(run.stdout, /^lanes = 2 +# -o lanes$/m);
  const bad = fake('serve', 'demo', '--print-config', '--config', 'missing.toml');
  assert.equal(await bad.ended, 1);
  assert.match(
    bad.stderr,
    /^sluice: config: .*missing.toml cannot be read \(.*\); give a file[^\n]*\n$/,
  );
});

test(
  'background: the file is read by both, relative to where they were started',
  BOUND,
  async (t) => {
    const logFile = join(folder, 'file.log');
    const text = `source = "src"\nmountpoint = "/m"\nbackground = true\nlog_file = "file.log"\n`;
    writeFileSync(join(folder, 'background.toml'), text);
    const run = fake('serve', 'mount', '--config=background.toml');
    assert.equal(await run.ended, 0);
    const pid = Number(/^sluice: .*\/src is mounted on \/m \(pid (\d+)\)\n$/.exec(run.stdout)?.[1]);
    assert.ok(pid > 0, run.stdout);
    t.after(() => endIfAlive(pid));
    process.kill(pid, 'SIGHUP');
    const messages = () => logLines(readFileSync(logFile, 'utf8')).map((line) => line['msg']);
    await until('the reload', () => messages().includes('reloaded: nothing has changed'));
    process.kill(pid, 'SIGTERM');
    await until('the exit', () => !existsSync(`/proc/${pid}`));
  },
);

test('a signal before the mount is usable: stopped as soon as it is, 8', BOUND, async () => {
  const run = fake('slow', 'mount', '/s', '/m');
  await until('the start', () => run.stdout.includes('starting'));
  run.kill('SIGINT');
  assert.equal(await run.ended, 8);
  assert.ok(run.messages().includes('fake stop'));
  assert.match(run.stderr, /^sluice: interrupted before the mount was usable/m);
  assert.doesNotMatch(run.stdout, /is mounted on/);
});

test('a failed start is one line and its exit status', BOUND, async () => {
  const run = fake('refuse', 'mount', '/s', '/m', '--log-level=error');
  assert.equal(await run.ended, 32);
  assert.equal(run.stderr, 'sluice: mount refused\\x0aby the test; try another\n');
  assert.equal(run.stdout, '');
});

test('a defect in the start is 4, with where it happened', BOUND, async () => {
  const run = fake('bug', 'mount', '/s', '/m', '--log-level=error');
  assert.equal(await run.ended, 4);
  assert.match(run.stderr, /^sluice: internal error: no such thing; please report it\nTypeError/);
});

test('a defect while serving is logged fatal, aborts, and ends with 4', BOUND, async () => {
  const run = fake('crash', 'mount', '/s', '/m');
  assert.equal(await run.ended, 4);
  const fatal = run.logs().find((line) => line['level'] === 'fatal');
  assert.match(JSON.stringify(fatal?.['err']), /"message":"defect\\nhere"/);
  assert.ok(run.messages().includes('fake abort'));
});

test('warnings are logged in the foreground', BOUND, async () => {
  const run = fake('gone', 'mount', '/s', '/m', '--no-open', '--lanes=1', '--lanes=2');
  assert.equal(await run.ended, 0);
  const warnings = run.logs().filter((line) => line['level'] === 'warn');
  assert.deepEqual(
    warnings.map((line) => String(line['msg']).split(' ')[0]),
    ['lanes', 'no_open'],
  );
});

test('background: the line, 0, and a daemon that serves on', BOUND, async (context) => {
  const logFile = join(folder, 'background.log');
  const argv = ['mount', 'src', '/m', '-o', `background,log_file=${logFile},no_open`];
  const run = fake('serve', ...argv);
  assert.equal(await run.ended, 0);
  const pid = Number(/^sluice: .*\/src is mounted on \/m \(pid (\d+)\)\n$/.exec(run.stdout)?.[1]);
  assert.ok(pid > 0 && pid !== run.child.pid);
  context.after(() => endIfAlive(pid));
  assert.match(run.stderr, /^sluice: warning: no_open is switched off: .*\n$/);
  process.kill(pid, 'SIGTERM');
  const logged = (): Record<string, unknown>[] => logLines(readFileSync(logFile, 'utf8'));
  await until('the end', () => logged().some((line) => line['msg'] === 'unmounted'));
  const start = logged().find((line) => line['msg'] === 'fake start');
  const options = start?.['options'] as Record<string, unknown>;
  assert.equal(options['source'], join(folder, 'src'));
  await until('the exit', () => !existsSync(`/proc/${pid}`));
});

test('background: a failed start is the line and the status of the child', BOUND, async () => {
  const run = fake('refuse', 'mount', '/s', '/m', '--background');
  assert.equal(await run.ended, 32);
  assert.equal(run.stdout, '');
  assert.equal(run.stderr, 'sluice: mount refused\\x0aby the test; try another\n');
});

test('background: a child that dies is said, 4', BOUND, async () => {
  const run = fake('die', 'mount', '/s', '/m', '--background');
  assert.equal(await run.ended, 4);
  assert.match(run.stderr, /^sluice: the background process ended .*\(SIGKILL\)/);
});

test('background: a signal to the waiting parent interrupts the start, 8', BOUND, async () => {
  const logFile = join(folder, 'interrupted.log');
  const run = fake('slow', 'mount', '/s', '/m', '--background', `--log-file=${logFile}`);
  await until('the start', () => existsSync(logFile) && readFileSync(logFile).length > 0);
  run.kill('SIGTERM');
  assert.equal(await run.ended, 8);
  assert.match(run.stderr, /^sluice: interrupted before the mount was usable/);
  assert.match(readFileSync(logFile, 'utf8'), /fake stop/);
});

test('background: bad options are found before anything is started', BOUND, async () => {
  const run = fake('serve', 'mount', '/s', '/m', '--background', '--lanes=0');
  assert.equal(await run.ended, 1);
  assert.match(run.stderr, /^sluice: --lanes: 0 /);
});

test('background: the fd of a mounted connection cannot go with it', BOUND, async () => {
  const run = fake('serve', 'mount', '/s', '/dev/fd/3', '--background');
  assert.equal(await run.ended, 1);
  assert.match(run.stderr, /^sluice: --background: \/dev\/fd\/3 belongs to this process/);
});

test('demo plants a tree, says what to try, and removes both folders', BOUND, async () => {
  const run = fake('serve', 'demo');
  await usable(run);
  const [, source = '', mountpoint = ''] =
    /^sluice: (\S+) is mounted on (\S+) \(pid \d+\)$/m.exec(run.stdout) ?? [];
  assert.deepEqual(readdirSync(source).sort(), ['README', 'latest', 'notes', 'squares.csv']);
  assert.match(readFileSync(join(source, 'latest'), 'utf8'), /second/);
  assert.deepEqual(readdirSync(mountpoint), []);
  await until('the instructions', () => /Ctrl-C.*umount/.test(run.stdout));
  run.kill('SIGINT');
  assert.equal(await run.ended, 0);
  assert.equal(existsSync(source), false);
  assert.equal(existsSync(mountpoint), false);
});

test('demo removes its folders after a failed start too', BOUND, async () => {
  const run = fake('refuse', 'demo');
  assert.equal(await run.ended, 32);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('sluice-demo-')),
    [],
  );
});

test('demo with operands is mount, with one it is refused', BOUND, async () => {
  const two = fake('gone', 'demo', '/s', '/m', '--ro');
  assert.equal(await two.ended, 0);
  assert.match(two.stdout, /^sluice: \/s is mounted on \/m \(pid \d+\)\n$/);
  const one = fake('gone', 'demo', '/s');
  assert.equal(await one.ended, 1);
  assert.match(one.stderr, /^sluice: demo: MOUNTPOINT is missing/);
  const background = fake('gone', 'demo', '--background');
  assert.equal(await background.ended, 1);
});

test('help and version', BOUND, async () => {
  const version = new Run(CLI, '', ['--version']);
  assert.equal(await version.ended, 0);
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
  const help = new Run(CLI, '', ['mount', '--help']);
  assert.equal(await help.ended, 0);
  for (const text of [
    'Caching:',
    '--[no-]xattr',
    '--no-open ',
    '--trace[=file]',
    '4K to 1M',
    '32 ',
  ]) {
    assert.ok(help.stdout.includes(text), text);
  }
  assert.equal(help.stderr, '');
});

test('no command and an unknown one are refused in one line', BOUND, async () => {
  const none = new Run(CLI, '', []);
  assert.equal(await none.ended, 1);
  assert.match(none.stderr, /^sluice: no command given; see sluice --help\n$/);
  const unknown = new Run(CLI, '', ['muont']);
  assert.equal(await unknown.ended, 1);
  assert.match(unknown.stderr, /^sluice: unknown command 'muont' \(Did you mean mount\?\).*\n$/);
});
