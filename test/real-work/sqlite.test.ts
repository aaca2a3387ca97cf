import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startMount } from '../harness/mount.ts';
import { missingTool, runOk } from '../harness/run.ts';
import { seconds } from '../harness/seconds.ts';
import { tempDirs } from '../harness/temp-dir.ts';

const INSERTS = 20_000;
const INSERTS_PER_TRANSACTION = 500;
const WRITERS = [1, 2];
const TRANSACTIONS_PER_WRITER = 60;
const INSERTS_PER_SMALL_TRANSACTION = 10;
const TIMEOUT_MS = 120_000;

type Journal = 'wal' | 'delete';

/** What every connection says first; a writer waits for the other's lock. */
const BUSY = '.bail on\n.timeout 60000\n';

/** `count` rows whose contents follow from writer and number. */
function insert(writer: number, first: number, count: number): string {
  return `BEGIN IMMEDIATE;
    WITH RECURSIVE c(n) AS (SELECT ${first} UNION ALL SELECT n + 1 FROM c WHERE n < ${first + count - 1})
    INSERT INTO item SELECT ${writer}, n, 'row ' || n, zeroblob(n % 300), n * 0.5 FROM c;
    COMMIT;
  `;
}

function script(writer: number, total: number, perTransaction: number): string {
  const firsts = Array.from(
    { length: Math.ceil(total / perTransaction) },
    (_, index) => index * perTransaction,
  );
  return firsts.map((first) => insert(writer, first, perTransaction)).join('');
}

async function sqlite(database: string, statements: string): Promise<string> {
  const { stdout } = await runOk('sqlite3', [database], {
    input: BUSY + statements,
    timeoutMs: TIMEOUT_MS,
  });
  return stdout.trim();
}

/** Makes a database, fills it, writes to it from two processes at once, changes and checks it. */
async function work(directory: string, journal: Journal): Promise<string> {
  const database = join(directory, 'test.db');
  const mode = await sqlite(database, `PRAGMA journal_mode = ${journal};`);
  assert.equal(mode, journal);
  await sqlite(
    database,
    `CREATE TABLE item (writer INTEGER, n INTEGER, name TEXT, body BLOB, half REAL,
       PRIMARY KEY (writer, n)) WITHOUT ROWID;
     CREATE INDEX item_name ON item (name, writer);`,
  );
  await sqlite(database, script(0, INSERTS, INSERTS_PER_TRANSACTION));
  const small = TRANSACTIONS_PER_WRITER * INSERTS_PER_SMALL_TRANSACTION;
  await Promise.all(
    WRITERS.map((writer) => sqlite(database, script(writer, small, INSERTS_PER_SMALL_TRANSACTION))),
  );
  await sqlite(
    database,
    `BEGIN; DELETE FROM item WHERE n % 7 = 3; COMMIT;
     BEGIN; UPDATE item SET name = 'lost'; ROLLBACK;
     VACUUM;`,
  );
  return sqlite(
    database,
    `PRAGMA integrity_check;
     SELECT writer, count(*), sum(n), sum(length(body)), sum(half) FROM item GROUP BY writer;
     SELECT * FROM item WHERE n % 97 = 0 ORDER BY writer, n;`,
  );
}

async function compare(t: TestContext, journal: Journal): Promise<void> {
  const missing = await missingTool('sqlite3');
  if (missing !== undefined) return t.skip(missing);
  const [plain, source] = (await tempDirs('plain', 'source')) as [string, string];
  const mount = await startMount({ source });
  const plainStart = performance.now();
  const expected = await work(plain, journal);
  const mountStart = performance.now();
  const actual = await work(mount.mountpoint, journal);
  const end = performance.now();
  assert.match(expected, /^ok\n/);
  assert.equal(actual, expected);
  const behind = await sqlite(join(source, 'test.db'), 'PRAGMA integrity_check;');
  assert.equal(behind, 'ok');
  t.diagnostic(
    `journal ${journal}, ${INSERTS} inserts and two writers: ` +
      `plain ${seconds(mountStart - plainStart)}, mount ${seconds(end - mountStart)}`,
  );
  await mount.stop();
}

for (const journal of ['wal', 'delete'] as const) {
  test(`sqlite3 with journal mode ${journal}`, { timeout: 300_000 }, (t) => compare(t, journal));
}
