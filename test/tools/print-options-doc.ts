/** Prints docs/options.md, made from the option table: `print-options-doc.js > docs/options.md`. */
import { pathToFileURL } from 'node:url';
import { flagTerm } from '../../src/main/commands/arguments.ts';
import { EXIT_MEANINGS } from '../../src/shared/errors.ts';
import {
  describeDefault,
  describeDomain,
  IGNORED_OPTIONS,
  OPTION_KEYS,
  REFUSED_OPTIONS,
  rowOf,
} from '../../src/shared/options.ts';

const HEAD = `# Options

Made from the table in \`src/shared/options.ts\` by \`test/tools/print-options-doc.ts\`; do not edit.

    sluice mount SOURCE MOUNTPOINT [flags] [-o option,option=value,...]
    sluice demo [SOURCE MOUNTPOINT] [flags] [-o ...]

- Every option is a flag (\`--entry-timeout=5\`) and a name in \`-o\` lists (\`-o entry_timeout=5\`). In
  names \`-\` and \`_\` are the same. In a program the name is in camel case: \`entryTimeout\`.
- A boolean alone means true; \`--no-x\` and \`-o no_x\` mean false, and \`=true\` or \`=false\` may follow
  the name. Options whose own name begins with \`no_\` have no second negation: \`--no-open\` switches
  that mode on, \`--no-open=false\` off.
- Numbers and sizes may end in K, M or G, powers of 1024. Durations are seconds, kept to the
  millisecond and rounded up.
- Given twice, the last one counts.
- In \`-o\` lists a backslash takes the next character as it is: \`fsname=a\\,b\`.
- Paths that begin with a dash stand behind \`--\`. Node decodes arguments as UTF-8 before a program
  sees them: a source or mountpoint whose path has other bytes cannot be given. Serve its parent, or
  make a symlink to it with a name that can be written.
`;

const TAIL = `
## Switched off beside others

Each with a warning:

- \`no_open\` unless \`cache=always\`
- \`no_opendir\` with \`cache=never\` and \`cache=auto\`
- \`writeback\` with \`cache=never\`, \`cache=metadata\`, \`ro\` and \`seal_size\`
- \`trace\` to stderr with \`background\`: there is no stderr; \`trace=FILE\` works
- \`suid\` and \`dev\` for anybody but root

## setuid programs and device nodes

A mount of root honours setuid programs and device nodes, as a bind mount of the same directory
would: \`-o nosuid,nodev\` takes that away. A mount of anybody else is always nosuid and nodev.
`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function optionTables(): string {
  const groups = new Map<string, string[][]>();
  for (const [name, key] of OPTION_KEYS) {
    const row = rowOf(key);
    const cells = [
      `\`${flagTerm(row)}\``,
      `\`${name}\``,
      `\`${key}\``,
      describeDomain(row),
      describeDefault(row),
      row.help,
    ];
    groups.set(row.group, [...(groups.get(row.group) ?? []), cells]);
  }
  const head = ['Flag', '-o', 'In a program', 'Value', 'Default', 'What it does'];
  return [...groups].map(([group, rows]) => `\n## ${group}\n\n${table(head, rows)}\n`).join('');
}

function otherNames(): string {
  const ignored = IGNORED_OPTIONS.map((name) => `\`${name}\``).join(', ');
  const refused = [...REFUSED_OPTIONS].map(([name, reason]) => `- \`${name}\`: ${reason}`);
  return `
## Names from mount(8) and fstab

Accepted in \`-o\` lists without effect: ${ignored}, \`subtype=sluice\` and whatever begins with
\`x-\`. \`rw\` is \`no_ro\`, \`async\` is \`no_sync\`; \`nosuid\`, \`nodev\`, \`noexec\`, \`nosync\`, \`nodirsync\`
and \`noatime\` are the negations of the options of those names.

Refused:

${refused.join('\n')}
`;
}

function exitTable(): string {
  const rows = EXIT_MEANINGS.map(([code, meaning]) => [String(code), meaning]);
  return `\n## Exit status\n\nAs mount(8) has it.\n\n${table(['Status', 'Meaning'], rows)}\n`;
}

/** The whole text of docs/options.md. */
export function renderOptionsDoc(): string {
  return HEAD + optionTables() + TAIL + otherNames() + exitTable();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.stdout.write(renderOptionsDoc());
}
