import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { projectRoot } from '../harness/paths.ts';
import { missingTool, runOk } from '../harness/run.ts';

const GRAFANA = join(projectRoot, 'grafana');
const RULE_TESTS = readdirSync(join(GRAFANA, 'rules/tests')).map((name) => `rules/tests/${name}`);
const RULES = ['rules/alerts.yaml', 'rules/recording.yaml'];

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface RuleTest {
  readonly alert_rule_test?: readonly {
    readonly alertname: string;
    readonly exp_alerts?: readonly unknown[];
  }[];
}

function readYaml<Content>(path: string): Content {
  return parse(readFileSync(join(GRAFANA, path), 'utf8')) as Content;
}

function rulesOf(path: string): Rule[] {
  return readYaml<{ groups: { rules: Rule[] }[] }>(path).groups.flatMap(({ rules }) => rules);
}

const alerts = rulesOf('rules/alerts.yaml').filter(({ alert }) => alert !== undefined);

/** Anchors as they are made of headings. */
function anchorsOf(markdown: string): Set<string> {
  const headings = markdown.matchAll(/^#+ (.+)$/gm);
  return new Set(
    [...headings].map(([, text]) =>
      (text as string)
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}

test('every alert says how bad it is, what it means, and where to read on', () => {
  assert.ok(alerts.length >= 20, String(alerts.length));
  const anchors = anchorsOf(readFileSync(join(projectRoot, 'docs/runbook.md'), 'utf8'));
  for (const { alert = '', labels = {}, annotations = {} } of alerts) {
    assert.match(alert, /^Sluice[A-Z]\w+$/);
    assert.match(labels['severity'] ?? '', /^(critical|warning)$/, alert);
    assert.match(annotations['summary'] ?? '', /\{\{ \$labels\.instance \}\}/, alert);
    assert.match(annotations['description'] ?? '', /\.$/, alert);
    assert.equal(annotations['runbook_url'], `docs/runbook.md#${alert.toLowerCase()}`);
    assert.ok(anchors.has(alert.toLowerCase()), `docs/runbook.md has no section ${alert}`);
  }
});

test('the runbook has no section on an alert that is gone', () => {
  const runbook = readFileSync(join(projectRoot, 'docs/runbook.md'), 'utf8');
  const sections = [...runbook.matchAll(/^#+ (Sluice\w+)$/gm)].map(([, name]) => name);
  assert.deepEqual(
    sections,
    alerts.map(({ alert }) => alert),
  );
});

test('every alert is tested for firing and for not firing', () => {
  const checks = RULE_TESTS.flatMap((path) => readYaml<{ tests: RuleTest[] }>(path).tests).flatMap(
    ({ alert_rule_test = [] }) => alert_rule_test,
  );
  for (const { alert } of alerts) {
    const counts = checks
      .filter(({ alertname }) => alertname === alert)
      .map(({ exp_alerts = [] }) => exp_alerts.length);
    assert.ok(
      counts.some((count) => count > 0),
      `${alert} is not tested for firing`,
    );
    assert.ok(counts.includes(0), `${alert} is not tested for not firing`);
  }
});

test('recorded names are level, metric and operations', () => {
  for (const { record } of rulesOf('rules/recording.yaml')) {
    assert.match(record ?? '', /^instance(_\w+)?:sluice_\w+:\w+$/);
  }
});

async function promtool(t: TestContext, ...args: string[]): Promise<void> {
  const missing = await missingTool('promtool');
  if (missing !== undefined) return t.skip(missing);
  await runOk('promtool', args, { cwd: GRAFANA });
}

test('promtool check rules', (t) => promtool(t, 'check', 'rules', ...RULES));
test('promtool test rules', (t) => promtool(t, 'test', 'rules', ...RULE_TESTS));
test('promtool check config', (t) => promtool(t, 'check', 'config', 'prometheus/prometheus.yml'));

test('provisioning is what Grafana reads', () => {
  const { apiVersion, providers } = readYaml<{
    apiVersion: number;
    providers: { type: string; options: { path: string } }[];
  }>('provisioning/dashboards/sluice.yaml');
  assert.equal(apiVersion, 1);
  assert.deepEqual(
    providers.map(({ type }) => type),
    ['file'],
  );
  assert.match(providers[0]?.options.path ?? '', /^\//);
  const { datasources } = readYaml<{
    datasources: { type: string; jsonData: { timeInterval: string } }[];
  }>('provisioning/datasources/prometheus.yaml');
  const { global } = readYaml<{ global: { scrape_interval: string } }>('prometheus/prometheus.yml');
  assert.equal(datasources[0]?.type, 'prometheus');
  assert.equal(datasources[0]?.jsonData.timeInterval, global.scrape_interval);
});
