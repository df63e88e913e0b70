import assert from 'node:assert/strict';
import fc from 'fast-check';
import type {
  LabelSelector,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../../src/api/networkpolicy.ts';
import { eventually } from '../support/await.ts';
import { policies } from '../support/cluster-arbitraries.ts';
import { ConnectingPods } from '../support/connecting-pods.ts';
import { installedOperator } from '../support/installed-operator.ts';
import { StatusError } from '../support/kube.ts';
import { LONG_FORM } from '../support/long-form.ts';
import { OwnBaseline } from '../support/own-baseline.ts';
import { OWN_NODE, type RealCluster } from '../support/real-cluster.ts';

const RUNS = LONG_FORM ? 200 : 12;
/** What is added to generated ports below 1000, on which only root may listen. */
const FIRST_PORT = 8000;
const PORTS = [80, 81, 90].map((port) => FIRST_PORT + port);
const ENFORCED_WITHIN = { timeout: 30_000, interval: 200 };

const podSelector: fc.Arbitrary<LabelSelector> = fc.constantFrom<LabelSelector[]>(
  {},
  { matchLabels: { app: 'a' } },
  { matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['a'] }] },
  { matchExpressions: [{ key: 'tier', operator: 'Exists' }] },
);
const namespaceSelector: fc.Arbitrary<LabelSelector> = fc.constantFrom<LabelSelector[]>(
  {},
  { matchLabels: { team: 'a' } },
  { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['two'] }] },
);
const peer: fc.Arbitrary<NetworkPolicyPeer> = fc.oneof(
  fc.record<NetworkPolicyPeer>({ podSelector }),
  fc.record<NetworkPolicyPeer>({ namespaceSelector }),
  fc.record<NetworkPolicyPeer>({ podSelector, namespaceSelector }),
  fc.constantFrom<NetworkPolicyPeer[]>(
    { ipBlock: { cidr: '10.0.0.0/8' } },
    { ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] } },
  ),
);
const port: fc.Arbitrary<NetworkPolicyPort> = fc.constantFrom<NetworkPolicyPort[]>(
  ...[...PORTS, 'http', 'dns'].map((of) => ({ port: of })),
  { port: 8080, endPort: 8081 },
  { port: 8081, endPort: 8089 },
  { protocol: 'UDP', port: 8080 },
);
const peers = fc.array(peer, { minLength: 1, maxLength: 2 });
const ports = fc.array(port, { minLength: 1, maxLength: 2 });
const spec: fc.Arbitrary<NetworkPolicySpec> = fc.oneof(
  fc.record({
    podSelector,
    ingress: fc.array(fc.record({ from: peers, ports }, { requiredKeys: [] }), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({
    podSelector,
    policyTypes: fc.constant<('Ingress' | 'Egress')[]>(['Egress']),
    egress: fc.array(fc.record({ to: peers, ports }, { requiredKeys: [] }), { minLength: 1, maxLength: 2 }),
  }),
);
/** Policies that tell pods and ports of this test apart, where those of unit tests often allow all or nothing. */
const tellingPolicies: fc.Arbitrary<NetworkPolicy[]> = fc
  .array(fc.record({ namespace: fc.constantFrom('one', 'two'), spec }), { minLength: 2, maxLength: 5 })
  .map((list) =>
    list.map(({ namespace, spec: of }, index) => ({ metadata: { namespace, name: `p${index}` }, spec: of })),
  );

// Network plugins differ in what NetworkPolicies leave open. That of the node is known, and is not of our making.
if (OWN_NODE) {
  describe('What kubectl baseline says of NetworkPolicies', function () {
    this.timeout(RUNS * 30_000);
    let cluster: RealCluster;
    let baseline: OwnBaseline;
    let namespaces: Readonly<Record<string, string>>;
    let pods: ConnectingPods;

    before(async () => {
      cluster = await installedOperator();
      baseline = await OwnBaseline.create(cluster);
      const [one, two] = await Promise.all([
        baseline.namespace('one', { team: 'a' }),
        baseline.namespace('two', { team: 'one' }),
      ]);
      namespaces = { one, two, three: two };
      pods = new ConnectingPods(cluster, { namespaces, ports: PORTS });
      await Promise.all([
        pods.start('one/a', { labels: { app: 'a' }, portNames: { http: 8080, dns: 8081 } }),
        pods.start('one/b', { labels: { app: 'b', tier: '' }, portNames: { http: 8081 } }),
        pods.start('two/c', { labels: { app: 'a', tier: 'b' }, portNames: { dns: 8090 } }),
        pods.start('two/d', { labels: {} }),
      ]);
    });

    after(() => baseline[Symbol.asyncDispose]());

    /** Creates generated policies in the namespaces of the cluster, but those that the API server refuses. */
    async function create(generated: readonly NetworkPolicy[]): Promise<NetworkPolicy[]> {
      const created: NetworkPolicy[] = [];
      for (const { metadata, spec = {} } of generated) {
        const resources = cluster.kube.networkPolicies(namespaces[metadata.namespace ?? ''] ?? '');
        try {
          created.push(
            await resources.create({ metadata: { name: metadata.name }, spec: inCluster(spec, namespaces) }),
          );
        } catch (error) {
          if (!(error instanceof StatusError && error.status === 422)) throw error;
        }
      }
      return created;
    }

    it('is what becomes of packets, for any policies', async () => {
      await fc.assert(
        fc.asyncProperty(fc.oneof({ weight: 3, arbitrary: tellingPolicies }, policies), async (generated) => {
          const created = await create(generated);
          const foretold = await pods.foretold('--ip-block-matches-pods');
          await eventually(async () => {
            assert.deepEqual(await pods.connected(), foretold);
          }, ENFORCED_WITHIN);
          for (const { metadata } of created) {
            await cluster.kube.networkPolicies(metadata.namespace ?? '').delete(metadata.name);
          }
        }),
        // A smaller example costs a minute.
        { numRuns: RUNS, endOnFailure: true },
      );
    });
  });
}

/** A generated spec with the ports and the names of namespaces that the cluster has. */
function inCluster(spec: NetworkPolicySpec, namespaces: Readonly<Record<string, string>>): NetworkPolicySpec {
  return JSON.parse(JSON.stringify(spec), (key, value: unknown) => {
    if ((key === 'port' || key === 'endPort') && typeof value === 'number' && value < 1000) return FIRST_PORT + value;
    return typeof value === 'string' ? (namespaces[value] ?? value) : value;
  }) as NetworkPolicySpec;
}
