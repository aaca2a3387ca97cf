/**
 * Translation of the names of extended attributes between the mount's clients and the source
 * ("server"), by the rules of virtiofsd's --xattrmap. The first rule that matches decides; what it
 * makes of a name is not looked at again, so no map can loop.
 */
import { ERRNO } from '../abi/errno.ts';
import { SluiceError } from '../errors.ts';

/** Rules as bytes; it goes to the lanes with the configuration. */
export interface XattrMap {
  /** RULE_WORDS words for each rule, in their order. */
  readonly rules: Int32Array;
  /** The keys and prefixes the rules point into. */
  readonly bytes: Uint8Array;
  /**
   * What security.capability is called on the host, where that is another name: the host does not
   * know then that it has to go when the file changes.
   */
  readonly capability: string | undefined;
  /** Whether clients may use the attributes of POSIX ACLs. */
  readonly hasAcls: boolean;
}

/** XATTR_NAME_MAX (include/uapi/linux/limits.h). */
export const XATTR_NAME_MAX = 255;

const TYPE = 0;
const SCOPE = 1;
const KEY_AT = 2;
const KEY_LENGTH = 3;
const PREPEND_AT = 4;
const PREPEND_LENGTH = 5;
const RULE_WORDS = 6;

const PREFIX = 0;
const OK = 1;
const BAD = 2;
const UNSUPPORTED = 3;

const CLIENT = 1;
const SERVER = 2;

const CAPABILITY = 'security.capability';
const ACL_NAMES = ['system.posix_acl_access', 'system.posix_acl_default'];

function startsWith(
  u8: Uint8Array,
  at: number,
  length: number,
  map: XattrMap,
  from: number,
  count: number,
): boolean {
  if (count > length) return false;
  for (let i = 0; i < count; i++) if (u8[at + i] !== map.bytes[from + i]) return false;
  return true;
}

/** The place of the first rule of this scope that matches. Every name matches one: see checkComplete(). */
function findRule(
  map: XattrMap,
  scope: number,
  u8: Uint8Array,
  at: number,
  length: number,
): number {
  const { rules } = map;
  const patternAt = scope === CLIENT ? KEY_AT : PREPEND_AT;
  const patternLength = scope === CLIENT ? KEY_LENGTH : PREPEND_LENGTH;
  let rule = 0;
  while (
    (rules[rule + SCOPE] & scope) === 0 ||
    !startsWith(u8, at, length, map, rules[rule + patternAt], rules[rule + patternLength])
  ) {
    rule += RULE_WORDS;
  }
  return rule;
}

/**
 * Translates the name a client uses.
 * @param at offset of its bytes, which a NUL follows
 * @param to where another name may be written, with room for XATTR_NAME_MAX + 1 bytes
 * @returns the offset of the host's name; -EPERM, -EOPNOTSUPP, or -ERANGE for a name that gets too
 * long
 */
export function mapClientName(
  map: XattrMap,
  u8: Uint8Array,
  at: number,
  length: number,
  to: number,
): number {
  const { rules } = map;
  const rule = findRule(map, CLIENT, u8, at, length);
  switch (rules[rule + TYPE]) {
    case OK:
      return at;
    case BAD:
      return -ERRNO.EPERM;
    case UNSUPPORTED:
      return -ERRNO.EOPNOTSUPP;
  }
  const prefixLength = rules[rule + PREPEND_LENGTH];
  if (prefixLength + length > XATTR_NAME_MAX) return -ERRNO.ERANGE;
  for (let i = 0; i < prefixLength; i++) u8[to + i] = map.bytes[rules[rule + PREPEND_AT] + i];
  u8.copyWithin(to + prefixLength, at, at + length + 1);
  return to;
}

/**
 * Makes the host's list of names the client's, in place. Names only get shorter.
 * @returns the bytes that are left
 */
export function mapServerList(
  map: XattrMap,
  u8: Uint8Array,
  at: number,
  sizeBytes: number,
): number {
  let kept = 0;
  for (let from = 0; from < sizeBytes; ) {
    const end = u8.indexOf(0, at + from) - at;
    const rule = findRule(map, SERVER, u8, at + from, end - from);
    const type = map.rules[rule + TYPE];
    const start = type === PREFIX ? from + map.rules[rule + PREPEND_LENGTH] : from;
    // Of a name that is all prefix nothing is left, and the kernel refuses lists with empty names.
    if ((type === OK || type === PREFIX) && start < end) {
      u8.copyWithin(at + kept, at + start, at + end + 1);
      kept += end + 1 - start;
    }
    from = end + 1;
  }
  return kept;
}

interface Rule {
  readonly type: number;
  readonly scope: number;
  readonly key: string;
  readonly prepend: string;
}

const TYPES: Readonly<Record<string, number>> = {
  prefix: PREFIX,
  ok: OK,
  bad: BAD,
  unsupported: UNSUPPORTED,
};
const SCOPES: Readonly<Record<string, number>> = {
  client: CLIENT,
  server: SERVER,
  all: CLIENT | SERVER,
};

function bad(what: string, reasonAndCure: string): SluiceError {
  return new SluiceError('ERR_SLUICE_OPTION', `xattrmap: ${what}: ${reasonAndCure}`);
}

