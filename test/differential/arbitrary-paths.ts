/** Arbitrary names and paths. Few names, so that they meet. */
import fc from 'fast-check';

const ODD_NAMES = [
  '.hidden',
  'two words',
  'new\nline',
  '\xc3\xa9',
  '\xff\xfe',
  '\x80',
  '..c',
  'n'.repeat(254),
  'n'.repeat(255),
  'n'.repeat(256),
  `${'\xff'.repeat(255)}`,
  `${'\xff'.repeat(256)}`,
];

export function commonNames(names: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    ...names.map((text, index) => ({ weight: 6 - index, arbitrary: fc.constant(text) })),
  );
}

/** At most one `..` in a path: see ACTOR_DEPTH. */
export function paths(commonName: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const name = fc.oneof(
    { weight: 12, arbitrary: commonName },
    { weight: 1, arbitrary: fc.constantFrom(...ODD_NAMES) },
  );
  return fc.oneof(
    { weight: 14, arbitrary: name },
    { weight: 8, arbitrary: fc.tuple(commonName, name).map(([a, b]) => `${a}/${b}`) },
    {
      weight: 3,
      arbitrary: fc.tuple(commonName, commonName, name).map(([a, b, c]) => `${a}/${b}/${c}`),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(
          fc.constantFrom(
            './A',
            'A/',
            'A/.',
            'A/..',
            'A//B',
            'A/./B',
            'A/../B',
            '.',
            '..',
            '',
            'A/B/..',
          ),
          commonName,
          commonName,
        )
        .map(([shape, a, b]) => shape.replace('A', a).replace('B', b)),
    },
  );
}
