import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lintSource } from './lint-imports.ts';

/** rule, file, violating line, and a line that is like it and allowed. */
const cases: readonly (readonly [rule: string, file: string, bad: string, good: string])[] = [
  [
    'shared-is-below',
    'src/shared/options.ts',
    `import { x } from '../main/daemon.ts';`,
    `import { x } from './errors.ts';`,
  ],
  [
    'shared-is-below',
    'src/shared/log.ts',
    `export type { Lane } from '../workers/lane.ts';`,
    `export type { Level } from './options.ts';`,
  ],
  [
    'abi-alone',
    'src/shared/abi/opcodes.ts',
    `import { open } from '../sys/libc.ts';`,
    `import * as s from './structs.ts';`,
  ],
  [
    'abi-alone',
    'src/shared/abi/opcodes.ts',
    `import { readFileSync } from 'node:fs';`,
    `import { ERRNO } from './errno.ts';`,
  ],
  [
    'sys-without-fuse',
    'src/shared/sys/mountinfo.ts',
    `import { OP } from '../abi/opcodes.ts';`,
    `import { SluiceError } from '../errors.ts';`,
  ],
  [
    'memory-knows-layouts',
    'src/shared/memory/inode-table.ts',
    `import { OP } from '../abi/opcodes.ts';`,
    `import { addressOf } from '../sys/libc.ts';`,
  ],
  [
    'memory-knows-layouts',
    'src/shared/memory/inode-table.ts',
    `import { lookup } from '../passthrough/names.ts';`,
    `import { lock } from './lock.ts';`,
  ],
  [
    'passthrough-meets',
    'src/shared/passthrough/names.ts',
    `import { x } from '../other/file.ts';`,
    `import { x } from '../options.ts';`,
  ],
  [
    'workers-on-shared',
    'src/workers/lane.ts',
    `import { x } from '../main/dispatch/policy.ts';`,
    `import { x } from '../shared/memory/work-rings.ts';`,
  ],
  [
    'session-off-backing',
    'src/main/session/init.ts',
    `const x = await import('../../shared/passthrough/names.ts');`,
    `const x = await import('../../shared/abi/flags.ts');`,
  ],
  [
    'thread-files',
    'src/shared/options.ts',
    `const file = new URL('./errors.ts', import.meta.url);`,
    `const file = new URL('./defaults.json', import.meta.url);`,
  ],
  [
    'thread-files',
    'src/main/daemon.ts',
    `const file = new URL('./cli.js', import.meta.url);`,
    `const file = new URL('../workers/lane.js', import.meta.url);`,
  ],
  [
    'src-alone',
    'src/main/cli.ts',
    `import { x } from '../../test/harness/run.ts';`,
    `import { x } from './daemon.ts';`,
  ],
  ['src-alone', 'src/main/cli.ts', `import '../../bench/run.ts';`, `import './commands/mount.ts';`],
  [
    'koffi-in-libc',
    'src/main/session/mount.ts',
    `import koffi from 'koffi';`,
    `import { mount } from '../../shared/sys/libc.ts';`,
  ],
  [
    'koffi-in-libc',
    'test/abi/header.test.ts',
    `const koffi = require('koffi/indirect');`,
    `const other = require('koffi-like');`,
  ],
  [
    'prom-client-in-metrics',
    'src/main/daemon.ts',
    `import { Gauge } from 'prom-client';`,
    `import { Piscina } from 'piscina';`,
  ],
  [
    'pino-in-log',
    'src/workers/lane.ts',
    `import pino from 'pino';`,
    `import { log } from '../shared/log.ts';`,
  ],
  ['node-prefix', 'src/main/cli.ts', `import fs from 'fs';`, `import fs from 'node:fs';`],
  [
    'node-prefix',
    'bench/run.ts',
    `export { readFile } from 'fs/promises';`,
    `export { readFile } from 'node:fs/promises';`,
  ],
  [
    'computed-name',
    'src/main/cli.ts',
    'const x = await import(`./commands/$' + '{name}.ts`);',
    `const x = await import('./commands/mount.ts');`,
  ],
  ['ascii', 'bench/run.ts', 'const unit = "\u00b5s";', 'const unit = "\\u00b5s";'],
];

for (const [rule, file, bad, good] of cases) {
  test(`${rule}: ${file} must not say ${bad.replace(/[^ -~]/g, '?')}`, () => {
    const found = lintSource(file, `// first line\n${bad}\n`);
    assert.deepEqual(
      found.map((violation) => [violation.rule, violation.line]),
      [[rule, 2]],
    );
    assert.match(found[0]?.reason ?? '', /\w{3}/);
    assert.deepEqual(lintSource(file, `// first line\n${good}\n`), []);
  });
}

const owners: readonly (readonly [file: string, line: string])[] = [
  ['src/shared/sys/libc.ts', `import koffi from 'koffi';`],
  ['src/main/metrics.ts', `import { Gauge } from 'prom-client';`],
  ['src/workers/exporter.ts', `import { Gauge } from 'prom-client';`],
  ['src/shared/log.ts', `import pino from 'pino';`],
];

for (const [file, line] of owners) {
  test(`${file} may say ${line}`, () => {
    assert.deepEqual(lintSource(file, line), []);
  });
}

test('a statement over several lines is found, and the line of the name is told', () => {
  const text = [
    'import {',
    '  first, // the one',
    "  type Second, /* from 'nowhere' */",
    '}',
    "from '../main/daemon.ts';",
  ].join('\n');
  const found = lintSource('src/shared/log.ts', text);
  assert.deepEqual(
    found.map((violation) => [violation.rule, violation.line]),
    [['shared-is-below', 5]],
  );
});

test('every form of import in one line is found', () => {
  const text = `import a, { b as c } from 'fs';import * as d from "os";export * from 'path';import 'url';`;
  const found = lintSource('src/main/cli.ts', text);
  assert.deepEqual(
    found.map((violation) => violation.rule),
    ['node-prefix', 'node-prefix', 'node-prefix', 'node-prefix'],
  );
});

test('comments, strings, templates and regular expressions are no imports', () => {
  const text = [
    `// import fs from 'fs';`,
    `/* import fs from 'fs'; */`,
    `const a = "import fs from 'fs'";`,
    "const b = `import fs from 'fs'`;",
    `const c = /'/.test(a) && /[/']/.test(a);`,
    `const d = 6 / 3 / 2;`,
    `export const e = { from: 'fs' };`,
    `const f = table.import('fs');`,
  ].join('\n');
  assert.deepEqual(lintSource('src/main/cli.ts', text), []);
});

test('an import behind a regular expression with a quote is seen', () => {
  const text = `const c = /'/.test(a);\nimport fs from 'fs';\n`;
  assert.deepEqual(
    lintSource('src/main/cli.ts', text).map((violation) => violation.line),
    [2],
  );
});
