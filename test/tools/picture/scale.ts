/** Where values lie on an axis, and how they are written. */

export interface Scale {
  /** 0 at the lower end, 1 at the upper. */
  place(value: number): number;
  /** Round values on it. */
  readonly ticks: readonly number[];
}

const MOST_TICKS = 4;

/** Steps of 1, 2 and 5 times a power of ten. */
export function linearScale(from: number, to: number): Scale {
  const rough = (to - from) / MOST_TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
  const count = Math.floor(to / step - Math.ceil(from / step) + 1e-9) + 1;
  const first = Math.ceil(from / step) * step;
  return {
    place: (value) => (value - from) / (to - from),
    ticks: Array.from({ length: count }, (_, i) => first + i * step),
  };
}

/** Powers of ten, not all of them when they are many. */
export function logarithmicScale(least: number, most: number): Scale {
  const from = Math.floor(Math.log10(least));
  const to = Math.max(from + 1, Math.ceil(Math.log10(most)));
  const every = Math.ceil((to - from) / MOST_TICKS);
  const powers = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  return {
    place: (value) => Math.max(0, (Math.log10(value) - from) / (to - from)),
    ticks: powers.filter((_, i) => i % every === 0).map((power) => 10 ** power),
  };
}

/** Three digits at most. */
function short(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let rest = value;
  let index = 0;
  while (Math.abs(rest) >= base && index < units.length - 1) {
    rest /= base;
    index++;
  }
  return `${short(rest)}${units[index]}`;
}

const THOUSANDS = ['', 'K', 'M', 'G', 'T'];
const BYTES = [' B', ' KiB', ' MiB', ' GiB', ' TiB'];
const HOUR_SECONDS = 3600;

function secondsText(value: number): string {
  if (value === 0) return '0 s';
  if (value >= HOUR_SECONDS) return `${short(value / HOUR_SECONDS)} h`;
  if (value >= 1) return `${short(value)} s`;
  return value >= 1e-3 ? `${short(value * 1e3)} ms` : `${short(value * 1e6)} us`;
}

/** A value in one of Grafana's units. */
export function valueText(value: number, unit: string): string {
  switch (unit) {
    case 's':
      return secondsText(value);
    case 'bytes':
      return scaled(value, 1024, BYTES);
    case 'Bps':
      return `${scaled(value, 1024, BYTES)}/s`;
    case 'percentunit':
      return `${short(value * 100)} %`;
    case 'reqps':
    case 'ops':
      return `${scaled(value, 1000, THOUSANDS)}/s`;
    default:
      return scaled(value, 1000, THOUSANDS);
  }
}

/** The time of day. */
export function clockText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(11, 19);
}
