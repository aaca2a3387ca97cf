/** Series of the mounts that the reader has chosen, written in PromQL. */

/** The labels that every series of a mount has, limited to what the variables name. */
const CHOSEN = 'job=~"$job", instance=~"$instance"';

/** The series of a metric, with further matchers as `op="read"`. */
export function of(metric: string, matchers = ''): string {
  return `${metric}{${matchers === '' ? CHOSEN : `${CHOSEN}, ${matchers}`}}`;
}

/** How fast a counter grows, per second. */
export function rate(metric: string, matchers = ''): string {
  return `rate(${of(metric, matchers)}[$__rate_interval])`;
}

/** The sum over everything but the labels named, as `op, where`. */
export function sumBy(labels: string, expr: string): string {
  return labels === '' ? `sum(${expr})` : `sum by (${labels}) (${expr})`;
}

/** A quantile of a histogram, for each value of the labels named. */
export function quantile(q: number, histogram: string, labels = '', matchers = ''): string {
  const by = labels === '' ? 'le' : `le, ${labels}`;
  return `histogram_quantile(${q}, ${sumBy(by, rate(`${histogram}_bucket`, matchers))})`;
}

/** The mean of a histogram, for each value of the labels named. */
export function mean(histogram: string, labels = '', matchers = ''): string {
  const [sum, count] = ['sum', 'count'].map((part) =>
    sumBy(labels, rate(`${histogram}_${part}`, matchers)),
  );
  return `${sum} / ${count}`;
}
