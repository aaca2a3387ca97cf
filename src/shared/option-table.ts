/**
 * The table of options: it drives the flags, the names in `-o` lists, files and the environment, the
 * help, docs/options.md, docs/sluice.schema.json, the types and the checks.
 */
import {
  MS_DIRSYNC,
  MS_NOATIME,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_SYNCHRONOUS,
} from './sys/constants.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
const PAGE_BYTES = 4 * KIB;
export const DAY_SECONDS = 86_400;
const LONGEST_SECONDS = 1e9;

/** The resolved `trace` that means the daemon's stderr. A file of this name is written `./-`. */
export const TRACE_TO_STDERR = '-';

interface RowBase {
  /** Name in `-o` lists; the flag is the same with dashes. */
  readonly name: string;
  readonly group: string;
  /** One line; no full stop. */
  readonly help: string;
  /** Set where SIGHUP changes the option of a running mount. */
  readonly isReloaded?: true;
}

/** Default that is true for root and false for anybody else. */
export const IF_ROOT = 'root';

interface BoolRow extends RowBase {
  readonly kind: 'bool';
  readonly default: boolean | typeof IF_ROOT;
}

/** A switch that becomes a bit of `mountFlags`; its negation is also spelt as mount(8) does: nosuid. */
interface MountFlagRow extends RowBase {
  readonly kind: 'mountFlag';
  readonly default: boolean | typeof IF_ROOT;
  /** MS_ bit, set when the option equals `setWhen`. */
  readonly bit: number;
  readonly setWhen: boolean;
}

interface DurationRow extends RowBase {
  readonly kind: 'duration';
  /** Seconds; undefined: derived, as `derived` says. */
  readonly default: number | undefined;
  readonly derived?: string;
  readonly min: number;
  readonly max: number;
}

interface NumberRow extends RowBase {
  readonly kind: 'count' | 'size';
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly step?: number;
  /** Set where asking for the default is more than leaving the option out. */
  readonly isWeakDefault?: true;
}

export interface EnumRow extends RowBase {
  readonly kind: 'enum';
  readonly default: string;
  readonly values: readonly string[];
  readonly aliases?: Readonly<Record<string, string>>;
}

interface StringRow extends RowBase {
  readonly kind: 'string' | 'path' | 'directory';
  readonly default: undefined;
  readonly derived: string;
}

/** Rules in a language of their own, which are added up over all times the option is given. */
interface RulesRow extends RowBase {
  readonly kind: 'rules';
  readonly default: undefined;
  readonly derived: string;
  /** What one looks like. */
  readonly form: string;
}

/** Off, on, or on with a file. */
interface TraceRow extends RowBase {
  readonly kind: 'trace';
  readonly default: false;
}

export type OptionRow =
  | BoolRow
  | MountFlagRow
  | DurationRow
  | NumberRow
  | EnumRow
  | StringRow
  | RulesRow
  | TraceRow;

const timeout = {
  kind: 'duration',
  default: undefined,
  min: 0,
  max: LONGEST_SECONDS,
  isReloaded: true,
} as const;
const off = { kind: 'bool', default: false } as const;
const on = { kind: 'bool', default: true } as const;
const rules = { kind: 'rules', default: undefined, derived: 'none' } as const;
const ID_RULE_FORM =
  'map:GUEST:HOST:COUNT, or with guest, host, squash-guest, squash-host, forbid-guest';

