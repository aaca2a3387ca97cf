/** What dashboards and rules ask Prometheus, with Grafana's variables filled in. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dashboard, Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { dataquery } from '@grafana/grafana-foundation-sdk/prometheus';
import { projectRoot } from '../harness/paths.ts';
import { fillIn, type Values } from '../tools/grafana-variables.ts';

const DIRECTORY = join(projectRoot, 'grafana/dashboards');

/** All dashboards as they are committed. */
export function readDashboards(): Dashboard[] {
  return readdirSync(DIRECTORY)
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(DIRECTORY, name), 'utf8')) as Dashboard);
}

/** The panels that show something, in their order. */
export function panelsOf({ panels = [] }: Dashboard): Panel[] {
  return panels.filter((panel): panel is Panel => panel.type !== 'row');
}

/** The queries of a panel. */
export function targetsOf({ targets = [] }: Panel): dataquery[] {
  return targets as dataquery[];
}

const LABEL_VALUES = /^label_values\((.*), (\w+)\)$/;

/** What a variable of a dashboard asks for. @throws Error when it is no label_values() */
export function labelQuery(query: string, values: Values): { series: string; label: string } {
  const [, series, label] = LABEL_VALUES.exec(query) ?? [];
  if (series === undefined || label === undefined) throw new Error(`${query}: no label_values()`);
  return { series: fillIn(series, values), label };
}

/** An expression without the comparisons with numbers that make an alert of it. */
export function withoutThresholds(expr: string): string {
  return expr.replaceAll(/\s*(?:==|!=|>=?|<=?)\s*-?\d+(?:\.\d+)?\b/g, '');
}
