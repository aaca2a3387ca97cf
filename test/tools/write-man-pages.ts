/**
 * Writes docs/man/sluice.8 and docs/man/mount.sluice.8, made from the option table and from what the
 * command says of itself: `write-man-pages.js`.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { flagOf, isNegatable } from '../../src/main/commands/arguments.ts';
import { variableOf } from '../../src/main/config/variables.ts';
import { EXIT_MEANINGS } from '../../src/shared/errors.ts';
import {
  describeDefault,
  describeDomain,
  IGNORED_OPTIONS,
  OPTION_KEYS,
  type OptionRow,
  REFUSED_OPTIONS,
  rowOf,
} from '../../src/shared/options.ts';
import { cliPath, projectRoot } from '../harness/paths.ts';
import { bold, definitions, example, filled, italic, plain, section, subsection } from './roff.ts';

/** When the words of the pages changed last. */
const DATE = '2026-11-25';

type Term = readonly [term: string, text: string];

function helpOf(...command: string[]): string {
  return spawnSync(process.execPath, [cliPath, ...command, '--help'], { encoding: 'utf8' }).stdout;
}

/** The two columns below a heading of a help text; a text may go on in the lines behind. */
function columns(help: string, heading: string): Term[] {
  const lines = help.split('\n');
  const begin = lines.indexOf(`${heading}:`) + 1;
  if (begin === 0) throw new Error(`the help has no ${heading}`);
  const end = lines.indexOf('', begin);
  const rows: [string, string][] = [];
  for (const line of lines.slice(begin, end)) {
    const [, term, text] = /^ {2}(\S.*?) {2,}(\S.*)$/.exec(line) ?? [];
    const last = rows.at(-1);
    if (term !== undefined && text !== undefined) rows.push([term, text]);
    else if (last !== undefined) last[1] += ` ${line.trim()}`;
  }
  return rows;
}

function header(name: string): string {
  const { version } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as {
    version: string;
  };
  return `.\\" Made by test/tools/write-man-pages.ts; do not edit.
.TH ${name.toUpperCase()} 8 ${DATE} "sluice ${version}" "System administration"
`;
}

/** The option as a page names it: a flag, or a name in a list. */
type Spelling = (row: OptionRow) => string;

const asFlag: Spelling = (row) => {
  const flag = flagOf(row);
  return isNegatable(row) ? `${bold(flag.replace('--', '--no-'))}, ${bold(flag)}` : bold(flag);
};

const asListItem: Spelling = (row) =>
  isNegatable(row) ? `${bold(`no_${row.name}`)}, ${bold(row.name)}` : bold(row.name);

const SWITCHES = ['bool', 'mountFlag', 'trace'];

function meaning(row: OptionRow): string {
  const domain = SWITCHES.includes(row.kind) ? '' : `; ${describeDomain(row)}`;
  return `${row.help}${domain} (default: ${describeDefault(row)})`;
}

function valueTerm(row: OptionRow): string {
  if (row.kind === 'trace') return `[=${italic('FILE')}]`;
  return SWITCHES.includes(row.kind) ? '' : `=${italic('VALUE')}`;
}

/** Every option, in the groups of the help. */
function options(spell: Spelling): string {
  const groups = new Map<string, Term[]>();
  for (const key of OPTION_KEYS.values()) {
    const row = rowOf(key);
    groups.set(row.group, [
      ...(groups.get(row.group) ?? []),
      [spell(row) + valueTerm(row), meaning(row)],
    ]);
  }
  return [...groups].map(([group, terms]) => subsection(group, definitions(terms))).join('');
}

function boldTerms(terms: readonly Term[]): string {
  return definitions(terms.map(([term, text]) => [bold(term), text]));
}

function exitStatus(): string {
  return boldTerms(EXIT_MEANINGS.map(([code, text]) => [String(code), text]));
}

/** Pages of section 8, by name. */
function seeAlso(...pages: readonly string[]): string {
  return section('SEE ALSO', pages.map((page) => `${bold(page)}(8)`).join(',\n'));
}

