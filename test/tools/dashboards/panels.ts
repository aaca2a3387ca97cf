/** The kinds of panels the dashboards have, each with the settings they share. */
import * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import {
  BarGaugeDisplayMode,
  BigValueColorMode,
  BigValueGraphMode,
  GraphDrawStyle,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  ScaleDistribution,
  ScaleDistributionConfigBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizOrientation,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  type DataTransformerConfig,
  type DynamicConfigValue,
  type Panel,
  type Threshold,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

export type AnyPanel = Builder<Panel>;

/** Whatever data source of type Prometheus the reader has chosen. */
// biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Grafana
export const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

/** Columns of Grafana's grid. */
export const GRID_COLUMNS = 24;
const GRAPH_ROWS = 8;
const STAT_ROWS = 4;

export interface Query {
  readonly expr: string;
  /** Name of each series, with labels in double braces. */
  readonly legend?: string;
}

interface About {
  readonly title: string;
  /** What it tells, and when to worry; shown behind the panel's "i". */
  readonly description: string;
  /** A unit of Grafana: s, bytes, Bps, ops, reqps, percentunit, short, ... */
  readonly unit: string;
  readonly queries: readonly Query[];
  /** Columns; default: a third of the row. */
  readonly width?: number;
}

interface Described {
  title(title: string): this;
  description(description: string): this;
  datasource(datasource: typeof DATASOURCE): this;
  span(columns: number): this;
  unit(unit: string): this;
}

function describe<B extends Described>(builder: B, about: About, defaultWidth: number): B {
  return builder
    .title(about.title)
    .description(about.description)
    .datasource(DATASOURCE)
    .unit(about.unit)
    .span(about.width ?? defaultWidth);
}

/** A, B, C, ... */
function refId(index: number): string {
  return String.fromCharCode('A'.charCodeAt(0) + index);
}

function targetOf({ expr, legend = '__auto' }: Query, index: number): DataqueryBuilder {
  return new DataqueryBuilder()
    .datasource(DATASOURCE)
    .expr(expr)
    .legendFormat(legend)
    .exemplar(false)
    .refId(refId(index));
}

function rangeTargets(queries: readonly Query[]): DataqueryBuilder[] {
  return queries.map((query, index) => targetOf(query, index).range());
}

function instantTargets(queries: readonly Query[]): DataqueryBuilder[] {
  return queries.map((query, index) => targetOf(query, index).instant());
}

function steps(...bounds: readonly [color: string, from: number | null][]): Threshold[] {
  return bounds.map(([color, value]) => ({ color, value }));
}

function thresholds(list: Threshold[]): ThresholdsConfigBuilder {
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(list);
}

export interface GraphOptions extends About {
  /** Areas on top of each other, for parts of a whole. */
  readonly isStacked?: boolean;
  /** For what spans powers of ten. */
  readonly isLogarithmic?: boolean;
  readonly max?: number;
  /** Series (by their name) drawn as dashed lines without a fill: limits. */
  readonly limits?: RegExp;
}

/** Lines over time. */
export function graph(options: GraphOptions): AnyPanel {
  const { isStacked = false, isLogarithmic = false, max, limits } = options;
  const builder = describe(new timeseries.PanelBuilder(), options, 8)
    .height(GRAPH_ROWS)
    .targets(rangeTargets(options.queries))
    .drawStyle(GraphDrawStyle.Line)
    .lineWidth(1)
    .fillOpacity(isStacked ? 40 : 8)
    .showPoints(VisibilityMode.Never)
    .thresholds(thresholds(steps(['green', null])))
    .legend(
      new VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom),
    )
    .tooltip(
      new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending),
    );
  if (isStacked) builder.stacking(new StackingConfigBuilder().mode(StackingMode.Normal).group('A'));
  if (isLogarithmic) {
    builder.scaleDistribution(
      new ScaleDistributionConfigBuilder().type(ScaleDistribution.Log).log(10),
    );
  } else builder.min(0);
  if (max !== undefined) builder.max(max);
  if (limits !== undefined) builder.overrideByRegexp(`/${limits.source}/`, LIMIT_STYLE);
  return builder;
}

const LIMIT_STYLE: DynamicConfigValue[] = [
  { id: 'custom.lineStyle', value: { fill: 'dash', dash: [8, 8] } },
  { id: 'custom.fillOpacity', value: 0 },
  { id: 'custom.stacking', value: { mode: 'none', group: 'A' } },
  { id: 'color', value: { mode: 'fixed', fixedColor: 'red' } },
];

