/**
 * Meters what each user reads and writes.
 * Usage: node dist/examples/meter.js SOURCE MOUNTPOINT; Ctrl-C unmounts and prints the bytes.
 */
import { mount } from 'sluicefs';
import { newMeter, readMeter } from './layers/meter-layer.ts';

const [source = '', mountpoint = ''] = process.argv.slice(2);
const meter = newMeter();
const mounted = await mount({
  source,
  mountpoint,
  allowOther: process.geteuid?.() === 0,
  layers: [{ module: new URL('./layers/meter-layer.js', import.meta.url), options: meter }],
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => mounted.unmount());
console.log(`${source} is mounted on ${mountpoint}`);
await mounted.unmounted;
for (const [uid, { read, written }] of readMeter(meter)) {
  console.log(`uid ${uid}: ${read} bytes read, ${written} bytes written`);
}