/** Key: the name in a program. Order: the order of the help. */
export const OPTIONS = {
  cache: {
    name: 'cache',
    group: 'Caching',
    kind: 'enum',
    values: ['never', 'metadata', 'auto', 'always'],
    aliases: { none: 'never' },
    default: 'auto',
    help: 'what the kernel keeps: nothing; names and attributes; data while a file is open; data between opens too',
  },
  entryTimeout: {
    ...timeout,
    name: 'entry_timeout',
    group: 'Caching',
    derived: 'by cache: never 0, auto 1, metadata and always 86400',
    help: 'how long the kernel trusts a name',
  },
  attrTimeout: {
    ...timeout,
    name: 'attr_timeout',
    group: 'Caching',
    derived: 'as entry_timeout, by cache',
    help: 'how long the kernel trusts attributes',
  },
  dirEntryTimeout: {
    ...timeout,
    name: 'dir_entry_timeout',
    group: 'Caching',
    derived: 'entry_timeout',
    help: 'entry_timeout of directories',
  },
  dirAttrTimeout: {
    ...timeout,
    name: 'dir_attr_timeout',
    group: 'Caching',
    derived: 'attr_timeout',
    help: 'attr_timeout of directories',
  },
  negativeTimeout: {
    ...timeout,
    name: 'negative_timeout',
    group: 'Caching',
    default: 0,
    help: 'how long the kernel trusts that a name does not exist',
  },
  writeback: {
    ...off,
    name: 'writeback',
    group: 'Caching',
    help: 'let the kernel gather writes; only when nobody else writes to the source; not with cache=never or metadata, ro or seal_size',
  },
  kernelPassthrough: {
    ...on,
    name: 'kernel_passthrough',
    group: 'Modes',
    help: 'let the kernel read and write files without the daemon (Linux 6.9, root); not with cache=never, writeback, no_open, seal_size, sync, noatime, op_timeout, no_killpriv_v2 or no_allow_direct_io',
  },
  noOpen: {
    ...off,
    name: 'no_open',
    group: 'Modes',
    help: 'open files without asking the daemon; needs cache=always',
  },
  noOpendir: {
    ...off,
    name: 'no_opendir',
    group: 'Modes',
    help: 'open directories without asking the daemon; needs cache=metadata or always',
  },
  noReaddir: {
    ...off,
    name: 'no_readdir',
    group: 'Modes',
    help: 'show every directory empty; names still work',
  },
  sealSize: {
    ...off,
    name: 'seal_size',
    group: 'Modes',
    help: 'refuse whatever changes the size of a file',
  },
  useHostIno: {
    ...off,
    name: 'use_host_ino',
    group: 'Modes',
    help: 'show 56-bit inode numbers made of the host number and a number of its file system',
  },
  xattr: { ...on, name: 'xattr', group: 'Modes', help: 'serve extended attributes' },
  posixAcl: {
    ...on,
    name: 'posix_acl',
    group: 'Modes',
    help: 'have ACLs, checked by the kernel; off: they are neither shown nor obeyed; needs xattr and default_permissions',
  },
  xattrmap: {
    ...rules,
    name: 'xattrmap',
    group: 'Modes',
    form: ':type:scope:key:prepend: or :map:key:prepend:',
    help: 'give extended attributes other names on the source than on the mount',
  },
  securityLabel: {
    ...off,
    name: 'security_label',
    group: 'Modes',
    help: 'create files with the SELinux label of the client; needs xattr',
  },
  allowDirectIo: {
    ...on,
    name: 'allow_direct_io',
    group: 'Modes',
    help: 'honour O_DIRECT; else it is dropped from opens',
  },
  killprivV2: {
    ...on,
    name: 'killpriv_v2',
    group: 'Modes',
    help: 'clear setuid, setgid and capabilities in the daemon when a file is written or given away',
  },
  doImport: {
    ...on,
    name: 'do_import',
    group: 'Modes',
    help: 'check names and take the root in at every start of a session; off only beneath a layer that does both',
  },
  posixLock: {
    ...off,
    name: 'posix_lock',
    group: 'Modes',
    help: 'take fcntl locks on the files behind, where all who use those see them; else they hold within the mount',
  },
  flock: {
    ...off,
    name: 'flock',
    group: 'Modes',
    help: 'the same for flock locks',
  },
  inodeFileHandles: {
    name: 'inode_file_handles',
    group: 'Modes',
    kind: 'enum',
    values: ['never', 'prefer', 'mandatory'],
    default: 'prefer',
    help: 'reach inodes by file handle instead of one open fd each',
  },
  maxWrite: {
    name: 'max_write',
    group: 'Sizes and limits',
    kind: 'size',
    default: MIB,
    min: PAGE_BYTES,
    max: MIB,
    step: PAGE_BYTES,
    help: 'largest read or write in one request',
  },
  maxBackground: {
    name: 'max_background',
    group: 'Sizes and limits',
    kind: 'count',
    default: 64,
    min: 1,
    max: 65_535,
    help: 'asynchronous requests the kernel keeps in flight',
  },
  lanes: {
    name: 'lanes',
    group: 'Sizes and limits',
    kind: 'count',
    default: 4,
    min: 1,
    max: 64,
    help: 'threads for what may block',
  },
  warmUp: {
    ...on,
    name: 'warm_up',
    group: 'Sizes and limits',
    help: 'have the code of main compiled before the first request is served, which takes about half a second; else the first three thousand operations do that',
  },
  cpuLatency: {
    name: 'cpu_latency',
    group: 'Sizes and limits',
    kind: 'enum',
    values: ['auto', 'low', 'any'],
    default: 'auto',
    help: 'low: while requests come one after the other idle CPUs are kept awake (/dev/cpu_dma_latency, root), which saves each request two wake-ups and costs power; auto: the same where there are at most 8 CPUs; any: never',
  },
  fdBudget: {
    name: 'fd_budget',
    group: 'Sizes and limits',
    kind: 'count',
    default: 0,
    min: 0,
    max: GIB,
    help: 'descriptors for open files and cached inodes together; 0: derived from RLIMIT_NOFILE',
  },
  maxInodes: {
    name: 'max_inodes',
    group: 'Sizes and limits',
    kind: 'count',
    default: 16 * MIB,
    min: 1024,
    max: 64 * MIB,
    help: 'inodes the kernel may hold at once; memory is used only as they come',
  },
  requestSlots: {
    name: 'request_slots',
    group: 'Sizes and limits',
    kind: 'count',
    default: 4096,
    min: 16,
    max: 32_768,
    help: 'small requests that may be in the hands of the lanes at once',
  },
  uringDepth: {
    name: 'uring_depth',
    group: 'io_uring',
    kind: 'count',
    default: 16,
    min: 1,
    max: 1024,
    help: 'requests of one CPU that engine=uring has at once; more wait in the kernel',
  },
  uringMemory: {
    name: 'uring_memory',
    group: 'io_uring',
    kind: 'size',
    default: 256 * MIB,
    min: PAGE_BYTES,
    max: GIB,
    help: 'bound of the buffers of engine=uring, queues x depth x (max_write + a page): more CPUs then have fewer; memory is taken when a request first needs it',
  },
  allowOther: {
    name: 'allow_other',
    group: 'Access',
    kind: 'bool',
    default: IF_ROOT,
    help: 'let other users in; needs root, or user_allow_other in /etc/fuse.conf',
  },
  defaultPermissions: {
    ...on,
    name: 'default_permissions',
    group: 'Access',
    help: 'the kernel checks modes and ACLs before it asks the daemon',
  },
  translateUid: {
    ...rules,
    name: 'translate_uid',
    group: 'Access',
    form: ID_RULE_FORM,
    help: 'show and store other user ids on the mount (guest) than on the source (host)',
  },
  translateGid: {
    ...rules,
    name: 'translate_gid',
    group: 'Access',
    form: ID_RULE_FORM,
    help: 'the same for group ids',
  },
  allowIdmap: {
    ...off,
    name: 'allow_idmap',
    group: 'Access',
    help: 'let the mount be idmapped (mount -o X-mount.idmap); needs default_permissions and Linux 6.12',
  },
  readOnly: { ...off, name: 'ro', group: 'Access', help: 'mount read-only' },
  suid: {
    name: 'suid',
    group: 'Access',
    kind: 'mountFlag',
    default: IF_ROOT,
    bit: MS_NOSUID,
    setWhen: false,
    help: 'honour setuid, setgid and file capabilities, as a bind mount does; root only',
  },
  dev: {
    name: 'dev',
    group: 'Access',
    kind: 'mountFlag',
    default: IF_ROOT,
    bit: MS_NODEV,
    setWhen: false,
    help: 'honour device nodes, as a bind mount does; root only',
  },
  exec: {
    name: 'exec',
    group: 'Access',
    kind: 'mountFlag',
    default: true,
    bit: MS_NOEXEC,
    setWhen: false,
    help: 'allow programs to be run',
  },
  sync: {
    name: 'sync',
    group: 'Access',
    kind: 'mountFlag',
    default: false,
    bit: MS_SYNCHRONOUS,
    setWhen: true,
    help: 'write data and directories at once',
  },
  dirsync: {
    name: 'dirsync',
    group: 'Access',
    kind: 'mountFlag',
    default: false,
    bit: MS_DIRSYNC,
    setWhen: true,
    help: 'write directories at once',
  },
  atime: {
    name: 'atime',
    group: 'Access',
    kind: 'mountFlag',
    default: true,
    bit: MS_NOATIME,
    setWhen: false,
    help: 'keep access times',
  },
  fsname: {
    name: 'fsname',
    group: 'Access',
    kind: 'string',
    default: undefined,
    derived: 'the source path',
    help: 'first column of df and /proc/mounts',
  },
  logLevel: {
    name: 'log_level',
    group: 'Logs',
    kind: 'enum',
    values: ['trace', 'debug', 'info', 'warn', 'error'],
    default: 'info',
    isReloaded: true,
    help: 'least level that is logged',
  },
  logFormat: {
    name: 'log_format',
    group: 'Logs',
    kind: 'enum',
    values: ['auto', 'json', 'pretty'],
    default: 'auto',
    help: 'JSON lines or text; auto: text on a terminal',
  },
  logFile: {
    name: 'log_file',
    group: 'Logs',
    kind: 'path',
    default: undefined,
    derived: 'stderr',
    help: 'append logs to a file; without it --background drops them',
  },
  trace: {
    name: 'trace',
    group: 'Logs',
    kind: 'trace',
    default: false,
    help: 'one line per request and reply, to stderr or a file',
  },
  metrics: {
    ...on,
    name: 'metrics',
    group: 'Metrics',
    help: 'serve metrics and health over HTTP, from a thread of its own; off: whatever else is given',
  },
  metricsPort: {
    name: 'metrics_port',
    group: 'Metrics',
    kind: 'count',
    default: 19_747,
    isWeakDefault: true,
    min: 0,
    max: 65_535,
    help: 'TCP port; 0: any free one, which the log names. The default is done without when it is taken, or metrics_socket is given',
  },
  metricsAddress: {
    name: 'metrics_address',
    group: 'Metrics',
    kind: 'string',
    default: undefined,
    derived: '127.0.0.1',
    help: 'IP address of metrics_port; whoever reaches it may read, without a password',
  },
  metricsSocket: {
    name: 'metrics_socket',
    group: 'Metrics',
    kind: 'path',
    default: undefined,
    derived: 'none',
    help: 'serve at a Unix socket, beside or instead of a port; one that a dead daemon left is replaced',
  },
  stuckTimeout: {
    name: 'stuck_timeout',
    group: 'Metrics',
    kind: 'duration',
    default: 60,
    min: 0.5,
    max: DAY_SECONDS,
    help: 'after so long in one call a thread counts as stuck: /livez answers 503',
  },
  slowTimeout: {
    name: 'slow_timeout',
    group: 'Slow operations',
    kind: 'duration',
    default: 10,
    min: 0,
    max: DAY_SECONDS,
    isReloaded: true,
    help: 'log an operation that runs, or waits for a lane, longer than this, with what it waits in; 0: none',
  },
  opTimeout: {
    name: 'op_timeout',
    group: 'Slow operations',
    kind: 'duration',
    default: 0,
    min: 0,
    max: DAY_SECONDS,
    isReloaded: true,
    help: 'answer ETIMEDOUT to an operation that only reads and takes longer than this; a mount that starts with it has no kernel_passthrough; 0: wait for ever',
  },
  engine: {
    name: 'engine',
    group: 'Process',
    kind: 'enum',
    values: ['dev', 'uring', 'auto', 'fuse-native'],
    default: 'dev',
    help: 'how requests come: from /dev/fuse; by io_uring, one queue for each CPU, where that can be had (Linux 6.14; not with posix_lock, flock, op_timeout or layers), else from /dev/fuse; auto: as uring, and no warning if not; or through libfuse 2 and the optional package fuse-native, for hosts where only libfuse may mount',
  },
  background: {
    ...off,
    name: 'background',
    group: 'Process',
    help: 'return when the mount is usable and serve on; logs only go to log_file',
  },
  stopTimeout: {
    name: 'stop_timeout',
    group: 'Process',
    kind: 'duration',
    default: 10,
    min: 0,
    max: DAY_SECONDS,
    isReloaded: true,
    help: 'how long a stop waits for a busy mount before it unmounts lazily',
  },
  runtimeDir: {
    name: 'runtime_dir',
    group: 'Process',
    kind: 'directory',
    default: undefined,
    derived: '/run/sluice for root, else $XDG_RUNTIME_DIR/sluice',
    help: 'where the socket lies through which sluice status, top and umount reach the daemon',
  },
} as const satisfies Record<string, OptionRow>;

