/** Prints which marks a run of the macro benchmark has reached. */
import { Command, InvalidArgumentError } from 'commander';
import { type Column, renderTable } from '../src/main/commands/table.ts';
import { judge, type Verdict } from './macro/marks.ts';
import { readRecord } from './macro/record.ts';
import { headline } from './macro/report.ts';
import { short } from './macro/summary.ts';

interface MarksOptions {
  readonly as: ReadonlyMap<string, string>;
}

function parseAlias(text: string, before: ReadonlyMap<string, string>) {
  const [, name, target] = /^([\w.-]+)=([\w.-]+)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('NAME=TARGET.');
  return new Map([...before, [name, target]]);
}

const COLUMNS: readonly Column<Verdict>[] = [
  { head: 'work', align: 'left', cell: ({ workload }) => workload },
  { head: 'placement', align: 'left', cell: ({ mark }) => mark.placement },
  { head: 'target', align: 'left', cell: ({ mark }) => mark.subject },
  { head: 'against', align: 'left', cell: ({ mark, peer }) => peer ?? mark.against.join(', ') },
  {
    head: 'time',
    align: 'right',
    cell: ({ ratio }) => (ratio === null ? '-' : `x${short(ratio)}`),
  },
  { head: 'at most', align: 'right', cell: ({ mark }) => `x${short(mark.most)}` },
  { head: '', align: 'left', cell: ({ outcome }) => outcome },
];

/** How often each outcome came, without what is in brackets. */
function tally(verdicts: readonly Verdict[]): string {
  const counts = new Map<string, number>();
  for (const { outcome } of verdicts) {
    const [kind] = /^(?:tie \(.*?\)|[a-z ]*[a-z])/.exec(outcome) ?? [outcome];
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return [...counts].map(([kind, count]) => `${count} ${kind}`).join(', ');
}

function main(): void {
  const program = new Command('marks')
    .description('Judges records that bench/macro has written with --json by the marks.')
    .argument('<record...>', 'JSON files')
    .option(
      '--as <name=target>',
      'take a target of the record for the peer NAME; may be repeated',
      parseAlias,
      new Map<string, string>(),
    )
    .parse();
  for (const path of program.args) {
    const record = readRecord(path);
    const verdicts = judge(record, program.opts<MarksOptions>().as);
    console.log(`${headline(record)}\n`);
    console.log(renderTable(COLUMNS, verdicts).join('\n'));
    console.log(`\n${tally(verdicts)}\n`);
  }
}

try {
  main();
} catch (error) {
  console.error(`marks: ${(error as Error).message}`);
  process.exitCode = 1;
}
