import assert from 'node:assert/strict';
import type { AdditionalPolicy } from '../../src/api/baselinepolicy.ts';
import { LABEL_ENFORCE } from '../../src/api/names.ts';
import { eventually } from '../support/await.ts';
import { ClientPod } from '../support/client-pod.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { ENFORCED, OWN_NODE, type RealCluster } from '../support/real-cluster.ts';

const OPEN_PORT = 8080;
const OTHER_PORT = 8081;
/** Tells its address on both ports. */
const SERVER = `import { createServer } from 'node:http';
  for (const port of [${OPEN_PORT}, ${OTHER_PORT}]) {
    createServer((_, answer) => answer.end('reached')).listen(port);
  }`;
/** How long a connection may take that is allowed; one that is not is dropped without a word by most network plugins. */
const CONNECT_TIMEOUT_MS = 2000;
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
  return [OPEN_PORT, OTHER_PORT].flatMap((port) => [`${one} > ${other}:${port}`, `${other} > ${one}:${port}`]);
}

/** Pods that listen on both ports, by names such as `shop/web`, and what they may do. */
class Pods {
  readonly #cluster: RealCluster;
  /** Namespace of the cluster, by that of the test. */
  readonly #namespaces: Readonly<Record<string, string>>;
  readonly #pods = new Map<string, ClientPod>();

  constructor(cluster: RealCluster, namespaces: Readonly<Record<string, string>>) {
    this.#cluster = cluster;
    this.#namespaces = namespaces;
  }

  /** Starts a pod with the label `app` of its own name. */
  async start(name: string): Promise<void> {
    const [namespace = '', app = ''] = name.split('/');
    const options = { namespace: this.#namespaces[namespace] ?? '', name: app, labels: { app }, script: SERVER };
    this.#pods.set(name, await ClientPod.start(this.#cluster, options));
  }

  /** The connections that are made, as `SOURCE > DESTINATION:PORT`: each pod tries all others on both ports. */
  async connected(): Promise<string[]> {
    const names = [...this.#pods];
    const lists = names.map(async ([source, pod]) => {
      const targets = names
        .filter(([name]) => name !== source)
        .flatMap(([name, { ip }]) =>
          [OPEN_PORT, OTHER_PORT].map((port) => ({ name: `${name}:${port}`, url: `http://${ip}:${port}` })),
        );
      const reached = (await pod.run(`
        const reaches = ({ url }) => fetch(url, { signal: AbortSignal.timeout(${CONNECT_TIMEOUT_MS}) })
          .then((answer) => answer.text()).then((text) => text === 'reached', () => false);
        export default Promise.all(${JSON.stringify(targets)}.map(reaches));`)) as boolean[];
      return targets.filter((_, index) => reached[index]).map(({ name }) => `${source} > ${name}`);
    });
    return (await Promise.all(lists)).flat().sort();
  }

  /** The connections that `kubectl baseline` says to be allowed, in the same words. */
  async foretold(): Promise<string[]> {
    const own = new Map<string, string>();
    for (const name of this.#pods.keys()) {
      const [namespace = '', app = ''] = name.split('/');
      own.set(`${this.#namespaces[namespace] ?? ''}/${app}[Pod]`, name);
    }
    const lists = [OPEN_PORT, OTHER_PORT].map(async (port) => {
      const { code, stdout, stderr } = await this.#cluster.kubectlBaseline(
        ...['matrix', '--all-namespaces', `--port=${port}/TCP`, '--output=json'],
      );
      assert.equal(code, 0, stderr);
      const rows = JSON.parse(stdout) as { source: string; destinations: Record<string, string> }[];
      return rows.flatMap(({ source, destinations }) =>
        Object.entries(destinations)
          .filter(([destination, verdict]) => own.has(source) && own.has(destination) && verdict === 'all')
          .map(([destination]) => `${own.get(source) ?? ''} > ${own.get(destination) ?? ''}:${port}`),
      );
    });
    return (await Promise.all(lists)).flat().sort();
  }
}

// What a network plugin does that enforces NetworkPolicies is not for us to test; that it does with ours what we say is.
if (ENFORCED) {
  describe('Where NetworkPolicies are enforced', function () {
    this.timeout(300_000);
    let cluster: RealCluster;
    let baseline: OwnBaseline;
    let shop: string;
    let pods: Pods;

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
      pods = new Pods(cluster, { shop, watchers, outside });
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
      const pods = new Pods(cluster, { inside, outside });
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