type Table = typeof OPTIONS;
export type OptionKey = keyof Table;

type InputValue<Row> = Row extends { kind: 'enum'; values: readonly (infer Value)[] }
  ? Value
  : Row extends { kind: 'bool' | 'mountFlag' }
    ? boolean
    : Row extends { kind: 'duration' | 'count' | 'size' }
      ? number
      : Row extends { kind: 'trace' }
        ? boolean | string
        : Row extends { kind: 'rules' }
          ? string | readonly string[]
          : string;

type ResolvedKey<Key extends OptionKey> = Table[Key]['kind'] extends 'duration'
  ? `${Key}Ms`
  : Table[Key]['kind'] extends 'size'
    ? `${Key}Bytes`
    : Table[Key]['kind'] extends 'mountFlag'
      ? never
      : Key;

type ResolvedValue<Row> = Row extends { kind: 'trace' }
  ? false | string
  : Row extends { kind: 'path' | 'directory' }
    ? string | undefined
    : Row extends { kind: 'rules' }
      ? readonly string[]
      : InputValue<Row>;

/** Option values by key: durations in seconds, sizes in bytes. */
export type OptionValues = { readonly [Key in OptionKey]?: InputValue<Table[Key]> };

/** What a program or the command line asks for. What is left out takes its default. */
export type MountInput = OptionValues & {
  /** The directory to serve; relative to the working directory. */
  readonly source: string;
  /** The directory to mount on, or `/dev/fd/N` of an already mounted FUSE connection. */
  readonly mountpoint: string;
};

