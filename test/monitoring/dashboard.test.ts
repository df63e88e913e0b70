import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { childName } from '../../src/api/names.ts';
import { eventually } from '../support/await.ts';
import { conditionOf, Demo } from '../support/demo.ts';
import { kustomize, PROJECT } from '../support/kubectl.ts';
import { Prometheus } from '../support/prometheus.ts';
import { tokenOf } from '../support/scrape.ts';
import { OPERATOR, OPERATOR_NAMESPACE } from '../support/service-account.ts';

const JOB = `${OPERATOR}-metrics`;
const RULES = join(PROJECT, 'hack/prometheus/rules.ts');

interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] };
}

const dashboard = JSON.parse(readFileSync(join(PROJECT, 'config/grafana/dashboard.json'), 'utf8')) as Dashboard;

/** An expression as Grafana sends it. */
function interpolate(expression: string): string {
  return expression.replaceAll('$__rate_interval', '5m').replaceAll('$job', JOB).replaceAll('$policy', '.*');
}

describe('A Prometheus that scrapes an operator as the manifests have it', function () {
  this.timeout(300_000);
  let demo: Demo;
  let prometheus: Prometheus;
  let rules: string;

  before(async () => {
    const env = { POD_NAMESPACE: OPERATOR_NAMESPACE };
    demo = await Demo.start({ flags: ['--leader-elect', '--metrics-secure'], env });
    await demo.kube.resource('v1', 'serviceaccounts', OPERATOR_NAMESPACE).create({ metadata: { name: 'prometheus' } });
    await demo.kube.resource('rbac.authorization.k8s.io/v1', 'clusterrolebindings').create({
      metadata: { name: 'prometheus' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: `${OPERATOR}-metrics-reader` },
      subjects: [{ kind: 'ServiceAccount', name: 'prometheus', namespace: OPERATOR_NAMESPACE }],
    });
    await demo.operator.logged('Became leader', 60_000);
    ({ stdout: rules } = await promisify(execFile)(process.execPath, [RULES]));
    prometheus = await Prometheus.start({
      job: JOB,
      targets: [new URL(demo.operator.url('metrics')).host],
      token: await tokenOf(demo.kube, OPERATOR_NAMESPACE, 'prometheus'),
      rules,
    });
    await eventually(
      async () => {
        assert.equal((await prometheus.query(`up{job="${JOB}"}`))[0]?.value[1], '1');
      },
      { timeout: 60_000, interval: 200 },
    );
  });

  after(async () => {
    await prometheus[Symbol.asyncDispose]();
    await demo.stop();
  });

  /** Makes all happen that a query shows: baselines, heals, a fight and a held deletion. */
  async function live(): Promise<void> {
    const [namespace = ''] = await demo.createNamespaces('dashboard', 12);
    await demo.policy('dashboard');
    await demo.compliant('dashboard', 12, { timeout: 60_000 });
    // What stays selected, so that there is a share of it that is covered.
    await demo.namespace('steady');
    await demo.policy('steady');
    await demo.compliant('steady', 1);
    // An increase is counted from the first sample, which must be from before what is counted.
    await eventually(
      async () => {
        for (const counter of ['baseline_policy_fights_total', 'baseline_policy_drift_total']) {
          const samples = await prometheus.query(`${counter}{policy="dashboard"}`);
          assert.ok(samples.length > 0, `no series of ${counter}`);
          assert.deepEqual(new Set(samples.map(({ value: [, value] }) => value)), new Set(['0']));
        }
      },
      { timeout: 60_000, interval: 200 },
    );
    const dns = childName('dashboard', 'allow-dns');
    const children = demo.kube.networkPolicies(namespace);
    // The sixth heal within a minute is a fight; each of them is seen to be healed before the next damage.
    for (let damage = 0; damage < 6; damage++) {
      await children.merge(dns, { spec: { egress: [{}] } });
      if (damage === 5) break;
      await eventually(async () => {
        assert.notDeepEqual((await children.get(dns)).spec?.egress, [{}]);
      });
    }
    await demo.operator.logged('Stopped healing NetworkPolicy that something keeps changing', 60_000);
    await demo.change('dashboard', { namespaceSelector: { matchLabels: { no: 'such' } } });
    await demo.status('dashboard', (status) => {
      assert.equal(conditionOf(status, 'DeletionHeld')?.status, 'True');
    });
  }

  it('has data for every query of the dashboard', async () => {
    await live();
    assert.ok(dashboard.panels.length > 0);
    for (const { title, targets } of dashboard.panels) {
      assert.ok(targets.length > 0, title);
      for (const { expr } of targets) {
        await eventually(
          async () => {
            const result = await prometheus.query(interpolate(expr));
            assert.ok(result.length > 0, `${title}: no data for ${expr}`);
            assert.ok(
              result.some(({ value: [, value] }) => value !== 'NaN'),
              `${title}: no value for ${expr}`,
            );
          },
          { timeout: 60_000, interval: 1_000 },
        );
      }
    }
  });

  it('shows what has happened', async () => {
    const panel = (title: string): string =>
      interpolate(dashboard.panels.find((each) => each.title === title)?.targets[0]?.expr ?? '');
    const value = async (title: string): Promise<number> =>
      (await prometheus.query(panel(title))).reduce((sum, { value: [, text] }) => sum + Number(text), 0);
    await eventually(
      async () => {
        assert.equal(await value('Deletions held'), 1);
        assert.equal(await value('Leaders'), 1);
        assert.equal(await value('Operators'), 1);
        assert.ok((await value('Fights')) > 0);
        assert.ok((await value('Drift')) > 0);
      },
      { timeout: 60_000, interval: 1_000 },
    );
  });

  it('evaluates each alert without an error, on metrics that there are', async () => {
    const alerts = (parse(rules) as { groups: { rules: { alert: string; expr: string }[] }[] }).groups.flatMap(
      (group) => group.rules,
    );
    await eventually(
      async () => {
        assert.deepEqual(
          await prometheus.ruleErrors(),
          new Map(alerts.map(({ alert }) => [alert, undefined] as const)),
        );
      },
      { timeout: 60_000, interval: 1_000 },
    );
    for (const { alert, expr } of alerts) {
      // A selector is a name before a brace, or alone in an aggregation or a range.
      const names = expr.match(/\b(up|[a-z]+_[a-z_]+)\b(?=[{[)])/g) ?? [];
      assert.ok(names.length > 0, alert);
      for (const name of new Set(names)) {
        assert.notDeepEqual(await prometheus.query(name), [], `${alert}: no series of ${name}`);
      }
    }
    await eventually(
      async () => {
        const [held] = await prometheus.query('ALERTS{alertname="BaselinePolicyDeletionHeld"}');
        assert.equal(held?.metric['policy'], 'dashboard');
      },
      { timeout: 60_000, interval: 1_000 },
    );
  });

  it('is told by the ServiceMonitor to do as it does here', async () => {
    const monitor = (await kustomize('config/prometheus')).find(({ kind }) => kind === 'ServiceMonitor') as unknown as {
      spec: { selector: { matchLabels: Record<string, string> }; endpoints: [Record<string, unknown>] };
    };
    const service = (await kustomize('config/default')).find(({ kind }) => kind === 'Service') as unknown as {
      metadata: { name: string; labels: Record<string, string> };
      spec: { ports: { name: string }[] };
    };
    const [{ port, scheme, path, tlsConfig }] = monitor.spec.endpoints;
    assert.deepEqual([scheme, path, tlsConfig], ['https', '/metrics', { insecureSkipVerify: true }]);
    assert.deepEqual(
      service.spec.ports.map(({ name }) => name),
      [port],
    );
    assert.equal(service.metadata.name, JOB);
    for (const [label, value] of Object.entries(monitor.spec.selector.matchLabels)) {
      assert.equal(service.metadata.labels[label], value, label);
    }
  });
});