/**
 * Compiles the text of --xattrmap.
 * @returns undefined for an empty list of texts
 * @throws SluiceError ERR_SLUICE_OPTION: the rule, what is wrong, what would be right
 */
export function compileXattrMap(texts: readonly string[]): XattrMap | undefined {
  if (texts.length === 0) return undefined;
  const rules = parseRules(texts.join(' '));
  checkComplete(rules);
  const pool: Buffer[] = [];
  const words: number[] = [];
  let used = 0;
  const add = (text: string): void => {
    const bytes = Buffer.from(text);
    pool.push(bytes);
    words.push(used, bytes.length);
    used += bytes.length;
  };
  for (const rule of rules) {
    words.push(rule.type, rule.scope);
    add(rule.key);
    add(rule.prepend);
  }
  const map = { rules: Int32Array.from(words), bytes: new Uint8Array(Buffer.concat(pool)) };
  return describe(map);
}

/** Adds what the rules mean for the names that the daemon has to know. */
function describe(rules: Pick<XattrMap, 'rules' | 'bytes'>): XattrMap {
  const map = { ...rules, capability: undefined, hasAcls: true };
  const capability = hostName(map, CAPABILITY);
  return {
    ...rules,
    capability:
      typeof capability === 'string' && capability !== CAPABILITY ? capability : undefined,
    hasAcls: ACL_NAMES.every((name) => typeof hostName(map, name) === 'string'),
  };
}

/** What clients reach by this name, or -errno. */
function hostName(map: XattrMap, name: string): string | number {
  const memory = new Uint8Array(name.length + 1 + XATTR_NAME_MAX + 1);
  memory.set(Buffer.from(name));
  const at = mapClientName(map, memory, 0, name.length, name.length + 1);
  return at < 0 ? at : Buffer.from(memory.subarray(at, memory.indexOf(0, at))).toString();
}

function parseRules(text: string): Rule[] {
  const rules: Rule[] = [];
  let rest = text.trim();
  if (rest === '') throw bad(`"${text}"`, 'it has no rule; give one, such as :map::user.client.:');
  while (rest !== '') {
    const what = `rule ${rules.length + 1} ("${rest}")`;
    const separator = String.fromCodePoint(rest.codePointAt(0) ?? 0);
    const fields = rest.slice(separator.length).split(separator);
    const count = fields[0] === 'map' ? 3 : 4;
    const isMap = fields[0] === 'map';
    if (!isMap && fields.length > 1) checkType(what, fields[0] ?? '');
    // The last separator has to be there: behind it another field begins, or nothing.
    if (fields.length <= count) {
      const form = isMap ? ':map:key:prepend:' : ':type:scope:key:prepend:';
      throw bad(what, `it ends too early; write ${form}, with the separator at both ends`);
    }
    rest = fields.slice(count).join(separator).trim();
    if (isMap && rest !== '') {
      throw bad(what, 'a map rule stands for all that follow; make it the last one');
    }
    rules.push(...(isMap ? expandMap(what, fields) : [toRule(what, fields)]));
  }
  return rules;
}

function checkType(what: string, type: string): void {
  if (Object.hasOwn(TYPES, type)) return;
  throw bad(what, `"${type}" is no type; give ${Object.keys(TYPES).join(', ')} or map`);
}

function toRule(what: string, [type = '', scope = '', key = '', prepend = '']: string[]): Rule {
  if (!Object.hasOwn(SCOPES, scope)) {
    throw bad(what, `"${scope}" is no scope; give ${Object.keys(SCOPES).join(', ')}`);
  }
  checkLength(what, key);
  checkLength(what, prepend);
  return { type: TYPES[type] ?? BAD, scope: SCOPES[scope] ?? 0, key, prepend };
}

/** The short form: what it stands for hides the prefixed names themselves, in both directions. */
function expandMap(what: string, [, key = '', prepend = '']: string[]): Rule[] {
  checkLength(what, key);
  checkLength(what, prepend);
  const scope = CLIENT | SERVER;
  const first = { type: PREFIX, scope, key, prepend };
  if (key === '') return [first, { type: BAD, scope, key: '', prepend: '' }];
  return [
    first,
    { type: BAD, scope, key: prepend, prepend: key },
    { type: OK, scope, key: '', prepend: '' },
  ];
}

function checkLength(what: string, text: string): void {
  const { length } = Buffer.from(text);
  if (length <= XATTR_NAME_MAX) return;
  throw bad(what, `a field has ${length} bytes; names have ${XATTR_NAME_MAX} at the most`);
}

/** Every name has to match a rule, in both directions. */
function checkComplete(rules: readonly Rule[]): void {
  const takesAll = (scope: number, text: (rule: Rule) => string): boolean =>
    rules.some((rule) => (rule.scope & scope) !== 0 && text(rule) === '');
  const open = [
    takesAll(CLIENT, (rule) => rule.key) ? '' : 'from clients',
    takesAll(SERVER, (rule) => rule.prepend) ? '' : 'from the server',
  ].filter((side) => side !== '');
  if (open.length === 0) return;
  throw bad(
    `rule ${rules.length}`,
    `none takes the other names ${open.join(' and ')}; end with :ok:all::: or :bad:all:::`,
  );
}
