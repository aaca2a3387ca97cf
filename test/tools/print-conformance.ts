/**
 * Prints docs/conformance.md from the result file of a run of test/posix.
 * Usage: print-conformance.js RESULTS.json
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { Judgement, Verdict } from '../posix/judge.ts';
import type { RunResults } from '../posix/results.ts';
import { markdownTable } from './markdown.ts';

/** What a run cannot show on the machines it was made for, and what stands for it. */
const NOT_TESTABLE: readonly string[] = [
  'quotas of ext4, xfs and tmpfs: the kernel has none of QFMT_V2, XFS_QUOTA and TMPFS_QUOTA (EDQUOT is shown on btrfs)',
  'SELinux labels: the kernel was started without SELinux (golden bytes instead)',
  'NFS below the mount: no server',
  'SYNCFS from the kernel: Linux sends it to virtiofs only (golden bytes instead)',
  'directory cookies beyond 2^63 of a disk file system: none here has them (a small FUSE server hands them out in test/directories)',
  "pjdfstest's `granular` family: NFSv4 ACLs, which Linux does not have",
];

interface Row {
  /** Variants tried, by file system. */
  readonly cells: Map<string, Cell>;
}

interface Cell {
  readonly variants: Set<string>;
  readonly verdicts: Map<Verdict, number>;
}

function split(name: string): { family: string; behaviour: string } {
  const slash = name.indexOf('/');
  const title = name.slice(slash + 1);
  const end = title.lastIndexOf(': ');
  return { family: name.slice(0, slash), behaviour: end < 0 ? title : title.slice(0, end) };
}

function count(cell: Cell, { name, verdict }: Judgement): void {
  cell.variants.add(name);
  cell.verdicts.set(verdict, (cell.verdicts.get(verdict) ?? 0) + 1);
}

/** Families, their behaviours, and what came of these on each file system. */
function collect(results: RunResults): Map<string, Map<string, Row>> {
  const families = new Map<string, Map<string, Row>>();
  for (const { fileSystem, judgements } of results.configurations) {
    for (const judgement of judgements) {
      const { family, behaviour } = split(judgement.name);
      const rows = families.get(family) ?? new Map<string, Row>();
      families.set(family, rows);
      const row = rows.get(behaviour) ?? { cells: new Map() };
      rows.set(behaviour, row);
      const cell = row.cells.get(fileSystem) ?? { variants: new Set(), verdicts: new Map() };
      row.cells.set(fileSystem, cell);
      count(cell, judgement);
    }
  }
  return families;
}

const WORDS: readonly (readonly [Verdict, string])[] = [
  ['fails', 'fail'],
  ['known', 'known'],
  ['as backing', 'as backing'],
  ['not here', 'not here'],
];

function showCell(cell: Cell | undefined): string {
  if (cell === undefined) return '';
  const rest = WORDS.filter(([verdict]) => cell.verdicts.has(verdict)).map(
    ([verdict, word]) => `${cell.verdicts.get(verdict)} ${word}`,
  );
  return [String(cell.verdicts.get('holds') ?? 0), ...rest].join(', ');
}

function familySection(family: string, rows: Map<string, Row>, kinds: readonly string[]): string {
  const lines = [...rows].map(([behaviour, { cells }]) => {
    const variants = Math.max(...[...cells.values()].map((cell) => cell.variants.size));
    return [behaviour, String(variants), ...kinds.map((kind) => showCell(cells.get(kind)))];
  });
  return `## ${family}\n\n${markdownTable(['Behaviour', 'Variants', ...kinds], lines)}`;
}

/** Behaviours of one verdict with their reason and where they were seen. */
function listed(results: RunResults, verdict: Verdict): string {
  const places = new Map<string, Set<string>>();
  for (const { fileSystem, flags, judgements } of results.configurations) {
    for (const { name, detail, verdict: found } of judgements) {
      if (found !== verdict) continue;
      const reason = (detail ?? '').split('\n').slice(0, 3).join('; ').trim();
      const key = verdict === 'fails' ? name : `${name}: ${reason}`;
      const where = verdict === 'known' ? 'known' : `${fileSystem} ${flags.join(' ')}`.trim();
      const kept = verdict === 'as backing' || verdict === 'not here' ? fileSystem : where;
      places.set(key, (places.get(key) ?? new Set()).add(kept));
    }
  }
  if (places.size === 0) return 'None.';
  return [...places]
    .map(([key, where]) =>
      verdict === 'known' ? `- ${key}` : `- ${key} (${[...where].join('; ')})`,
    )
    .join('\n');
}

function configurationLines(results: RunResults): string {
  return results.configurations
    .map(({ fileSystem, flags, judgements }) => {
      const failed = judgements.filter(({ verdict }) => verdict === 'fails').length;
      const shown = flags.length === 0 ? 'defaults' : `\`${flags.join(' ')}\``;
      return `| ${fileSystem} | ${shown} | ${judgements.length} | ${failed} |`;
    })
    .join('\n');
}

/** The whole text of docs/conformance.md. */
export function renderConformance(results: RunResults): string {
  const kinds = [...new Set(results.configurations.map(({ fileSystem }) => fileSystem))];
  const families = [...collect(results)].map(([family, rows]) =>
    familySection(family, rows, kinds),
  );
  const matrix = results.isFull
    ? 'every combination of the options'
    : 'a choice of configurations in which every two values meet';
  const rest = results.isFull ? [] : ['all other combinations of the options: `npm run test:full`'];
  const notRun = [...rest, ...results.notRun, ...NOT_TESTABLE].map((line) => `- ${line}`);
  return `# Conformance

Made by \`test/tools/print-conformance.ts\` from a run of \`test/posix/\`; do not edit.

Commit ${results.commit}, ${results.date}, ${results.machine}. The run took ${matrix}.

A behaviour runs first on a plain directory, where its expectations have to hold, then on the mount,
where they have to hold too and all that was seen (every result, errno and attribute) has to be
equal. The cells count variants times configurations: what holds; then what *fails*; what differs as
on every FUSE mount (*known*); what the backing file system does not have, and the mount does the
same (*as backing*); what could not be tried (*not here*).

## Configurations

| Backing | Flags | Behaviours | Failed |
| --- | --- | --- | --- |
${configurationLines(results)}

${families.join('\n\n')}

## Failed

${listed(results, 'fails')}

## Known differences of every FUSE mount

${listed(results, 'known')}

## What the backing does not have

${listed(results, 'as backing')}

## Not tried

${listed(results, 'not here')}

## Not run, not testable on this machine

${notRun.join('\n')}
`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const file = process.argv[2];
  if (file === undefined) {
    process.stderr.write('usage: print-conformance.js RESULTS.json\n');
    process.exitCode = 1;
  } else {
    process.stdout.write(renderConformance(JSON.parse(readFileSync(file, 'utf8')) as RunResults));
  }
}
