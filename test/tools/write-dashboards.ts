/** Writes the dashboards as Grafana reads them: `write-dashboards.js grafana/dashboards`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { mountDashboard } from './dashboards/mount.ts';
import { overviewDashboard } from './dashboards/overview.ts';

/** The text of each file, by its name. */
export function renderDashboards(): ReadonlyMap<string, string> {
  return new Map(
    [overviewDashboard(), mountDashboard()].map((model) => [
      `${model.uid}.json`,
      `${JSON.stringify(model, null, 2)}\n`,
    ]),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const directory = process.argv[2];
  if (directory === undefined) throw new Error('usage: write-dashboards.js DIRECTORY');
  for (const [name, text] of renderDashboards()) writeFileSync(join(directory, name), text);
}