function mainPage(): string {
  const commands = columns(helpOf(), 'Commands');
  return (
    header('sluice') +
    section('NAME', `sluice \\- ${plain('serve a directory tree at another place')}`) +
    section(
      'SYNOPSIS',
      `.nf
${bold('sluice mount')} ${italic('SOURCE MOUNTPOINT')} [${italic('FLAG')} ...] [${bold('-o')} ${italic('LIST')}]
${bold('mount -t sluice')} [${bold('-o')} ${italic('LIST')}] ${italic('SOURCE MOUNTPOINT')}
.fi`,
    ) +
    section(
      'DESCRIPTION',
      `${bold('sluice mount')}\n${filled(
        'makes the files of SOURCE appear at MOUNTPOINT. It is a FUSE file system: every operation on them passes through this program, which serves until it gets a signal or until the mount is unmounted. When the mount is usable it prints one line; with --background it returns then.',
      )}`,
      filled('It needs root, or fusermount3(1); and /dev/fuse.'),
    ) +
    section('COMMANDS', boldTerms(commands)) +
    section(
      'OPTIONS',
      filled(
        'Those of `sluice mount`. Every option is a flag and a name in the list of -o, with _ for -: --entry-timeout=5 is -o entry_timeout=5. Numbers and sizes may end in K, M or G, powers of 1024; durations are in seconds. Given twice, the last one counts. Paths that begin with a dash stand behind --.',
      ),
      options(asFlag).trimEnd(),
    ) +
    section('SIGNALS', boldTerms(columns(helpOf('mount'), 'Signals'))) +
    section('EXIT STATUS', plain('That of mount(8).'), exitStatus()) +
    section(
      'ENVIRONMENT',
      boldTerms([
        [
          variableOf('name'),
          'The option of that name, in capitals. A flag and -o count more, the file of --config less.',
        ],
        [
          'NOTIFY_SOCKET, WATCHDOG_USEC',
          'Set by systemd(1) for a unit of Type=notify: it is told when the mount is usable and when it stops, and its watchdog is fed while the main loop turns.',
        ],
        [
          'JOURNAL_STREAM',
          'Set by systemd(1): with --background and without log_file the logs go to the journal.',
        ],
      ]),
    ) +
    section(
      'FILES',
      boldTerms([
        ['/dev/fuse', 'The kernel side of every FUSE file system.'],
        ['/etc/fuse.conf', 'user_allow_other lets users other than root give allow_other.'],
        ['/etc/sluice/NAME.toml', 'What sluice@NAME.service mounts, and how.'],
        [
          '/run/sluice, $XDG_RUNTIME_DIR/sluice',
          'Sockets through which status, top and umount reach the daemons of root and of other users.',
        ],
      ]),
    ) +
    section(
      'EXAMPLES',
      example(`sluice mount /srv/data /mnt/data
sluice mount /srv/data /mnt/data -o ro,allow_other
sluice mount --background --log-file=/var/log/sluice.log /srv/data /mnt/data`),
    ) +
    section(
      'NOTES',
      filled(
        'A mount whose daemon was killed answers "Transport endpoint is not connected": umount -l MOUNTPOINT takes it away.',
      ),
    ) +
    seeAlso('mount.sluice', 'mount', 'umount', 'mount.fuse3')
  );
}

const HELPER_FLAGS: readonly Term[] = [
  ['-o LIST', 'The options below, and those of mount(8).'],
  ['-s', 'Sloppy: names in the list that nobody knows are passed over.'],
  ['-f', 'Fake: check everything that can be checked without mounting, and mount nothing.'],
  ['-v', 'Say what is mounted.'],
  ['-N NAMESPACE', 'Mount in the mount namespace of a process, given by its id or by a file.'],
  ['-n, -t TYPE', 'Accepted, and without effect.'],
];

function helperPage(): string {
  const refused = [...REFUSED_OPTIONS];
  return (
    header('mount.sluice') +
    section('NAME', `mount.sluice \\- ${plain('mount a directory tree through sluice')}`) +
    section(
      'SYNOPSIS',
      `.nf
${bold('mount -t sluice')} [${bold('-fnsv')}] [${bold('-o')} ${italic('LIST')}] ${italic('SOURCE MOUNTPOINT')}
${bold('mount.sluice')} ${italic('SOURCE MOUNTPOINT')} [${bold('-fnsv')}] [${bold('-N')} ${italic('NAMESPACE')}] [${bold('-o')} ${italic('LIST')}]
.fi`,
    ) +
    section(
      'DESCRIPTION',
      filled(
        'mount.sluice is what mount(8) runs for the types sluice and fuse.sluice, also for lines of fstab(5). It starts sluice(8) in the background and returns when the mount is usable; when it is not, with the reason and the exit status of the daemon. umount(8) unmounts, and the daemon ends.',
      ),
      filled(
        'Logs go to the file that log_file names. Without it they go to the journal where systemd(1) mounts, and are dropped elsewhere. With no_background the helper serves itself, and returns when the mount is gone.',
      ),
    ) +
    section('OPTIONS', boldTerms(HELPER_FLAGS)) +
    section(
      'MOUNT OPTIONS',
      plain('In names - and _ are the same. A backslash takes the next character as it is.'),
      options(asListItem).trimEnd(),
      subsection(
        'Names of mount(8)',
        filled(
          `Accepted without effect: ${IGNORED_OPTIONS.join(', ')}, subtype=sluice and whatever begins with x-. rw is no_ro, async is no_sync; nosuid, nodev, noexec, nosync, nodirsync and noatime are no_suid and so on.`,
        ),
      ).trimEnd(),
      subsection('Refused', boldTerms(refused)).trimEnd(),
    ) +
    section('EXIT STATUS', exitStatus()) +
    section(
      'FILES',
      boldTerms([
        ['/sbin/mount.sluice, /sbin/mount.fuse.sluice', 'Where mount(8) looks for this program.'],
      ]),
    ) +
    section(
      'EXAMPLES',
      `${plain('Lines of /etc/fstab:')}\n.PP\n${example(`/srv/data /mnt/data sluice nofail,log_file=/var/log/sluice.log 0 0
/srv/nfs  /mnt/nfs  sluice ro,_netdev,x-systemd.requires=/srv/nfs 0 0`)}`,
    ) +
    seeAlso('sluice', 'mount', 'umount', 'mount.fuse3')
  );
}

/** The text of each page by its file name. */
export function renderManPages(): Readonly<Record<string, string>> {
  return { 'sluice.8': mainPage(), 'mount.sluice.8': helperPage() };
}

export const MAN_FOLDER = join(projectRoot, 'docs/man');

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [name, text] of Object.entries(renderManPages())) {
    writeFileSync(join(MAN_FOLDER, name), text);
  }
}
