/**
 * Writes what kustomize cannot make of grafana/ by itself: `write-kubernetes-monitoring.js [ROOT]`.
 *
 * - deploy/kubernetes/monitoring/prometheus-rule.yaml: grafana/rules/*.yaml as one PrometheusRule
 * - grafana/kustomization.yaml: a ConfigMap of each dashboard in grafana/dashboards
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { projectRoot } from '../harness/paths.ts';

const NOTE = '# Made by test/tools/write-kubernetes-monitoring.ts; do not edit.\n';

function filesOf(folder: string, extension: string): string[] {
  const names = readdirSync(folder).filter((name) => name.endsWith(extension));
  return names.sort().map((name) => join(folder, name));
}

/** The list below the only key of a rule file, `groups:`. */
function groupsOf(file: string): string {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const key = lines.findIndex((line) => !/^\s*(#|$|---)/.test(line));
  const list = lines.slice(key + 1);
  if (lines[key] !== 'groups:' || list.some((line) => /^[^\s#-]/.test(line))) {
    throw new Error(`${file}: a rule file has one key, groups:`);
  }
  // A list may stand as far left as its key.
  const isFlush = list.some((line) => line.startsWith('-'));
  return list.map((line) => (line === '' ? line : `${isFlush ? '    ' : '  '}${line}`)).join('\n');
}

function prometheusRule(root: string): string {
  const groups = filesOf(join(root, 'grafana/rules'), '.yaml').map(groupsOf);
  return `${NOTE}apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sluice
spec:
  groups:
${groups.join('\n')}
`;
}

/** One ConfigMap each: together they may be larger than one may be. */
function dashboards(root: string): string {
  const maps = filesOf(join(root, 'grafana/dashboards'), '.json').map((file) => {
    const name = basename(file, '.json')
      .toLowerCase()
      .replace(/[^a-z0-9-]/g, '-');
    return `  - name: sluice-dashboard-${name.replace(/^sluice-/, '')}
    files:
      - dashboards/${basename(file)}
`;
  });
  return `${NOTE}apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
configMapGenerator:
${maps.join('')}generatorOptions:
  disableNameSuffixHash: true
  labels:
    # What Grafana's sidecar looks for.
    grafana_dashboard: "1"
`;
}

/** Texts by path below `root`, which has grafana/rules and grafana/dashboards. */
export function renderMonitoring(root: string): Readonly<Record<string, string>> {
  return {
    'deploy/kubernetes/monitoring/prometheus-rule.yaml': prometheusRule(root),
    'grafana/kustomization.yaml': dashboards(root),
  };
}

/** Writes the files. */
export function writeMonitoring(root: string): void {
  for (const [path, text] of Object.entries(renderMonitoring(root))) {
    writeFileSync(join(root, path), text);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeMonitoring(process.argv[2] ?? projectRoot);
}
