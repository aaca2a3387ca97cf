/**
 * From what a program or the command line asks for to the settled options of a mount.
 */
import { isIP } from 'node:net';
import { isAbsolute, resolve } from 'node:path';
import { oneLine, SluiceError } from './errors.ts';
import {
  DAY_SECONDS,
  IF_ROOT,
  type MountInput,
  type MountOptions,
  OPTIONS,
  type OptionKey,
  type OptionValues,
  REFUSED_OPTIONS,
  rowOf,
  TRACE_TO_STDERR,
} from './option-table.ts';
import {
  checkValue,
  optionError,
  plainText,
  refusedOption,
  showValue,
  unknownOption,
} from './option-values.ts';
import { compileIdMap } from './passthrough/id-map.ts';
import { compileXattrMap } from './passthrough/xattr-map.ts';
import { MS_RDONLY } from './sys/constants.ts';

export {
  IGNORED_OPTIONS,
  type MountInput,
  type MountOptions,
  OPTION_KEYS,
  OPTIONS,
  type OptionKey,
  type OptionRow,
  type OptionValues,
  REFUSED_OPTIONS,
  RELOADED_OPTIONS,
  rowOf,
  TRACE_TO_STDERR,
} from './option-table.ts';
export {
  checkValue,
  describeDefault,
  describeDomain,
  optionError,
  parseOptionText,
  refusedOption,
  scaledText,
  unknownOption,
} from './option-values.ts';

const LOOPBACK = '127.0.0.1';

/** What the defaults depend on. */
export interface Surroundings {
  readonly isRoot: boolean;
  /** Base of relative paths. */
  readonly workingDirectory: string;
}

/** Those of this process, as they are now. */
export function ownSurroundings(): Surroundings {
  return { isRoot: process.geteuid?.() === 0, workingDirectory: process.cwd() };
}

/** `..` stays for the kernel to walk: behind a symlink it is not the parent in the text. */
export function absolutePath(path: string, workingDirectory: string): string {
  if (!path.split('/').includes('..')) {
    return resolve(workingDirectory, path);
  }
  return isAbsolute(path) ? path : `${workingDirectory}/${path}`;
}

/** @param what names the path in the error @throws SluiceError ERR_SLUICE_OPTION */
export function checkedPath(what: string, path: unknown): string {
  const result = plainText.safeParse(path);
  if (!result.success) {
    throw optionError(`${what}: ${showValue(path)} is not a path; give the path of a directory`);
  }
  return result.data;
}

/** The given values after the checks; keys the table does not know are errors. */
function checkedValues(input: MountInput): OptionValues {
  const values: Record<string, unknown> = {};
  const keys = Object.keys(OPTIONS);
  for (const [key, value] of Object.entries(input)) {
    if (key === 'source' || key === 'mountpoint' || value === undefined) {
      continue;
    }
    const refusal = REFUSED_OPTIONS.get(snakeCase(key));
    if (refusal !== undefined) {
      throw refusedOption(key, refusal);
    }
    if (!Object.hasOwn(OPTIONS, key)) {
      throw unknownOption(key, key, keys);
    }
    values[key] = checkValue(key as OptionKey, key, value);
  }
  return values as OptionValues;
}

function snakeCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Defaults that do not depend on other options. */
function withDefaults(values: OptionValues, isRoot: boolean): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(OPTIONS) as OptionKey[]) {
    const fallback = rowOf(key).default;
    result[key] = values[key] ?? (fallback === IF_ROOT ? isRoot : fallback);
  }
  return result;
}

const TIMEOUT_SECONDS_BY_CACHE = { never: 0, auto: 1, metadata: DAY_SECONDS, always: DAY_SECONDS };

/** Rounded up: a wish for a very short time does not become a wish for none. */
function toMs(durationSeconds: number): number {
  return Math.ceil(Math.round(durationSeconds * 1e6) / 1e3);
}

function timeouts(values: OptionValues, cache: keyof typeof TIMEOUT_SECONDS_BY_CACHE) {
  const derived = TIMEOUT_SECONDS_BY_CACHE[cache];
  const entry = values.entryTimeout ?? derived;
  const attr = values.attrTimeout ?? derived;
  return {
    entryTimeoutMs: toMs(entry),
    attrTimeoutMs: toMs(attr),
    dirEntryTimeoutMs: toMs(values.dirEntryTimeout ?? entry),
    dirAttrTimeoutMs: toMs(values.dirAttrTimeout ?? attr),
  };
}

interface Switches {
  readonly engine: string;
  readonly cache: string;
  readonly readOnly: boolean;
  readonly sealSize: boolean;
  posixLock: boolean;
  flock: boolean;
  readonly background: boolean;
  readonly isRoot: boolean;
  noOpen: boolean;
  noOpendir: boolean;
  writeback: boolean;
  readonly xattr: boolean;
  readonly defaultPermissions: boolean;
  securityLabel: boolean;
  allowIdmap: boolean;
  trace: boolean | string;
  suid: boolean;
  dev: boolean;
}

