/**
 * Serves a directory without the names that match a pattern.
 * Usage: node dist/examples/reject-names.js PATTERN SOURCE MOUNTPOINT; Ctrl-C unmounts.
 */
import { mount } from 'sluicefs';

const [pattern = '', source = '', mountpoint = ''] = process.argv.slice(2);
const mounted = await mount({
  source,
  mountpoint,
  layers: [
    {
      module: new URL('./layers/reject-names-layer.js', import.meta.url),
      options: { pattern: new RegExp(pattern) },
    },
  ],
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => mounted.unmount());
console.log(`${source} is mounted on ${mountpoint}, without names like ${pattern}`);
await mounted.unmounted;
