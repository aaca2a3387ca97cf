/** Text as man(7) wants it. */

/** Text that stands for itself: no escapes, dashes that can be copied, no line that is a request. */
export function plain(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/gm, '\\&');
}

const LINE_LENGTH = 76;

/** {@link plain} text of a paragraph, in lines of a length that can be edited. */
export function filled(text: string): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (plain(line).length <= LINE_LENGTH) lines[lines.length - 1] = line;
    else lines.push(word);
  }
  return plain(lines.filter((line) => line !== '').join('\n'));
}

export function bold(text: string): string {
  return `\\fB${plain(text)}\\fR`;
}

export function italic(text: string): string {
  return `\\fI${plain(text)}\\fR`;
}

export function section(title: string, ...paragraphs: readonly string[]): string {
  // A heading, list or example begins a paragraph by itself.
  const [first = '', ...others] = paragraphs;
  const rest = others.map((text) => (text.startsWith('.') ? `\n${text}` : `\n.PP\n${text}`));
  return `.SH ${title}\n${first}${rest.join('')}\n`;
}

export function subsection(title: string, body: string): string {
  return `.SS ${plain(title)}\n${body}\n`;
}

/** A list of terms, each already marked up, with what they mean. */
export function definitions(entries: readonly (readonly [term: string, text: string])[]): string {
  return entries.map(([term, text]) => `.TP\n${term}\n${filled(text)}`).join('\n');
}

/** Lines that stay as they are. */
export function example(text: string): string {
  return `.in +4n\n.EX\n${plain(text.trimEnd())}\n.EE\n.in`;
}
