import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { projectRoot } from '../harness/paths.ts';
import { run, runOk } from '../harness/run.ts';
import { tempDir } from '../harness/temp-dir.ts';
import { renderMonitoring, writeMonitoring } from '../tools/write-kubernetes-monitoring.ts';

const dockerfile = readFileSync(join(projectRoot, 'deploy/container/Dockerfile'), 'utf8');
const hasKustomize = (await run('sh', ['-c', 'kubectl kustomize --help'])).code === 0;
const noKustomize = hasKustomize ? false : 'kubectl is not installed; nothing builds the manifests';

/** The documents that kustomize makes of a folder below deploy/kubernetes, by `Kind/name`. */
async function build(root: string, folder: string): Promise<ReadonlyMap<string, string>> {
  const built = await runOk('kubectl', ['kustomize', join(root, 'deploy/kubernetes', folder)]);
  return new Map(
    built.stdout.split(/^---$/m).map((document) => {
      const kind = /^kind: (\S+)$/m.exec(document)?.[1];
      const name = /^metadata:\n(?: {2}.*\n)*? {2}name: (\S+)$/m.exec(document)?.[1];
      return [`${kind}/${name}`, document];
    }),
  );
}

suite('the container image', () => {
  test('is healthy while /livez answers 200', { timeout: 60_000 }, async () => {
    const [, json = ''] = /^HEALTHCHECK [^\n]*\\\n\s+CMD (\[.*\])$/m.exec(dockerfile) ?? [];
    const [command, ...args] = JSON.parse(json) as [string, ...string[]];
    let status = 200;
    const asked: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url);
      if (status !== 0) response.writeHead(status).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const check = async (): Promise<number | null> => {
      const env = { ...process.env, SLUICE_OPT_METRICS_PORT: String(port) };
      return (await run(command, args, { env, timeoutMs: 10_000 })).code;
    };
    assert.equal(await check(), 0);
    status = 503;
    assert.equal(await check(), 1);
    status = 0;
    assert.equal(await check(), 1, 'an answer that never comes');
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    assert.equal(await check(), 1, 'nobody listens');
    assert.deepEqual(asked, ['/livez', '/livez', '/livez']);
  });

  test('names its port once, and the manifests the same one', async () => {
    const port = /^ARG METRICS_PORT=(\d+)$/m.exec(dockerfile)?.[1];
    assert.ok(port !== undefined);
    assert.equal(dockerfile.split(port).length, 2);
    const files = ['base/daemonset', 'sidecar/deployment', 'monitoring/service'];
    for (const file of files) {
      const text = readFileSync(join(projectRoot, `deploy/kubernetes/${file}.yaml`), 'utf8');
      const ports = text.match(/\b\d{5}\b/g)?.filter((number) => number !== '65532') ?? [];
      assert.ok(ports.length > 0, file);
      assert.deepEqual(new Set(ports), new Set([port]), file);
    }
  });

  test('copies what is there', async () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, names]) =>
      (names as string).split(' '),
    );
    const kept = readFileSync(
      join(projectRoot, 'deploy/container/Dockerfile.dockerignore'),
      'utf8',
    );
    assert.ok(copied.length > 5);
    for (const name of copied) {
      await runOk('test', ['-e', join(projectRoot, name)]);
      assert.ok(kept.split('\n').includes(`!${name}`), `${name} is ignored by the build`);
    }
  });
});

suite('the manifests for Kubernetes', { skip: noKustomize }, () => {
  test('the mount on every node reaches the host, and clears what is stale', async () => {
    const built = await build(projectRoot, 'base');
    assert.deepEqual([...built.keys()], ['Namespace/sluice', 'DaemonSet/sluice']);
    const daemonSet = built.get('DaemonSet/sluice') as string;
    assert.match(daemonSet, /mountPropagation: Bidirectional/);
    assert.match(daemonSet, /name: clear-stale-mount/);
    assert.equal(daemonSet.match(/privileged: true/g)?.length, 2);
  });

  test('the sidecar that serves has no privileges', async () => {
    const [deployment = ''] = (await build(projectRoot, 'sidecar')).values();
    const containers = deployment.split(/^ {6}- /m);
    const named = (name: string): string =>
      containers.find((text) => new RegExp(`^ {8}name: ${name}$`, 'm').test(text)) ?? '';
    assert.match(named('mounter'), /privileged: true/);
    assert.match(named('mounter'), /Bidirectional/);
    assert.doesNotMatch(named('mounter'), /mountPath: \/data/);
    assert.doesNotMatch(named('sluice'), /privileged: true|Bidirectional/);
    assert.match(named('sluice'), /- \/dev\/fd\/N/);
    for (const setting of ['runAsNonRoot: true', 'allowPrivilegeEscalation: false', '- ALL']) {
      assert.ok(named('sluice').includes(setting), setting);
    }
    assert.match(named('application'), /HostToContainer/);
  });

  test('monitoring is made of the rules and dashboards of grafana/', async () => {
    const root = await tempDir('monitoring');
    cpSync(join(projectRoot, 'deploy'), join(root, 'deploy'), { recursive: true });
    for (const folder of ['rules', 'dashboards']) {
      mkdirSync(join(root, 'grafana', folder), { recursive: true });
    }
    const rules = join(root, 'grafana/rules');
    writeFileSync(
      join(rules, 'a.yaml'),
      '# Rules\ngroups:\n  - name: a\n    rules:\n      - alert: Down\n        expr: up == 0\n',
    );
    writeFileSync(join(rules, 'b.yaml'), 'groups:\n- name: b\n  rules: []\n');
    writeFileSync(join(root, 'grafana/dashboards/sluice-overview.json'), '{"title":"one"}');
    writeFileSync(join(root, 'grafana/dashboards/Lanes.json'), '{"title":"two"}');
    writeMonitoring(root);
    const built = await build(root, 'monitored');
    assert.deepEqual([...built.keys()].sort(), [
      'ConfigMap/sluice-dashboard-lanes',
      'ConfigMap/sluice-dashboard-overview',
      'DaemonSet/sluice',
      'Namespace/sluice',
      'PrometheusRule/sluice',
      'Service/sluice-metrics',
      'ServiceMonitor/sluice',
    ]);
    const rule = built.get('PrometheusRule/sluice') as string;
    assert.match(rule, /- alert: Down\n {6}expr: up == 0$/m);
    assert.match(rule, /name: b/);
    assert.match(built.get('ConfigMap/sluice-dashboard-lanes') as string, /grafana_dashboard: "1"/);
    for (const [name, text] of built) {
      if (!name.startsWith('Namespace')) assert.match(text, /^ {2}namespace: sluice$/m, name);
    }
    writeFileSync(join(rules, 'c.yaml'), 'rules: []\n');
    assert.throws(() => renderMonitoring(root), /one key, groups/);
  });

  test('and so it is built here', async () => {
    assert.ok((await build(projectRoot, 'monitored')).has('PrometheusRule/sluice'));
  });
});

test('monitoring in Kubernetes is what grafana/ says now', () => {
  for (const [path, text] of Object.entries(renderMonitoring(projectRoot))) {
    const written = readFileSync(join(projectRoot, path), 'utf8');
    assert.equal(written, text, 'run node dist/test/tools/write-kubernetes-monitoring.js');
  }
});
