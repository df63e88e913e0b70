import assert from 'node:assert/strict';
import type { AdditionalPolicy } from '../../src/api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../../src/api/names.ts';
import { eventually } from '../support/await.ts';
import { ConnectingPods } from '../support/connecting-pods.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { ENFORCED, OWN_NODE, type RealCluster } from '../support/real-cluster.ts';

const OPEN_PORT = 8080;
const OTHER_PORT = 8081;
const PORTS = [OPEN_PORT, OTHER_PORT];
/** Enforcers hear of pods and policies by watches of their own. */
const ENFORCED_WITHIN = { timeout: 60_000, interval: 500 };

const WEB_TO_API: AdditionalPolicy = {
  name: 'web-to-api',
  spec: {
    podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['web', 'api'] }] },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: OPEN_PORT }] }],
    egress: [{ to: [{ podSelector: { matchLabels: { app: 'api' } } }], ports: [{ port: OPEN_PORT }] }],
  },
};

/** Namespaces that did not opt in are open to each other; those that did, to the monitoring of the BaselinePolicy. */
const OUTSIDE = bothWays('watchers/prometheus', 'outside/client');
const MONITORING = ['web', 'api'].map((app) => `watchers/prometheus > shop/${app}:${OTHER_PORT}`);

/** All connections between two pods. */
function bothWays(one: string, other: string): string[] {
  return PORTS.flatMap((port) => [`${one} > ${other}:${port}`, `${other} > ${one}:${port}`]);
}

// What a network plugin does that enforces NetworkPolicies is not for us to test; that it does with ours what we say is.
if (ENFORCED) {
  describe('Where NetworkPolicies are enforced', function () {
    this.timeout(300_000);
    let cluster: RealCluster;
    let baseline: OwnBaseline;
    let shop: string;
    let pods: ConnectingPods;

    before(async () => {
      cluster = await installedOperator();
      baseline = await OwnBaseline.create(cluster, (name) => ({
        rules: {
          allowMonitoring: {
            from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': `${name}-watchers` } } }],
            ports: [{ port: OTHER_PORT }],
          },
        },
        additionalPolicies: [WEB_TO_API],
      }));
      const [watchers, outside] = await Promise.all([baseline.namespace('watchers'), baseline.namespace('outside')]);
      shop = await baseline.optedIn('shop', [WEB_TO_API.name]);
      pods = new ConnectingPods(cluster, { namespaces: { shop, watchers, outside }, ports: PORTS });
      await Promise.all(
        ['shop/web', 'shop/api', 'watchers/prometheus', 'outside/client'].map((name) => pods.start(name)),
      );
    });

    after(() => baseline[Symbol.asyncDispose]());

    /** Waits until exactly these connections are made, and `kubectl baseline` says so. */
    async function assertConnections(expected: readonly string[]): Promise<void> {
      await eventually(async () => {
        assert.deepEqual(await pods.connected(), [...expected].sort());
      }, ENFORCED_WITHIN);
      assert.deepEqual(await pods.foretold(), [...expected].sort());
    }

    it('exactly the connections are made that the baseline allows, and kubectl baseline says so', async () => {
      await assertConnections([...OUTSIDE, ...MONITORING, 'shop/web > shop/api:8080']);
    });

    it('a change of the BaselinePolicy opens what it allows, and no more', async () => {
      await cluster.kube.baselinePolicies.merge(baseline.name, {
        spec: { rules: { allowSameNamespace: { enabled: true } } },
      });
      await assertConnections([...OUTSIDE, ...MONITORING, ...bothWays('shop/web', 'shop/api')]);
    });

    it('a child that somebody opens is closed again, for packets too', async () => {
      const { spec } = await baseline.child(shop, 'allow-monitoring');
      await baseline.edit(shop, 'allow-monitoring', { ingress: [{}] });
      await eventually(async () => {
        assert.deepEqual((await baseline.child(shop, 'allow-monitoring')).spec, spec);
      });
      await assertConnections([...OUTSIDE, ...MONITORING, ...bothWays('shop/web', 'shop/api')]);
    });

    it('a namespace that opts out is as open as one that never opted in', async () => {
      await cluster.kube.namespaces.merge(shop, { metadata: { labels: { [LABEL_ENFORCE]: null } } });
      const all = ['shop/web', 'shop/api', 'watchers/prometheus', 'outside/client'];
      await assertConnections(
        all.flatMap((one, index) => all.slice(index + 1).flatMap((other) => bothWays(one, other))),
      );
    });
  });
}

// What users must know: where nothing enforces them, NetworkPolicies do nothing, and nothing tells.
if (OWN_NODE) {
  describe('Where nothing enforces NetworkPolicies', function () {
    this.timeout(300_000);
    let cluster: RealCluster;
    let baseline: OwnBaseline;

    before(async () => {
      cluster = await installedOperator();
      await cluster.node.ignoreNetworkPolicies();
      baseline = await OwnBaseline.create(cluster);
    });

    after(async () => {
      await baseline[Symbol.asyncDispose]();
      await cluster.node.enforceNetworkPolicies();
    });

    it('a connection that default-deny forbids is made all the same, and nothing tells', async () => {
      const outside = await baseline.namespace('outside');
      const inside = await baseline.optedIn('inside');
      const pods = new ConnectingPods(cluster, { namespaces: { inside, outside }, ports: PORTS });
      await Promise.all(['inside/client', 'outside/server'].map((name) => pods.start(name)));

      await eventually(async () => {
        assert.deepEqual(await pods.connected(), bothWays('inside/client', 'outside/server').sort());
      }, ENFORCED_WITHIN);
      assert.deepEqual(await pods.foretold(), []);
      const { stdout: status } = await cluster.kubectlBaseline('status', `--namespace=${inside}`);
      assert.match(status, new RegExp(`^${inside} +${baseline.name} +compliant`, 'm'));
    });
  });
}
