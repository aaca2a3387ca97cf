/** Prints what changed between two records of the macro benchmark. */
import { Command } from 'commander';
import { type Column, renderTable } from '../src/main/commands/table.ts';
import { type Cell, findCell, readRecord } from './macro/record.ts';
import { headline, PLACEMENT_TEXT } from './macro/report.ts';
import { isTie, short, spreadText, timeOf } from './macro/summary.ts';

/** The same workload on the same target, in both records. */
interface Pair {
  readonly before: Cell;
  readonly after: Cell;
}

function verdict({ before, after }: Pair): string {
  if (isTie(timeOf(before), timeOf(after))) return 'tie';
  return timeOf(after).median < timeOf(before).median ? 'faster' : 'slower';
}

const COLUMNS: readonly Column<Pair>[] = [
  { head: 'us per operation', align: 'left', cell: ({ after }) => after.workload },
  { head: 'target', align: 'left', cell: ({ after }) => after.target },
  { head: 'before', align: 'left', cell: ({ before }) => spreadText(timeOf(before)) },
  { head: 'after', align: 'left', cell: ({ after }) => spreadText(timeOf(after)) },
  {
    head: 'after/before',
    align: 'right',
    cell: ({ before, after }) => `x${short(timeOf(after).median / timeOf(before).median)}`,
  },
  { head: '', align: 'left', cell: verdict },
];

function main(): void {
  const program = new Command('compare')
    .description('Compares two records that bench/macro has written with --json.')
    .argument('<before>', 'JSON file')
    .argument('<after>', 'JSON file')
    .parse();
  const [before, after] = (program.processedArgs as string[]).map(readRecord);
  console.log(`before: ${headline(before)}\nafter:  ${headline(after)}`);
  console.log('\nMedian (least-most) of the rounds; tie: the spreads meet.');
  if (before.fs !== after.fs) console.log(`NOT ALIKE: ${before.fs} and ${after.fs}`);
  for (const placement of after.placements) {
    const pairs = after.cells.flatMap((cell): Pair[] => {
      if (cell.placement !== placement || cell.rounds.length === 0) return [];
      const found = findCell(before, cell.workload, placement, cell.target);
      return found === undefined ? [] : [{ before: found, after: cell }];
    });
    console.log(`\n${PLACEMENT_TEXT[placement]}\n`);
    if (pairs.length === 0) console.log('nothing that both have measured');
    else console.log(renderTable(COLUMNS, pairs).join('\n'));
  }
}

try {
  main();
} catch (error) {
  console.error(`compare: ${(error as Error).message}`);
  process.exitCode = 1;
}
