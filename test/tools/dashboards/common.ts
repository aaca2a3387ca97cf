/** What both dashboards have: names, variables, links, notes of restarts. */
import {
  AnnotationQueryBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { type AnyPanel, DATASOURCE } from './panels.ts';
import { of } from './select.ts';

export const OVERVIEW_UID = 'sluice-overview';
export const MOUNT_UID = 'sluice-mount';
const TAGS = ['fuse', 'sluice'];

/** Panels below a heading. */
export interface Row {
  readonly title: string;
  readonly panels: readonly AnyPanel[];
}

export interface Plan {
  readonly title: string;
  readonly uid: string;
  readonly description: string;
  readonly variables?: readonly QueryVariableBuilder[];
  readonly rows: readonly Row[];
}

/** A variable whose values are those of a label; all of them at first. */
export function labelVariable(name: string, label: string, series: string): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(DATASOURCE)
    .query(`label_values(${series}, ${name})`)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .allValue('.+')
    .current({ selected: true, text: 'All', value: '$__all' });
}

/** The JSON model of a dashboard. */
export function dashboard(plan: Plan): Dashboard {
  const builder = new DashboardBuilder(plan.title)
    .uid(plan.uid)
    .description(plan.description)
    .tags(TAGS)
    .editable()
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .tooltip(DashboardCursorSync.Crosshair)
    .link(
      new DashboardLinkBuilder('sluice')
        .type(DashboardLinkType.Dashboards)
        .tags(['sluice'])
        .includeVars(true)
        .keepTime(true),
    )
    .annotation(
      new AnnotationQueryBuilder()
        .name('Daemon started')
        .datasource(DATASOURCE)
        .enable(true)
        .iconColor('blue')
        .expr(`changes(${of('process_start_time_seconds')}[$__rate_interval]) > 0`),
    )
    .withVariable(
      new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'),
    )
    .withVariable(labelVariable('job', 'Job', 'sluice_build_info'))
    .withVariable(labelVariable('instance', 'Mount', 'sluice_build_info{job=~"$job"}'));
  for (const variable of plan.variables ?? []) builder.withVariable(variable);
  for (const row of plan.rows) {
    builder.withRow(new RowBuilder(row.title));
    for (const panel of row.panels) builder.withPanel(panel);
  }
  return numbered(builder.build());
}

/** Panels are numbered in their order: the builder leaves that to Grafana. */
function numbered(model: Dashboard): Dashboard {
  const panels = (model.panels ?? []).map((panel, index) => ({ ...panel, id: index + 1 }));
  return { ...model, panels };
}