interface Conflict {
  readonly key:
    | 'noOpen'
    | 'noOpendir'
    | 'writeback'
    | 'posixLock'
    | 'flock'
    | 'securityLabel'
    | 'allowIdmap'
    | 'trace'
    | 'suid'
    | 'dev';
  readonly reason: string;
  applies(given: Switches): boolean;
}

/** What is agreed with the kernel by messages that libfuse 2 or fuse-native does not know. */
const UNKNOWN_TO_LIBFUSE: readonly Conflict['key'][] = [
  'writeback',
  'noOpen',
  'noOpendir',
  'posixLock',
  'flock',
  'securityLabel',
  'allowIdmap',
];

/** Options that are switched off, with a warning, beside others. */
const CONFLICTS: readonly Conflict[] = [
  ...UNKNOWN_TO_LIBFUSE.map((key) => ({
    key,
    reason: 'engine=fuse-native cannot do it',
    applies: (given: Switches) => given.engine === 'fuse-native',
  })),
  { key: 'noOpen', reason: 'it needs cache=always', applies: (given) => given.cache !== 'always' },
  {
    key: 'noOpen',
    reason: 'posix_lock and flock have to see every open and close',
    applies: (given) => given.posixLock || given.flock,
  },
  {
    key: 'noOpendir',
    reason: 'it needs cache=metadata or cache=always',
    applies: (given) => given.cache === 'never' || given.cache === 'auto',
  },
  {
    key: 'writeback',
    reason: 'cache=never and cache=metadata keep no data to write back',
    applies: (given) => given.cache === 'never' || given.cache === 'metadata',
  },
  { key: 'writeback', reason: 'the mount is ro', applies: (given) => given.readOnly },
  {
    key: 'writeback',
    reason: 'seal_size must see the size of every write',
    applies: (given) => given.sealSize,
  },
  {
    key: 'trace',
    reason: 'background has no stderr; give trace=FILE',
    applies: (given) =>
      given.background && (given.trace === true || given.trace === TRACE_TO_STDERR),
  },
  { key: 'securityLabel', reason: 'a label is an xattr', applies: (given) => !given.xattr },
  {
    key: 'allowIdmap',
    reason: 'it needs default_permissions',
    applies: (given) => !given.defaultPermissions,
  },
  { key: 'suid', reason: 'only root may ask for it', applies: (given) => !given.isRoot },
  { key: 'dev', reason: 'only root may ask for it', applies: (given) => !given.isRoot },
];

function settleConflicts(switches: Switches): string[] {
  const warnings: string[] = [];
  for (const { key, reason, applies } of CONFLICTS) {
    if (switches[key] !== false && applies(switches)) {
      switches[key] = false;
      warnings.push(`${rowOf(key).name} is switched off: ${reason}`);
    }
  }
  return warnings;
}

function mountFlagsOf(values: Readonly<Record<string, unknown>>, readOnly: boolean): number {
  let flags = readOnly ? MS_RDONLY : 0;
  for (const key of Object.keys(OPTIONS) as OptionKey[]) {
    const row = rowOf(key);
    if (row.kind === 'mountFlag' && values[key] === row.setWhen) {
      flags |= row.bit;
    }
  }
  return flags;
}

function resolvedTrace(trace: boolean | string, workingDirectory: string): false | string {
  if (typeof trace === 'boolean') {
    return trace ? TRACE_TO_STDERR : false;
  }
  return trace === TRACE_TO_STDERR ? trace : absolutePath(trace, workingDirectory);
}

/** Reads the rules of an option for nothing but their errors, which name it. */
const TRY_RULES: Readonly<Record<string, (rules: readonly string[]) => unknown>> = {
  xattrmap: compileXattrMap,
  translateUid: (rules) => compileIdMap('translate_uid', rules),
  translateGid: (rules) => compileIdMap('translate_gid', rules),
};

/**
 * Checks the rules of one option.
 *
 * @param where stands before the message
 * @throws SluiceError ERR_SLUICE_OPTION for rules that cannot be
 */
export function checkRules(key: OptionKey, rules: readonly string[], where = ''): void {
  try {
    TRY_RULES[key]?.(rules);
  } catch (error) {
    throw error instanceof SluiceError ? optionError(where + error.message) : error;
  }
}

/** The rules of all options that have some. @throws SluiceError for rules that cannot be */
function checkedRules(given: OptionValues) {
  const rules = {
    xattrmap: asList(given.xattrmap),
    translateUid: asList(given.translateUid),
    translateGid: asList(given.translateGid),
  };
  for (const key of Object.keys(rules) as (keyof typeof rules)[]) checkRules(key, rules[key]);
  return rules;
}

