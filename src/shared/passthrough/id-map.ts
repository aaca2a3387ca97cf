/**
 * Translation of user or group ids between the mount's clients ("guest" in the rules, which are
 * those of virtiofsd) and the source ("host"). The directions are independent of each other, and an
 * id that no rule takes stays as it is.
 */
import { SluiceError } from '../errors.ts';

/** One direction: ENTRY_WORDS words for each range, sorted by the first id; ranges do not overlap. */
type IdTable = Uint32Array;

/** Both directions; it goes to the lanes with the configuration. */
export interface IdMap {
  readonly toHost: IdTable;
  readonly toClient: IdTable;
}

/** What mapId() returns for an id that may not be used. */
export const FORBIDDEN_ID = -1;

const FIRST = 0;
const LAST = 1;
const TARGET = 2;
const KIND = 3;
const ENTRY_WORDS = 4;

const RANGE = 0;
const SQUASH = 1;
const FORBID = 2;

/** Ids end below this one, which means "no id" to chown(2) and "no such user" to the kernel. */
const ID_LIMIT = 0xffffffff;

/** Translates an id by one direction of a map. @returns the id, or FORBIDDEN_ID */
export function mapId(table: IdTable, id: number): number {
  let low = 0;
  let high = table.length / ENTRY_WORDS - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const at = middle * ENTRY_WORDS;
    if (id < table[at + FIRST]) high = middle - 1;
    else if (id > table[at + LAST]) low = middle + 1;
    else return mapInside(table, at, id);
  }
  return id;
}

function mapInside(table: IdTable, at: number, id: number): number {
  if (table[at + KIND] === FORBID) return FORBIDDEN_ID;
  const offset = table[at + KIND] === SQUASH ? 0 : id - table[at + FIRST];
  return table[at + TARGET] + offset;
}

type Direction = keyof IdMap;

/** A rule's part in one direction. */
interface Entry {
  readonly rule: string;
  readonly first: number;
  readonly count: number;
  readonly target: number;
  readonly kind: number;
}

interface RuleForm {
  /** How the rule is written, for messages. */
  readonly form: string;
  /** Numbers behind the prefix. */
  readonly fields: number;
  readonly entries: readonly (readonly [Direction, number])[];
}

const FORMS: Readonly<Record<string, RuleForm>> = {
  map: {
    form: 'map:GUEST:HOST:COUNT',
    fields: 3,
    entries: [
      ['toHost', RANGE],
      ['toClient', RANGE],
    ],
  },
  guest: { form: 'guest:GUEST:HOST:COUNT', fields: 3, entries: [['toHost', RANGE]] },
  host: { form: 'host:HOST:GUEST:COUNT', fields: 3, entries: [['toClient', RANGE]] },
  'squash-guest': {
    form: 'squash-guest:GUEST:HOST_ID:COUNT',
    fields: 3,
    entries: [['toHost', SQUASH]],
  },
  'squash-host': {
    form: 'squash-host:HOST:GUEST_ID:COUNT',
    fields: 3,
    entries: [['toClient', SQUASH]],
  },
  'forbid-guest': { form: 'forbid-guest:GUEST:COUNT', fields: 2, entries: [['toHost', FORBID]] },
};

const SIDES: Readonly<Record<Direction, string>> = { toHost: 'guest', toClient: 'host' };

/**
 * Compiles the rules of --translate-uid or --translate-gid.
 * @param name of the option, for messages
 * @returns undefined without rules
 * @throws SluiceError ERR_SLUICE_OPTION: the rule, what is wrong, what would be right
 */
export function compileIdMap(name: string, rules: readonly string[]): IdMap | undefined {
  if (rules.length === 0) return undefined;
  const entries: Record<Direction, Entry[]> = { toHost: [], toClient: [] };
  for (const rule of rules) addRule(name, rule, entries);
  return {
    toHost: compileTable(name, 'toHost', entries.toHost),
    toClient: compileTable(name, 'toClient', entries.toClient),
  };
}

function bad(name: string, rule: string, reasonAndCure: string): SluiceError {
  return new SluiceError('ERR_SLUICE_OPTION', `${name}: rule "${rule}": ${reasonAndCure}`);
}

/** As virtiofsd reads it: whatever first is no letter, digit, `-` or `_` separates the fields. */
function addRule(name: string, rule: string, entries: Record<Direction, Entry[]>): void {
  const [, prefix = '', separator = ''] = /^([\p{L}\p{N}_-]*)(.?)/su.exec(rule) ?? [];
  const known = prefix.toLowerCase();
  const form = Object.hasOwn(FORMS, known) ? FORMS[known] : undefined;
  if (form === undefined) {
    throw bad(name, rule, `no rule begins so; begin with ${Object.keys(FORMS).join(', ')}`);
  }
  const texts =
    separator === '' ? [] : rule.slice(prefix.length + separator.length).split(separator);
  if (texts.length !== form.fields) {
    throw bad(
      name,
      rule,
      `it has ${texts.length} numbers instead of ${form.fields}; write ${form.form}`,
    );
  }
  const numbers = texts.map((text) => idNumber(name, rule, text));
  const [first = 0, target = 0] = numbers;
  const count = numbers[form.fields - 1] ?? 0;
  for (const [direction, kind] of form.entries) {
    const isTurned = form.entries.length === 2 && direction === 'toClient';
    const entry = isTurned
      ? { rule, kind, count, first: target, target: first }
      : { rule, kind, count, first, target };
    checkRange(name, entry);
    // A rule for no ids is a rule, and does nothing.
    if (count > 0) entries[direction].push(entry);
  }
}

function idNumber(name: string, rule: string, text: string): number {
  const value = /^\+?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value <= ID_LIMIT) return value;
  throw bad(name, rule, `"${text}" is no id or count; give a whole number from 0 to ${ID_LIMIT}`);
}

function checkRange(name: string, entry: Entry): void {
  const { rule, kind, first, count, target } = entry;
  const last = kind === RANGE ? target + count : target + 1;
  if (first + count <= ID_LIMIT && (kind === FORBID || last <= ID_LIMIT)) return;
  throw bad(
    name,
    rule,
    `it reaches beyond the last id, ${ID_LIMIT - 1}; lower the count, its last number`,
  );
}

function compileTable(name: string, direction: Direction, entries: Entry[]): IdTable {
  entries.sort((a, b) => a.first - b.first);
  const table = new Uint32Array(entries.length * ENTRY_WORDS);
  for (const [index, entry] of entries.entries()) {
    const before = entries[index - 1];
    if (before !== undefined && before.first + before.count > entry.first) {
      throw overlap(name, direction, before, entry);
    }
    const last = entry.first + entry.count - 1;
    table.set([entry.first, last, entry.target, entry.kind], index * ENTRY_WORDS);
  }
  return table;
}

function overlap(name: string, direction: Direction, before: Entry, entry: Entry): SluiceError {
  const side = SIDES[direction];
  const last = Math.min(before.first + before.count, entry.first + entry.count) - 1;
  return bad(
    name,
    entry.rule,
    `it overlaps "${before.rule}" in the ${side} ids ${entry.first} to ${last}; ` +
      'let one rule take them (the last number is a count, not the last id)',
  );
}
