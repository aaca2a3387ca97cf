/** Pieces of an SVG. */

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export type Attributes = Readonly<Record<string, string | number>>;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
};

/** Text as it may stand between tags and in attributes. */
export function escaped(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => ENTITIES[character] as string);
}

/** Coordinates in tenths: the eye sees no less. */
export function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}

export function element(name: string, attributes: Attributes, content = ''): string {
  const pairs = Object.entries(attributes).map(
    ([key, value]) => `${key}="${typeof value === 'number' ? rounded(value) : escaped(value)}"`,
  );
  return `<${[name, ...pairs].join(' ')}${content === '' ? '/>' : `>${content}</${name}>`}`;
}

export function text(x: number, y: number, content: string, attributes: Attributes = {}): string {
  return element('text', { x, y, ...attributes }, escaped(content));
}

export function rect({ x, y, width, height }: Box, attributes: Attributes): string {
  return element('rect', { x, y, width, height, ...attributes });
}

/** Width of text in the small font, about: capitals are wider. */
export function textWidth(content: string): number {
  const capitals = content.replaceAll(/[^A-Z_]/g, '').length;
  return 6 * content.length + 2 * capitals;
}

/** What fits into a width. */
export function cut(content: string, width: number): string {
  if (textWidth(content) <= width) return content;
  let length = content.length;
  while (length > 1 && textWidth(content.slice(0, length)) > width - 8) length--;
  return `${content.slice(0, length)}..`;
}
