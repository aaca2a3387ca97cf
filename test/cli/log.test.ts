import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { describeFailure, EXIT_MEANINGS, oneLine, SluiceError } from '../../src/shared/errors.ts';
import {
  createLogger,
  type LoggerSettings,
  logOnce,
  logSinkOf,
  mountIdOf,
} from '../../src/shared/log.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-log-'));
after(() => rmSync(folder, { recursive: true }));

let files = 0;

function settings(given: Partial<LoggerSettings> = {}): LoggerSettings & { logFile: string } {
  const logFile = join(folder, `${files++}.log`);
  return { mountId: 'the-id', logLevel: 'info', logFormat: 'auto', ...given, logFile };
}

function linesOf(path: string): Record<string, unknown>[] {
  const text = readFileSync(path, 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test('a line is out at once, with the mount, the level as text and an ISO time', () => {
  const given = settings();
  createLogger(given).info({ count: 3 }, 'hello');
  const [line] = linesOf(given.logFile);
  assert.deepEqual(
    { ...line, time: undefined },
    { level: 'info', mount: 'the-id', count: 3, msg: 'hello', time: undefined },
  );
  assert.match(String(line?.['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test('lines below the level are not written, and a file is appended to', () => {
  const given = settings({ logLevel: 'warn' });
  createLogger(given).info('no');
  createLogger(given).warn('yes');
  createLogger(given).error('yes too');
  assert.deepEqual(
    linesOf(given.logFile).map((line) => line['msg']),
    ['yes', 'yes too'],
  );
});

test('pretty is for people, at once, and still names the mount', () => {
  const given = settings({ logFormat: 'pretty' });
  createLogger(given).warn({ count: 3 }, 'hello');
  const text = readFileSync(given.logFile, 'utf8');
  assert.match(text, /WARN.*hello.*the-id/);
  assert.throws(() => JSON.parse(text));
});

test('a log on a full disk fails nobody', () => {
  for (const logFormat of ['json', 'pretty'] as const) {
    const logger = createLogger({ ...settings({ logFormat }), logFile: '/dev/full' });
    // The second one meets the first, which waits.
    for (let i = 0; i < 3; i++) logger.warn('hello');
  }
});

test('loggers of one file share its descriptor, until the file is another one', () => {
  const given = settings();
  const open = () => logSinkOf(createLogger(given))?.fd;
  const first = open();
  assert.equal(open(), first);
  renameSync(given.logFile, `${given.logFile}.1`);
  assert.notEqual(open(), first);
});

test('the id can be read back', () => {
  assert.equal(mountIdOf(createLogger(settings())), 'the-id');
});

test('a log file that cannot be opened is one line', () => {
  const logFile = join(folder, 'missing', 'x');
  assert.throws(
    () => createLogger({ ...settings(), logFile }),
    (error) =>
      error instanceof SluiceError && error.exitCode === 1 && /log_file/.test(error.message),
  );
});

test('logOnce says a thing once, counts the rest, and sums up', () => {
  const given = settings();
  const once = logOnce(createLogger(given));
  for (let turn = 0; turn < 5; turn++) {
    once.log('warn', 'full', { turn }, 'table full');
  }
  once.log('error', 'single', {}, 'single');
  assert.equal(once.repeats('full'), 4);
  assert.equal(once.repeats('single'), 0);
  assert.equal(once.repeats('never'), 0);
  once.summarise();
  const lines = linesOf(given.logFile);
  assert.deepEqual(
    lines.map((line) => line['msg']),
    ['table full', 'single', 'events that were logged once'],
  );
  assert.equal(lines[0]?.['turn'], 0);
  assert.deepEqual(lines[2]?.['repeats'], { full: 4 });
});

test('no summary without repeats', () => {
  const given = settings();
  const once = logOnce(createLogger(given));
  once.log('info', 'a', {}, 'a');
  once.summarise();
  assert.equal(linesOf(given.logFile).length, 1);
});

test('an error has a code, an exit status and its cause, in one line', () => {
  const cause = new Error('below');
  const error = new SluiceError('ERR_SLUICE_MOUNT', 'a\nb\u001b[1m', { cause });
  assert.equal(error.message, 'a\\x0ab\\x1b[1m');
  assert.equal(error.exitCode, 32);
  assert.equal(error.cause, cause);
  assert.deepEqual(describeFailure(error), { line: `sluice: ${error.message}`, exitCode: 32 });
});

test('what is no SluiceError is a defect', () => {
  const { line, exitCode } = describeFailure(new TypeError('x is\nnot a function'));
  assert.equal(exitCode, 4);
  assert.match(line, /^sluice: internal error: x is\\x0anot a function; please report it$/);
  assert.equal(describeFailure('text').exitCode, 4);
});

test('the exit statuses are those of mount(8)', () => {
  assert.deepEqual(
    EXIT_MEANINGS.map(([code]) => code),
    [0, 1, 2, 4, 8, 32],
  );
});

test('names in other scripts stay as they are', () => {
  assert.equal(oneLine('caf\u00e9 \u4e2d'), 'caf\u00e9 \u4e2d');
});
