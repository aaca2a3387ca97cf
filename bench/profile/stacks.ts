/** Stacks of functions, as `perf script` prints them, put together into a tree. */

export interface Frame {
  readonly name: string;
  /** Samples that were in it or in what it called. */
  samples: number;
  readonly callees: Map<string, Frame>;
}

/** `node 1234` and the rest of a head line; a frame is `address symbol (object)`. */
const HEAD = /^(\S.*?)\s+\d+\s*$/;
const FRAME = /^\s+[0-9a-f]+ (.+?) \(([^()]*(?:\([^()]*\))?[^()]*)\)$/;
/** Tiers of V8 as marks before a name of --perf-basic-prof; the same function in all of them. */
const TIER = /^(?:Function|LazyCompile|Script|Eval|Builtin|RegExp|JS):[*~^+']?/;

function newFrame(name: string): Frame {
  return { name, samples: 0, callees: new Map() };
}

/** Without the tier, and of a file only its name. */
function shortName(symbol: string, object: string): string {
  const name = symbol.replace(TIER, '').replace(/\+0x[0-9a-f]+$/, '');
  if (name === '[unknown]') return `[${object.replace(/^.*\//, '')}]`;
  return name.replace(/ (?:file:\/\/)?\S*\/([^/]+)$/, ' $1');
}

function add(root: Frame, stack: readonly string[]): void {
  root.samples++;
  let frame = root;
  for (const name of stack) {
    const callee = frame.callees.get(name) ?? newFrame(name);
    frame.callees.set(name, callee);
    callee.samples++;
    frame = callee;
  }
}

/** @param script what `perf script -F comm,tid,ip,sym,dso` printed */
export function foldStacks(script: string): Frame {
  const root = newFrame('all');
  for (const block of script.split('\n\n')) {
    const lines = block.split('\n').filter((line) => line !== '');
    const thread = HEAD.exec(lines[0] ?? '')?.[1];
    if (thread === undefined) continue;
    const frames = lines.slice(1).flatMap((line) => {
      const [, symbol, object] = FRAME.exec(line) ?? [];
      return symbol === undefined || object === undefined ? [] : [shortName(symbol, object)];
    });
    add(root, [thread, ...frames.reverse()]);
  }
  return root;
}
