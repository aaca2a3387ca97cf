/**
 * Enforces who may import whom. Usage: lint-imports.js (in the package's root); exits 1 with one line
 * per violation: file:line, rule, reason.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Violation {
  readonly line: number;
  readonly rule: string;
  readonly reason: string;
}

interface Reference {
  readonly line: number;
  readonly kind: 'import' | 'url';
  /** As written; undefined when it is computed at run time. */
  readonly specifier: string | undefined;
}

interface Context {
  /** The importing file, relative to the package's root. */
  readonly from: string;
  readonly kind: Reference['kind'];
  readonly specifier: string;
  /** The imported file, relative to the package's root; undefined for packages and built-ins. */
  readonly target: string | undefined;
}

interface Rule {
  readonly name: string;
  readonly reason: string;
  readonly isBroken: (context: Context) => boolean;
}

const SOURCE_FOLDERS = ['src', 'test', 'bench', 'examples'];
/** Imports what a program names: the modules of layers. */
const IMPORTS_BY_NAME = 'src/shared/layers/load.ts';
const builtins = new Set(builtinModules);

function isIn(path: string | undefined, ...folders: string[]): boolean {
  return path !== undefined && folders.some((folder) => path.startsWith(`${folder}/`));
}

/** The package of a bare specifier: `koffi` of `koffi/indirect`. */
function packageOf(specifier: string): string {
  const depth = specifier.startsWith('@') ? 2 : 1;
  return specifier.split('/').slice(0, depth).join('/');
}

function isTopLevelOfShared(target: string): boolean {
  return posix.dirname(target) === 'src/shared';
}

/** Within `folder`, relative imports may only reach what `isAllowed` accepts. */
function onlyReaches(
  folder: string,
  isAllowed: (target: string) => boolean,
): (context: Context) => boolean {
  return ({ from, target }) => isIn(from, folder) && target !== undefined && !isAllowed(target);
}

/** In src, only files that match `owner` may import the package. */
function ownedBy(packageName: string, owner: RegExp): (context: Context) => boolean {
  return ({ from, specifier }) =>
    isIn(from, 'src') && packageOf(specifier) === packageName && !owner.test(from);
}

