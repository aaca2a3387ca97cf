/** `sluice check [SOURCE]`. */
import { EXIT, type ExitCode, oneLine } from '../../shared/errors.ts';
import { checkHost } from '../check/host.ts';
import type { CheckRow } from '../check/rows.ts';
import { checkBacking } from '../check/source.ts';
import { writeOutput } from './output.ts';

/** Version of the form of `--json`. */
const JSON_VERSION = 1;
const STATE_WIDTH = 'problem'.length;

/**
 * Says whether this host can mount, and what to change.
 *
 * @param source also says what the file system behind this directory can do
 * @returns 0 when mounting will work, else 1
 */
export async function runCheck(
  source: string | undefined,
  { json }: { json: boolean },
): Promise<ExitCode> {
  const rows = [...checkHost(), ...(source === undefined ? [] : checkBacking(source))];
  const problems = rows.filter(({ state }) => state === 'problem').length;
  const lines = json
    ? [JSON.stringify({ version: JSON_VERSION, ok: problems === 0, rows })]
    : [...describe(rows), '', verdict(problems)];
  await writeOutput(`${lines.join('\n')}\n`);
  return problems === 0 ? EXIT.ok : EXIT.usage;
}

function describe(rows: readonly CheckRow[]): string[] {
  const whatWidth = Math.max(...rows.map(({ what }) => what.length));
  const indent = ' '.repeat(STATE_WIDTH + whatWidth + 4);
  return rows.flatMap(({ what, state, found, change }) => [
    oneLine(`${state.padEnd(STATE_WIDTH)}  ${what.padEnd(whatWidth)}  ${found}`),
    ...(change === null ? [] : [oneLine(`${indent}${change}`)]),
  ]);
}

function verdict(problems: number): string {
  if (problems === 0) return 'sluice can mount here';
  return `sluice cannot mount here: ${problems === 1 ? 'one problem' : `${problems} problems`}`;
}
