/** Draws a tree of stacks: callers below, width by samples, names and shares when pointed at. */
import { cut, element, escaped, rect, text } from '../../test/tools/picture/svg.ts';
import type { Frame } from './stacks.ts';

const WIDTH = 1600;
const ROW_HEIGHT = 17;
const HEAD_HEIGHT = 30;
/** Narrower frames are not drawn. */
const LEAST_WIDTH = 0.5;
const LEAST_TEXT_WIDTH = 25;

/** The same name has the same colour in every graph: kernel, JavaScript and native code differ. */
function colourOf(name: string): string {
  let hash = 0;
  for (const character of name) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) >>> 0;
  const isJavaScript = /\.js(?::|$)/.test(name);
  const isKernel =
    /^(?:__x64_|__arm64_|do_|vfs_|fuse_|sys_|entry_|\[kernel|schedule|__schedule)/.test(name);
  const hue = isJavaScript ? 130 : isKernel ? 25 : 45;
  return `hsl(${hue + (hash % 15)}, ${60 + (hash % 20)}%, ${62 + (hash % 12)}%)`;
}

function depthOf(frame: Frame, scale: number): number {
  const drawn = [...frame.callees.values()].filter(({ samples }) => samples * scale >= LEAST_WIDTH);
  return 1 + Math.max(0, ...drawn.map((callee) => depthOf(callee, scale)));
}

/** @param title what was sampled, in a line */
export function flameGraph(root: Frame, title: string): string {
  const scale = WIDTH / Math.max(root.samples, 1);
  const height = HEAD_HEIGHT + depthOf(root, scale) * ROW_HEIGHT + 5;
  const pieces: string[] = [];
  const draw = (frame: Frame, x: number, level: number): void => {
    const width = frame.samples * scale;
    if (width < LEAST_WIDTH) return;
    const y = height - (level + 1) * ROW_HEIGHT - 5;
    const share = ((100 * frame.samples) / root.samples).toFixed(2);
    const label = escaped(`${frame.name}: ${frame.samples} samples, ${share} %`);
    const box = { x, y, width, height: ROW_HEIGHT - 1 };
    const name =
      width < LEAST_TEXT_WIDTH ? '' : text(x + 2, y + ROW_HEIGHT - 5, cut(frame.name, width - 4));
    pieces.push(
      element(
        'g',
        {},
        element('title', {}, label) + rect(box, { fill: colourOf(frame.name) }) + name,
      ),
    );
    let left = x;
    const callees = [...frame.callees.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const callee of callees) {
      draw(callee, left, level + 1);
      left += callee.samples * scale;
    }
  };
  draw(root, 0, 0);
  const attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${WIDTH} ${height}`,
    'font-family': 'monospace',
    'font-size': 10,
  };
  const head = element('title', {}, title) + text(5, HEAD_HEIGHT - 12, title, { 'font-size': 13 });
  return `${element('svg', attributes, head + pieces.join('\n'))}\n`;
}
