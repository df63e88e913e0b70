import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { KubernetesObject } from '../../src/api/metadata.ts';
import { consistently, eventually } from '../support/await.ts';
import { conditionOf, Demo } from '../support/demo.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { isWrite } from '../support/faults.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { OperatorProcess } from '../support/operator.ts';
import { Oracle, type Outcome } from '../support/oracle.ts';
import { CHANGED_RULES, quiet, settled, Workload } from '../support/workload.ts';

/** Not that of config/rbac, which is there too. */
const NAME = 'operator-by-the-guide';
const USER = `system:serviceaccount:default:${NAME}`;
const FLAGS = [
  '--leader-elect',
  '--leader-election-namespace=default',
  `--leader-election-id=${NAME}`,
  '--leader-election-lease-duration=4500ms',
  '--leader-election-renew-deadline=3000ms',
  '--leader-election-retry-period=600ms',
];
const INSTALL_GUIDE = new URL('../../docs/install.md', import.meta.url);
/** Longest wait between two tries of a list or watch; milliseconds. */
const WATCH_BACKOFF_MS = 30_000;

/** Least time without the rights, once their lack is seen; the steps of a workload wait for a minute. */
const OUTAGE_MS = LONG_FORM ? 20_000 : 1_000;

/** A rule of a ClusterRole. */
interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