/** Counts by bucket over time; the queries have the label `le`. */
export function heat(options: About): AnyPanel {
  const { queries, unit } = options;
  return describe(new heatmap.PanelBuilder(), options, 8)
    .height(GRAPH_ROWS)
    .targets(
      queries.map((query, index) =>
        targetOf({ ...query, legend: '{{le}}' }, index)
          .range()
          .format(PromQueryFormat.Heatmap),
      ),
    )
    .calculate(false)
    .color(
      new heatmap.HeatmapColorOptionsBuilder()
        .mode(heatmap.HeatmapColorMode.Scheme)
        .scheme('Oranges')
        .steps(64),
    )
    .cellGap(1)
    .filterValues(new heatmap.FilterValueRangeBuilder().le(1e-9))
    .yAxis(new heatmap.YAxisConfigBuilder().unit(unit))
    .cellValues(new heatmap.CellValuesBuilder().unit('reqps'))
    .showValue(VisibilityMode.Never)
    .mode(TooltipDisplayMode.Single)
    .showLegend();
}

export interface StatOptions extends About {
  /** Colours from the lowest value up; without: neutral. */
  readonly colors?: readonly [color: string, from: number | null][];
  /** What is shown instead of a value. */
  readonly texts?: Readonly<Record<string, string>>;
  readonly decimals?: number;
}

/** One number, the latest. */
export function single(options: StatOptions): AnyPanel {
  const { colors, texts, decimals } = options;
  const builder = describe(new stat.PanelBuilder(), options, 3)
    .height(STAT_ROWS)
    .targets(instantTargets(options.queries))
    .colorMode(colors === undefined ? BigValueColorMode.None : BigValueColorMode.Value)
    .graphMode(BigValueGraphMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .thresholds(thresholds(steps(...(colors ?? [['text', null] as const]))));
  if (decimals !== undefined) builder.decimals(decimals);
  if (texts !== undefined) builder.mappings([valueTexts(texts)]);
  return builder;
}

function valueTexts(texts: Readonly<Record<string, string>>): ValueMapping {
  const options = Object.fromEntries(
    Object.entries(texts).map(([value, text], index) => [value, { text, index }]),
  );
  return { type: 'value', options } as ValueMapping;
}

/** A bar for each series, the longest first. */
export function bars(options: About): AnyPanel {
  return describe(new bargauge.PanelBuilder(), options, 8)
    .height(GRAPH_ROWS)
    .targets(instantTargets(options.queries))
    .displayMode(BarGaugeDisplayMode.Basic)
    .orientation(VizOrientation.Horizontal)
    .min(0)
    .thresholds(thresholds(steps(['blue', null])))
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']));
}

export interface Column {
  /** The field: a label, or `Value #A` of query A. */
  readonly field: string;
  readonly title: string;
  readonly unit?: string;
  readonly texts?: Readonly<Record<string, string>>;
  /** Where a click leads. */
  readonly link?: { readonly title: string; readonly url: string };
}

export interface TableOptions extends Omit<About, 'unit'> {
  /** Labels that make a row; all queries have them. */
  readonly keys: readonly string[];
  /** In their order; what is not named is not shown. */
  readonly columns: readonly Column[];
  readonly rows?: number;
}

/** Instant values joined to rows. */
export function rows(options: TableOptions): AnyPanel {
  const { columns, queries, keys } = options;
  const builder = describe(new table.PanelBuilder(), { ...options, unit: 'short' }, GRID_COLUMNS)
    .height(options.rows ?? GRAPH_ROWS)
    .targets(
      queries.map((query, index) => targetOf(query, index).instant().format(PromQueryFormat.Table)),
    );
  for (const transformation of joined(keys, columns)) builder.withTransformation(transformation);
  for (const column of columns) builder.overrideByName(column.title, columnStyle(column));
  return builder;
}

/** One row for each combination of the keys, with the columns that are named. */
function joined(keys: readonly string[], columns: readonly Column[]): DataTransformerConfig[] {
  const fields = Object.fromEntries(
    columns.map(({ field }) =>
      keys.includes(field)
        ? [field, { aggregations: [], operation: 'groupby' }]
        : [field, { aggregations: ['lastNotNull'], operation: 'aggregate' }],
    ),
  );
  const shown = ({ field }: Column): string =>
    keys.includes(field) ? field : `${field} (lastNotNull)`;
  const indexByName = Object.fromEntries(columns.map((column, index) => [shown(column), index]));
  const renameByName = Object.fromEntries(columns.map((column) => [shown(column), column.title]));
  return [
    { id: 'merge', options: {} },
    { id: 'groupBy', options: { fields } },
    { id: 'organize', options: { indexByName, renameByName, excludeByName: {} } },
  ];
}

function columnStyle({ unit, texts, link }: Column): DynamicConfigValue[] {
  return [
    ...(unit === undefined ? [] : [{ id: 'unit', value: unit }]),
    ...(texts === undefined ? [] : [{ id: 'mappings', value: [valueTexts(texts)] }]),
    ...(link === undefined ? [] : [{ id: 'links', value: [link] }]),
  ];
}