const rules: readonly Rule[] = [
  {
    name: 'shared-is-below',
    reason: 'src/shared runs on every thread and imports neither src/main nor src/workers',
    isBroken: ({ from, target }) =>
      isIn(from, 'src/shared') && isIn(target, 'src/main', 'src/workers'),
  },
  {
    name: 'abi-alone',
    reason: 'abi knows bytes and no policy: it imports only abi',
    isBroken: ({ from, target }) => isIn(from, 'src/shared/abi') && !isIn(target, 'src/shared/abi'),
  },
  {
    name: 'sys-without-fuse',
    reason: 'sys knows Linux and no FUSE: it imports only sys and shared/errors.ts',
    isBroken: onlyReaches(
      'src/shared/sys',
      (target) => isIn(target, 'src/shared/sys') || target === 'src/shared/errors.ts',
    ),
  },
  {
    name: 'memory-knows-layouts',
    reason: 'memory knows layouts and no FUSE operation: it imports only memory and sys',
    isBroken: onlyReaches('src/shared/memory', (target) =>
      isIn(target, 'src/shared/memory', 'src/shared/sys'),
    ),
  },
  {
    name: 'passthrough-meets',
    reason:
      'passthrough imports only abi, sys, memory, itself and the files directly in src/shared',
    isBroken: onlyReaches(
      'src/shared/passthrough',
      (target) =>
        isTopLevelOfShared(target) ||
        isIn(
          target,
          'src/shared/passthrough',
          'src/shared/abi',
          'src/shared/sys',
          'src/shared/memory',
        ),
    ),
  },
  {
    name: 'workers-on-shared',
    reason: 'workers import only workers and shared',
    isBroken: onlyReaches('src/workers', (target) => isIn(target, 'src/workers', 'src/shared')),
  },
  {
    name: 'session-off-backing',
    reason: 'main/session never touches a backing file: it does not import shared/passthrough',
    isBroken: ({ from, target }) =>
      isIn(from, 'src/main/session') && isIn(target, 'src/shared/passthrough'),
  },
  {
    name: 'thread-files',
    reason:
      'new URL(..., import.meta.url) names a module only in src/main, and only of src/workers',
    isBroken: ({ from, kind, target }) =>
      kind === 'url' &&
      isIn(from, 'src') &&
      target !== undefined &&
      /\.[cm]?[jt]s$/.test(target) &&
      !(isIn(from, 'src/main') && isIn(target, 'src/workers')),
  },
  {
    name: 'layers-on-top',
    reason: 'only src/shared/layers knows layers there: the operations know nothing of them',
    isBroken: ({ from, target }) =>
      isIn(from, 'src/shared') &&
      !isIn(from, 'src/shared/layers') &&
      isIn(target, 'src/shared/layers'),
  },
  {
    name: 'examples-as-users',
    reason: 'examples import sluicefs, as programs elsewhere do, Node and each other',
    isBroken: onlyReaches('examples', (target) => isIn(target, 'examples')),
  },
  {
    name: 'src-alone',
    reason: 'nothing in src imports test or bench',
    isBroken: ({ from, target }) => isIn(from, 'src') && isIn(target, 'test', 'bench'),
  },
  {
    name: 'koffi-in-libc',
    reason:
      'only src/shared/sys/libc.ts imports koffi, and for what src never calls test/harness/native.ts and test/fsx/mapping.ts',
    isBroken: ({ from, specifier }) =>
      packageOf(specifier) === 'koffi' &&
      !['src/shared/sys/libc.ts', 'test/harness/native.ts', 'test/fsx/mapping.ts'].includes(from),
  },
  {
    name: 'prom-client-in-metrics',
    reason: 'only src/main/metrics* and src/workers/exporter* import prom-client',
    isBroken: ownedBy('prom-client', /^src\/(main\/metrics|workers\/exporter)/),
  },
  {
    name: 'pino-in-log',
    reason: 'only src/shared/log.ts imports pino',
    isBroken: ownedBy('pino', /^src\/shared\/log\.ts$/),
  },
  {
    name: 'node-prefix',
    reason: 'built-in modules are named with node:',
    isBroken: ({ kind, specifier }) => kind === 'import' && builtins.has(specifier),
  },
];

/** Characters after which a slash begins a regular expression, not a division. */
const BEFORE_REGEXP = '(,=:[!&|?{};+-*%~^<>';
const WORD_BEFORE_REGEXP = /(?:^|\W)(?:return|typeof|case|in|of|delete|void|throw|yield|await)$/;

/** Where a quoted text that begins at `start` ends (the index behind it). */
function endOfQuoted(text: string, start: number, quote: string): number {
  let isInClass = false;
  for (let i = start + 1; i < text.length; i++) {
    const character = text[i];
    if (character === '\\') i++;
    else if (quote === '/' && character === '[') isInClass = true;
    else if (quote === '/' && character === ']') isInClass = false;
    else if (character === quote && !isInClass) return i + 1;
    else if (character === '\n' && quote !== '`') return i;
  }
  return text.length;
}

/**
 * The code with comments, template literals and regular expressions blanked, and string literals
 * replaced by their numbers in `strings`, so that a pattern sees statements only. Lines stay.
 */
function reduce(text: string): { code: string; strings: string[] } {
  const strings: string[] = [];
  let code = '';
  const blank = (part: string): string => part.replace(/[^\n]/g, ' ');
  for (let i = 0; i < text.length; ) {
    const character = text[i] as string;
    const pair = text.slice(i, i + 2);
    let end = i + 1;
    if (pair === '//' || pair === '/*') {
      const found = pair === '//' ? text.indexOf('\n', i) : text.indexOf('*/', i + 2) + 2;
      end = found <= 1 ? text.length : found;
      code += blank(text.slice(i, end));
    } else if (character === "'" || character === '"') {
      end = endOfQuoted(text, i, character);
      strings.push(text.slice(i + 1, end - 1));
      code += `'${strings.length - 1}'`;
    } else if (character === '`') {
      end = endOfQuoted(text, i, '`');
      const part = text.slice(i, end);
      // A template without substitutions is a string like any other.
      if (part.includes('$' + '{')) code += `\`${blank(part.slice(1, -1))}\``;
      else {
        strings.push(part.slice(1, -1));
        code += `'${strings.length - 1}'${blank(part.replace(/[^\n]/g, ''))}`;
      }
    } else if (character === '/' && isRegExpAfter(code)) {
      end = endOfQuoted(text, i, '/');
      code += '0';
    } else code += character;
    i = end;
  }
  return { code, strings };
}

