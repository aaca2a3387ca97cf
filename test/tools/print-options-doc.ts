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
  RELOADED_OPTIONS,
  rowOf,
} from '../../src/shared/options.ts';
import { markdownTable } from './markdown.ts';

const HEAD = `# Options

Made from the table in \`src/shared/options.ts\` by \`test/tools/print-options-doc.ts\`; do not edit.

    sluice mount [SOURCE MOUNTPOINT] [flags] [-o option,option=value,...]
    sluice demo [SOURCE MOUNTPOINT] [flags] [-o ...]

- Every option is a flag (\`--entry-timeout=5\`) and a name in \`-o\` lists (\`-o entry_timeout=5\`). In
  names \`-\` and \`_\` are the same. In a program the name is in camel case: \`entryTimeout\`.
- A boolean alone means true; \`--no-x\` and \`-o no_x\` mean false, and \`=true\` or \`=false\` may follow
  the name. Options whose own name begins with \`no_\` have no second negation: \`--no-open\` switches
  that mode on, \`--no-open=false\` off.
- Numbers and sizes may end in K, M or G, powers of 1024. Durations are seconds, kept to the
  millisecond and rounded up.
- Given twice, the last one counts; a flag counts over an \`-o\` option. What may be given several times
  adds up: all flags, or else all \`-o\` options.
- Every option may also stand in a file (\`--config\`), under its \`-o\` name, and in the environment,
  as \`SLUICE_OPT_\` and that name in capitals: see [configure.md](configure.md).
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
- \`security_label\` with \`no_xattr\`
- \`allow_idmap\` with \`no_default_permissions\`
- \`trace\` to stderr with \`background\`: there is no stderr; \`trace=FILE\` works
- \`suid\` and \`dev\` for anybody but root

## Translating user and group ids

The rules are those of virtiofsd. The guest is whoever uses the mount, the host is the source. Each rule
is for one direction, except \`map\`:

| Rule | What it does |
| --- | --- |
| \`map:GUEST:HOST:COUNT\` | the ids GUEST to GUEST + COUNT - 1 of the mount are HOST to HOST + COUNT - 1 of the source, and back |
| \`guest:GUEST:HOST:COUNT\` | the same from the mount to the source only |
| \`host:HOST:GUEST:COUNT\` | the same from the source to the mount only |
| \`squash-guest:GUEST:HOST_ID:COUNT\` | a range of ids of the mount is one id of the source |
| \`squash-host:HOST:GUEST_ID:COUNT\` | a range of ids of the source is one id of the mount |
| \`forbid-guest:GUEST:COUNT\` | these ids of the mount may not own anything: creating and chown are EPERM |

An id that no rule takes stays as it is. In each direction an id may stand in one rule only. The last
number is a count, not the last id; the highest id is 4294967294. Whatever is no letter, digit, \`-\`
or \`_\` may separate the fields. One option is one rule:

    sluice mount /srv/data /mnt/data --translate-uid=map:0:100000:65536 --translate-gid=map:0:100000:65536

Who may do what is checked by the ids of the mount. Ids in POSIX ACLs are translated as well; an ACL that
is read and written back holds the ids it was shown with, also where several were squashed into one.

## Other names for extended attributes

The rules are those of virtiofsd: \`:type:scope:key:prepend:\`, with whatever stands first as the
separator, and white space between rules. The first rule that matches decides; at the end one must take
everything. The client is whoever uses the mount, the server is the source.

| Type | A name from a client that begins with KEY | A name from the server that begins with PREPEND |
| --- | --- | --- |
| \`prefix\` | gets PREPEND put before it | is shown without PREPEND |
| \`ok\` | stays | stays |
| \`bad\` | is EPERM | is hidden |
| \`unsupported\` | is EOPNOTSUPP | is hidden |

The scope is \`client\`, \`server\` or \`all\`. \`:map:key:prepend:\`, the last or only rule, puts PREPEND
before what begins with KEY, hides the names themselves, and lets the others through; with an empty KEY
it puts PREPEND before all names and hides the others:

    sluice mount /srv/data /mnt/data --xattrmap=:map::user.client.:
    sluice mount /srv/data /mnt/data --xattrmap='/map/trusted./user.client./'

Whoever owns a file in the source may change its \`user.\` attributes there, and so what clients take for
\`security.\` and \`trusted.\` ones: where that matters, put them behind a prefix that begins with \`trusted.\`.

A name that gets longer than 255 bytes is ERANGE. Where \`security.capability\` has another name, sluice
takes the attribute when the file changes, as the kernel does. Where clients may not use
\`system.posix_acl_access\` and \`system.posix_acl_default\`, the mount has no ACLs; where these get
another name, the mount keeps ACLs of its own: those of the source do not count there, and to the source
the new ones are plain attributes, so modes do not follow them and nothing inherits them.

## setuid programs and device nodes

A mount of root honours setuid programs and device nodes, as a bind mount of the same directory
would: \`-o nosuid,nodev\` takes that away. A mount of anybody else is always nosuid and nodev.
`;

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
  return [...groups]
    .map(([group, rows]) => `\n## ${group}\n\n${markdownTable(head, rows)}\n`)
    .join('');
}

function reloaded(): string {
  const names = RELOADED_OPTIONS.map((key) => `\`${rowOf(key).name}\``).join(', ');
  return `
## Changed by a reload

On SIGHUP a running mount takes over ${names}.
`;
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
  return `\n## Exit status\n\nAs mount(8) has it.\n\n${markdownTable(['Status', 'Meaning'], rows)}\n`;
}

/** The whole text of docs/options.md. */
export function renderOptionsDoc(): string {
  return HEAD + optionTables() + reloaded() + TAIL + otherNames() + exitTable();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.stdout.write(renderOptionsDoc());
}