describe('rights that are taken away and given back', function () {
  this.timeout(180_000);
  const rights = documentedRights();
  let demo: Demo;
  let oracle: Oracle;
  let proxy: FaultProxy;
  let operator: OperatorProcess;
  let clean: Outcome;

  before(async () => {
    demo = await Demo.start({ faults: true });
    oracle = await Oracle.start(demo.kube);
    // The operator of this file is another one, with no more rights than the guide gives it.
    await demo.operator.stop();
    await demo.kube.resource('v1', 'serviceaccounts', 'default').create({ metadata: { name: NAME } });
    await rbac('clusterroles').create({ metadata: { name: NAME }, rules: rights });
    await bind();
    await allowed({ verb: 'list', resource: 'namespaces' }, true);
    proxy = await FaultProxy.start(await demo.controlPlane.kubeconfigForServiceAccount('default', NAME));
    operator = await OperatorProcess.start({ kubeconfig: proxy.kubeconfig, flags: FLAGS });
    await new Workload(demo, oracle, 'clean').perform();
    await eventually(() => quiet(proxy, 3_000), { timeout: 60_000 });
    clean = await oracle.outcome('clean');
    assert.deepEqual(await refused(), 0, 'the rights of the guide are enough');
  });

  after(async () => {
    await operator.stop();
    await proxy.close();
    await oracle[Symbol.asyncDispose]();
    await demo.stop();
  });

  it('to write NetworkPolicies: the status names what is forbidden, nothing is done by halves', async () => {
    const workload = new Workload(demo, oracle, 'writes');
    const withoutWrites = rights.map((rule) =>
      rule.resources.includes('networkpolicies') ? { ...rule, verbs: ['get', 'list', 'watch'] } : rule,
    );
    const recoveries: Record<string, number> = {};
    for (const step of ['fill', 'changeSpec', 'tamper', 'moveNamespaces'] as const) {
      await grant(withoutWrites);
      await allowed({ group: 'networking.k8s.io', verb: 'create', resource: 'networkpolicies' }, false);
      const since = performance.now();
      const before = await refused();
      const done = workload[step]();
      await eventually(async () => {
        assert.ok((await refused()) >= before + 30, 'it goes on to try');
      });
      await eventually(async () => {
        const { status } = await demo.kube.baselinePolicies.get(workload.run);
        assert.equal(conditionOf(status, 'Ready')?.status, 'False', JSON.stringify(status));
        const failure = status?.failures?.find(({ reason }) => reason === 'Forbidden');
        assert.match(
          failure?.message ?? '',
          /403 networkpolicies.* is forbidden: User "system:serviceaccount:default:/,
        );
      });
      await consistently(
        async () => {
          assert.equal((await readyz()).status, 200, 'all that it reads is current');
        },
        { for: OUTAGE_MS, interval: 100 },
      );
      const outage = performance.now() - since;
      await grant(rights);
      const given = performance.now();
      await done;
      recoveries[step] = performance.now() - given;
      // Each namespace waits about as long as it has failed, at the most.
      assert.ok(recoveries[step] < outage + 5_000, JSON.stringify({ step, outage, ...recoveries }));
    }
    await endsAsClean(workload.run);
  });

  it('to watch namespaces: readiness names it, what is known is kept and healed', async () => {
    const workload = new Workload(demo, oracle, 'watches');
    await workload.fill();
    await grant(
      rights.map((rule) => {
        if (!rule.resources.includes('namespaces')) return rule;
        return { ...rule, verbs: rule.verbs.filter((verb) => verb !== 'list' && verb !== 'watch') };
      }),
    );
    await allowed({ verb: 'watch', resource: 'namespaces' }, false);
    await consistently(
      async () => {
        assert.equal((await readyz()).status, 200);
      },
      { for: OUTAGE_MS, interval: 100 },
    );
    // The API server asks for rights when a watch is opened.
    proxy.cut();
    await unready('namespaces');
    await workload.changeSpec();
    await workload.tamper();
    const moved = workload.moveNamespaces();
    await eventually(async () => {
      assert.notEqual(await demo.kube.namespaces.find(workload.namespace(11)), undefined);
    });
    await consistently(
      async () => {
        assert.equal((await demo.children(workload.namespace(5))).size, CHANGED_RULES.length);
        assert.equal((await demo.children(workload.namespace(11))).size, 0);
      },
      { for: OUTAGE_MS, interval: 100 },
    );
    await grant(rights);
    const given = performance.now();
    await operator.ready();
    assert.ok(performance.now() - given < WATCH_BACKOFF_MS, `took ${performance.now() - given} ms`);
    await moved;
    await endsAsClean(workload.run);
    // A watch that has held for a while begins its back-off anew.
    await eventually(() => {
      const recovered = operator.log.filter(({ msg }) => msg === 'Recovered').map((line) => line['resource']);
      for (const resource of ['namespaces', 'networkpolicies', 'baselinepolicies']) {
        assert.ok(recovered.includes(resource), resource);
      }
    });
  });

  it('of any kind: it stops to lead, keeps everything as it is, and goes on when they are back', async () => {
    const workload = new Workload(demo, oracle, 'everything');
    await workload.fill();
    await workload.changeSpec();
    await rbac('clusterrolebindings').delete(NAME);
    await allowed({ verb: 'list', resource: 'namespaces' }, false);
    proxy.cut();
    await unready('namespaces');
    await unready('networkpolicies');
    await unready('baselinepolicies');
    await leading(0);
    const writes = proxy.requests.length;
    const healed = workload.tamper();
    await consistently(
      () => {
        assert.deepEqual(
          proxy.requests.slice(writes).filter((request) => isWrite(request, 'networkpolicies')),
          [],
        );
      },
      { for: OUTAGE_MS, interval: 100 },
    );
    await bind();
    const given = performance.now();
    await leading(1);
    await healed;
    await operator.ready();
    assert.ok(performance.now() - given < WATCH_BACKOFF_MS, `took ${performance.now() - given} ms`);
    await workload.moveNamespaces();
    await endsAsClean(workload.run, { uncountedDrift: true });
  });

  it('leave an operator that was never restarted, and writes nothing more', async () => {
    // The totals of the drift, which the last test does not compare, follow the rest of its status.
    await settled(proxy);
    await quiet(proxy, 10_000);
    assert.equal(operator.stderr, '');
  });

  function rbac(plural: string) {
    return demo.kube.resource('rbac.authorization.k8s.io/v1', plural);
  }

  async function bind(): Promise<void> {
    await rbac('clusterrolebindings').create({
      metadata: { name: NAME },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: NAME },
      subjects: [{ kind: 'ServiceAccount', namespace: 'default', name: NAME }],
    });
  }

  async function grant(rules: readonly Rule[]): Promise<void> {
    await rbac('clusterroles').merge(NAME, { rules });
  }

  /** Resolves when the API server would answer so: it hears of changed rights by a watch of its own. */
  async function allowed(resourceAttributes: Record<string, string>, wanted: boolean): Promise<void> {
    const body = { spec: { user: USER, groups: ['system:authenticated'], resourceAttributes } };
    await eventually(async () => {
      const review = await demo.kube.request('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { body });
      assert.equal((review as { status: { allowed: boolean } }).status.allowed, wanted);
    });
  }

  /** How many requests of the operator were refused for want of rights, by its own count. */
  async function refused(): Promise<number> {
    const counts = [...(await operator.metrics())].filter(
      ([sample]) => sample.startsWith('rest_client_requests_total{') && sample.includes('code="403"'),
    );
    return counts.reduce((sum, [, count]) => sum + count, 0);
  }

  async function readyz(): Promise<{ status: number; text: string }> {
    const answer = await fetch(`${operator.url('health')}/readyz`);
    return { status: answer.status, text: await answer.text() };
  }

  /** Resolves when readiness fails, names the resource, and tells why. */
  async function unready(resource: string): Promise<void> {
    await eventually(async () => {
      const { status, text } = await readyz();
      assert.equal(status, 500);
      assert.match(text, new RegExp(`^\\[-\\]cache-${resource} failed: .*403 ${resource}.* is forbidden: User`, 'm'));
    });
    assert.ok((await refused()) > 0);
  }

  async function leading(value: number): Promise<void> {
    await eventually(async () => {
      assert.equal(await operator.metric(`leader_election_master_status{name="${NAME}"}`), value);
    });
  }

  /** Fails unless the run ended as the clean one did, and nothing was opened or broken on the way. */
  async function endsAsClean(run: string, { uncountedDrift = false } = {}): Promise<void> {
    const comparable = (outcome: Outcome): unknown => {
      const text = JSON.stringify(outcome);
      return JSON.parse(uncountedDrift ? text.replaceAll(/(?<="(detected|healed)Total":)\d+/g, '0') : text);
    };
    await eventually(
      async () => {
        assert.deepEqual(comparable(await oracle.outcome(run)), comparable(clean));
      },
      { timeout: 60_000, interval: 200 },
    );
    await oracle.assertNothingOpenedOrBroken();
  }
});

/** The rules of the ClusterRole in the guide. */
function documentedRights(): Rule[] {
  const guide = readFileSync(INSTALL_GUIDE, 'utf8');
  const manifests = [...guide.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = '']) => parse(text) as unknown);
  const role = manifests.find((manifest) => (manifest as KubernetesObject).kind === 'ClusterRole');
  assert.ok(role, `expected a ClusterRole in ${INSTALL_GUIDE.pathname}`);
  return (role as { rules: Rule[] }).rules;
}