function isRegExpAfter(code: string): boolean {
  const before = code.trimEnd();
  return (
    before === '' || BEFORE_REGEXP.includes(before.slice(-1)) || WORD_BEFORE_REGEXP.test(before)
  );
}

const STATEMENT =
  /(?<=^|[;}\s])(?:import|export)\s+(?:type\s+)?(?:[\w$*\s{},]|'\d+'\s+as\b|\bas\s+'\d+')*?\bfrom\s*'(\d+)'|(?<=^|[;}\s])import\s*'(\d+)'/g;
const CALL = /(?<![\w$.])(?:import|require)\s*\(\s*(?:'(\d+)'\s*[,)])?/g;
const MODULE_URL = /\bnew\s+URL\s*\(\s*(?:'(\d+)'|[^,()]*)\s*,\s*import\s*\.\s*meta\s*\.\s*url\b/g;

function findReferences(text: string): Reference[] {
  const { code, strings } = reduce(text);
  const lineOf = (index: number): number => code.slice(0, index).split('\n').length;
  const collect = (pattern: RegExp, kind: Reference['kind']): Reference[] =>
    [...code.matchAll(pattern)].map((match) => {
      const number = match[1] ?? match[2];
      const end = match.index + match[0].length;
      return {
        line: lineOf(number === undefined ? match.index : end),
        kind,
        specifier: number === undefined ? undefined : strings[Number(number)],
      };
    });
  return [
    ...collect(STATEMENT, 'import'),
    ...collect(CALL, 'import'),
    ...collect(MODULE_URL, 'url'),
  ].sort((a, b) => a.line - b.line);
}

function findNonAscii(text: string): Violation[] {
  return text.split('\n').flatMap((line, index) => {
    const column = [...line].findIndex((character) => (character.codePointAt(0) as number) > 0x7e);
    if (column < 0) return [];
    const reason = `source is ASCII only; column ${column + 1} is not`;
    return [{ line: index + 1, rule: 'ascii', reason }];
  });
}

/** Where a compiled name points to in the sources: workers are named as they run, with .js. */
function sourceName(path: string): string {
  return path.replace(/\.js$/, '.ts');
}

/**
 * Checks one file.
 *
 * @param from its path relative to the package's root, with `/`
 * @param text its contents
 */
export function lintSource(from: string, text: string): Violation[] {
  const broken = findReferences(text).flatMap(({ line, kind, specifier }) => {
    if (specifier === undefined) {
      if (!isIn(from, 'src') || from === IMPORTS_BY_NAME) return [];
      const reason = 'the name of an imported module is written out, so that it can be checked';
      return [{ line, rule: 'computed-name', reason }];
    }
    const isRelative = kind === 'url' || specifier.startsWith('.');
    const target = isRelative ? sourceName(posix.join(posix.dirname(from), specifier)) : undefined;
    const context = { from, kind, specifier, target };
    return rules
      .filter((rule) => rule.isBroken(context))
      .map((rule) => ({ line, rule: rule.name, reason: `${rule.reason} (found '${specifier}')` }));
  });
  return [...broken, ...findNonAscii(text)].sort((a, b) => a.line - b.line);
}

function sourcesOf(root: string): string[] {
  return SOURCE_FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => posix.join(folder, path)),
  ).sort();
}

function main(root: string): number {
  const files = sourcesOf(root);
  let count = 0;
  for (const file of files) {
    for (const { line, rule, reason } of lintSource(file, readFileSync(join(root, file), 'utf8'))) {
      process.stderr.write(`${file}:${line} ${rule}: ${reason}\n`);
      count++;
    }
  }
  const verdict = count === 0 ? 'no import breaks a rule' : `${count} imports break a rule`;
  process.stdout.write(`lint-imports: ${files.length} files, ${verdict}\n`);
  return count === 0 ? 0 : 1;
}

if (resolve(process.argv[1] ?? '') === fileURLToPath(import.meta.url)) {
  process.exitCode = main(process.cwd());
}
