/** Asks a Prometheus. */

const TIMEOUT_MS = 10_000;

export type Labels = Readonly<Record<string, string>>;

/** A series with its values over time; one value for an instant. */
export interface Series {
  readonly labels: Labels;
  /** Unix seconds and value, in order of time. */
  readonly points: readonly (readonly [timeSeconds: number, value: number])[];
}

export interface Rule {
  readonly type: 'alerting' | 'recording';
  readonly name: string;
  readonly query: string;
  /** `ok`, or what it is that fails. */
  readonly health: string;
  readonly lastError?: string;
}

/** Seconds since 1970, from and to, and the distance of points. */
export interface Range {
  readonly from: number;
  readonly to: number;
  readonly stepSeconds: number;
}

interface Matrix {
  readonly resultType: 'matrix' | 'vector' | 'scalar' | 'string';
  readonly result: readonly {
    readonly metric: Labels;
    readonly value?: [number, string];
    readonly values?: [number, string][];
  }[];
}

export class PrometheusApi {
  readonly #url: string;

  /** @param url as http://127.0.0.1:9090 */
  constructor(url: string) {
    this.#url = url;
  }

  /** The value of each series at a time. */
  async instant(query: string, timeSeconds: number): Promise<Series[]> {
    return seriesOf(await this.#get<Matrix>('query', { query, time: String(timeSeconds) }));
  }

  /** The values of each series over a time. */
  async range(query: string, { from, to, stepSeconds }: Range): Promise<Series[]> {
    const time = { start: String(from), end: String(to), step: String(stepSeconds) };
    return seriesOf(await this.#get<Matrix>('query_range', { query, ...time }));
  }

  /** What `label_values(SERIES, LABEL)` of Grafana asks for. */
  labelValues(series: string, label: string): Promise<string[]> {
    return this.#get<string[]>(`label/${label}/values`, { 'match[]': series });
  }

  /** All rules that are loaded. */
  async rules(): Promise<Rule[]> {
    const { groups } = await this.#get<{ groups: { rules: Rule[] }[] }>('rules', {});
    return groups.flatMap(({ rules }) => rules);
  }

  /** @throws Error with what Prometheus has against it */
  async #get<Data>(path: string, parameters: Labels): Promise<Data> {
    const search = new URLSearchParams(parameters);
    const response = await fetch(`${this.#url}/api/v1/${path}?${search}`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const answer = (await response.json()) as { status: string; error?: string; data: Data };
    if (answer.status !== 'success') {
      throw new Error(`${parameters['query'] ?? path}: ${answer.error ?? response.status}`);
    }
    return answer.data;
  }
}

function seriesOf({ resultType, result }: Matrix): Series[] {
  if (resultType !== 'matrix' && resultType !== 'vector') {
    throw new Error(`a ${resultType} is no series`);
  }
  return result.map(({ metric, value, values }) => ({
    labels: metric,
    points: (values ?? (value === undefined ? [] : [value])).map(
      ([time, text]) => [time, Number(text)] as const,
    ),
  }));
}