/** Names would have to be looked up, and may be of another host. */
function checkedAddress(address: string = LOOPBACK): string {
  if (isIP(address) !== 0) return address;
  throw optionError(
    `metrics_address: ${showValue(address)} is no IP address; give one of this host`,
  );
}

/**
 * libfuse knows who calls, and fuse-native does not say it. So nobody but the daemon's own user may use
 * such a mount: what others created would be his, with the set-id bits they chose.
 */
function allowOtherOf({ engine, allowOther }: OptionValues, value: boolean): boolean {
  if (engine !== 'fuse-native') return value;
  if (allowOther !== true) return false;
  throw optionError(
    'allow_other does not go with engine=fuse-native: fuse-native does not tell who the caller is, so all would act as the user of the daemon; leave it out or take engine=dev',
  );
}

function asList(rules: string | readonly string[] = []): readonly string[] {
  return typeof rules === 'string' ? [rules] : rules;
}

/**
 * Checks what was asked for, fills in defaults, and switches off what cannot go together.
 *
 * @returns the options, and one line per option that was switched off
 * @throws SluiceError ERR_SLUICE_OPTION naming the option, the reason and what it accepts
 */
export function resolveOptions(
  input: MountInput,
  surroundings: Surroundings = ownSurroundings(),
): { options: MountOptions; warnings: string[] } {
  const { isRoot, workingDirectory } = surroundings;
  const source = absolutePath(checkedPath('source', input.source), workingDirectory);
  const mountpoint = absolutePath(checkedPath('mountpoint', input.mountpoint), workingDirectory);
  const given = checkedValues(input);
  const values = { ...withDefaults(given, isRoot), isRoot } as unknown as Switches &
    Required<OptionValues>;
  const warnings = settleConflicts(values);
  const { maxWrite, stopTimeout, negativeTimeout, logFile, metricsSocket, runtimeDir } = values;
  const options: MountOptions = {
    source,
    mountpoint,
    cache: values.cache,
    ...timeouts(given, values.cache),
    negativeTimeoutMs: toMs(negativeTimeout),
    writeback: values.writeback,
    kernelPassthrough: values.kernelPassthrough,
    noOpen: values.noOpen,
    noOpendir: values.noOpendir,
    noReaddir: values.noReaddir,
    sealSize: values.sealSize,
    useHostIno: values.useHostIno,
    xattr: values.xattr,
    posixAcl: values.posixAcl,
    securityLabel: values.securityLabel,
    allowDirectIo: values.allowDirectIo,
    killprivV2: values.killprivV2,
    doImport: values.doImport,
    posixLock: values.posixLock,
    flock: values.flock,
    inodeFileHandles: values.inodeFileHandles,
    uringDepth: values.uringDepth,
    uringMemoryBytes: values.uringMemory,
    maxWriteBytes: maxWrite,
    maxBackground: values.maxBackground,
    lanes: values.lanes,
    warmUp: values.warmUp,
    cpuLatency: values.cpuLatency,
    fdBudget: values.fdBudget,
    maxInodes: values.maxInodes,
    requestSlots: values.requestSlots,
    allowOther: allowOtherOf(given, values.allowOther),
    defaultPermissions: values.defaultPermissions,
    ...checkedRules(given),
    allowIdmap: values.allowIdmap,
    readOnly: values.readOnly,
    mountFlags: mountFlagsOf({ ...values }, values.readOnly),
    fsname: given.fsname ?? source,
    logLevel: values.logLevel,
    logFormat: values.logFormat,
    logFile: logFile === undefined ? undefined : absolutePath(logFile, workingDirectory),
    trace: resolvedTrace(values.trace, workingDirectory),
    metrics: values.metrics,
    metricsPort: values.metricsPort,
    isMetricsPortGiven: given.metricsPort !== undefined,
    metricsAddress: checkedAddress(values.metricsAddress),
    metricsSocket:
      metricsSocket === undefined ? undefined : absolutePath(metricsSocket, workingDirectory),
    stuckTimeoutMs: toMs(values.stuckTimeout),
    slowTimeoutMs: toMs(values.slowTimeout),
    opTimeoutMs: toMs(values.opTimeout),
    engine: values.engine,
    background: values.background,
    stopTimeoutMs: toMs(stopTimeout),
    runtimeDir: runtimeDir === undefined ? undefined : absolutePath(runtimeDir, workingDirectory),
  };
  return { options: Object.freeze(options), warnings: warnings.map(oneLine) };
}

/** An option as it is in the end: durations in seconds, sizes in bytes, as a program gives them. */
export function effectiveValue(options: MountOptions, key: OptionKey): unknown {
  const row = rowOf(key);
  const values = options as unknown as Readonly<Record<string, unknown>>;
  switch (row.kind) {
    case 'duration':
      return (values[`${key}Ms`] as number) / 1000;
    case 'size':
      return values[`${key}Bytes`];
    case 'mountFlag':
      return ((options.mountFlags & row.bit) !== 0) === row.setWhen;
    default:
      return values[key];
  }
}
