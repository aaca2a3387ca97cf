import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { OPTION_KEYS } from '../../src/shared/options.ts';
import { missingTool, run } from '../harness/run.ts';
import { filled, plain } from '../tools/roff.ts';
import { MAN_FOLDER, renderManPages } from '../tools/write-man-pages.ts';

const rendered = renderManPages();
const pages = Object.entries(rendered);
const noMan = await missingTool('man');
const noMandoc = await missingTool('mandoc');

suite('the man pages', () => {
  test('are what the options table and the help say', () => {
    for (const [name, text] of pages) {
      const written = readFileSync(join(MAN_FOLDER, name), 'utf8');
      assert.equal(written, text, 'run node dist/test/tools/write-man-pages.js');
    }
  });

  test('name every option', () => {
    for (const name of OPTION_KEYS.keys()) {
      const flag = `\\fB${plain(`--${name.replaceAll('_', '-')}`)}\\fR`;
      assert.ok(rendered['sluice.8']?.includes(flag), flag);
      assert.ok(rendered['mount.sluice.8']?.includes(`\\fB${plain(name)}\\fR`), name);
    }
  });

  test('read well in man(1)', { skip: noMan }, async () => {
    for (const [name] of pages) {
      const args = ['--warnings', '-E', 'UTF-8', '-l', join(MAN_FOLDER, name)];
      const shown = await run('man', args, { env: { ...process.env, MANPAGER: 'cat' } });
      assert.deepEqual([shown.code, shown.stderr], [0, ''], name);
      assert.match(shown.stdout, /EXIT STATUS/);
    }
  });

  test('have nothing that mandoc warns of', { skip: noMandoc }, async () => {
    for (const [name] of pages) {
      const linted = await run('mandoc', ['-T', 'lint', '-W', 'warning', join(MAN_FOLDER, name)]);
      assert.deepEqual([linted.code, linted.stdout], [0, ''], name);
    }
  });

  test('no text of ours is a request or an escape', () => {
    assert.equal(plain(".SH\n'br \\n -"), "\\&.SH\n\\&'br \\en \\-");
    const long = `${'word '.repeat(40)}.dot`;
    const lines = filled(long).split('\n');
    assert.ok(lines.length > 2 && lines.every((line) => line.length <= 78));
    assert.equal(lines.join(' '), `${'word '.repeat(40)}.dot`);
  });
});