/** Everything settled: paths absolute, durations in whole milliseconds, sizes in bytes. */
export type MountOptions = {
  readonly [Key in OptionKey as ResolvedKey<Key>]: ResolvedValue<Table[Key]>;
} & {
  readonly source: string;
  readonly mountpoint: string;
  /** MS_ bits for mount(2). */
  readonly mountFlags: number;
  readonly metricsAddress: string;
  /** Whether metricsPort was asked for, and is not the default. */
  readonly isMetricsPortGiven: boolean;
};

/** Rows by `-o` name. */
export const OPTION_KEYS: ReadonlyMap<string, OptionKey> = new Map(
  (Object.keys(OPTIONS) as OptionKey[]).map((key) => [OPTIONS[key].name, key]),
);

/** What a reload changes of a running mount. */
export const RELOADED_OPTIONS: readonly OptionKey[] = (Object.keys(OPTIONS) as OptionKey[]).filter(
  (key) => rowOf(key).isReloaded === true,
);

/** The row of a key, seen as the general type. */
export function rowOf(key: OptionKey): OptionRow {
  return OPTIONS[key];
}

/** Known names that are refused, and why. */
export const REFUSED_OPTIONS: ReadonlyMap<string, string> = new Map([
  ['dax_file_size', 'DAX needs virtiofs and /dev/fuse has none; leave it out'],
  ['remount', 'a running mount cannot be changed; unmount it and mount it again'],
]);

/** Options of mount(8) and fstab that mean nothing here. */
export const IGNORED_OPTIONS: readonly string[] = [
  'auto',
  'noauto',
  'user',
  'nouser',
  'users',
  'owner',
  'group',
  'nofail',
  '_netdev',
  'defaults',
  'relatime',
  'norelatime',
  'strictatime',
  'nostrictatime',
  'lazytime',
  'nolazytime',
  'diratime',
  'nodiratime',
  'iversion',
  'noiversion',
  'mand',
  'nomand',
  'silent',
  'loud',
  'symfollow',
  'comment',
];
