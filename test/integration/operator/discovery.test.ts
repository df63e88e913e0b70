import assert from 'node:assert/strict';
import { eventually } from '../../support/await.ts';
import { conditionOf, Demo, DEFAULT_RULES, versions } from '../../support/demo.ts';

const RULE = 'allow-kube-apiserver';
const SPEC = { rules: { allowKubeAPIServer: { enabled: true } } };

describe('Addresses that rules take from the cluster', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    // The API server writes no EndpointSlice of its own: which addresses there are is for the scenarios to say.
    demo = await Demo.start({ controlPlane: { apiServerFlags: ['--endpoint-reconciler-type=none'] } });
  });
  after(() => demo.stop());
  afterEach(async () => {
    await demo.remove();
    for (const slice of await slices().list()) await slices().delete(slice.metadata.name);
  });

  const slices = () => demo.kube.resource('discovery.k8s.io/v1', 'endpointslices', 'default');
  const slice = (name: string, addressType: 'IPv4' | 'IPv6', addresses: string[], ports: number[]) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType,
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    ports: ports.map((port) => ({ name: `https-${port}`, protocol: 'TCP', port })),
  });
  const egress = (addresses: string[], port: number) => ({
    to: addresses.map((cidr) => ({ ipBlock: { cidr } })),
    ports: [{ protocol: 'TCP', port }],
  });
  /** What the rule adds for the ClusterIP of default/kubernetes. */
  const CLUSTER_IP = egress(['10.0.0.1/32'], 443);

  /** Resolves when the child of the rule has this egress. */
  async function allows(namespace: string, policy: string, expected: object[]): Promise<void> {
    await eventually(async () => {
      const { spec } = await demo.child(namespace, policy, RULE);
      assert.deepEqual(spec, { podSelector: {}, policyTypes: ['Egress'], egress: expected });
    });
  }

  it('of the API server: exactly those of its EndpointSlices and its ClusterIP, followed in place', async () => {
    const policy = demo.name('follow');
    const namespace = await demo.namespace(policy);
    await slices().create(slice('kubernetes', 'IPv4', ['192.0.2.20', '192.0.2.10'], [6443]));
    await demo.policy(policy, SPEC);
    await demo.holds(namespace, policy, [...DEFAULT_RULES, RULE]);
    await allows(namespace, policy, [egress(['192.0.2.10/32', '192.0.2.20/32'], 6443), CLUSTER_IP]);
    const before = await demo.children(namespace);

    await slices().apply(slice('kubernetes', 'IPv4', ['192.0.2.30'], [6443]));
    await allows(namespace, policy, [egress(['192.0.2.30/32'], 6443), CLUSTER_IP]);
    await slices().create(slice('kubernetes-v6', 'IPv6', ['2001:db8::1'], [8443]));
    await allows(namespace, policy, [egress(['192.0.2.30/32'], 6443), egress(['2001:db8::1/128'], 8443), CLUSTER_IP]);
    // A slice of another Service is none of ours.
    const foreign = slice('other', 'IPv4', ['198.51.100.1'], [443]);
    await slices().create({
      ...foreign,
      metadata: { name: 'other', labels: { 'kubernetes.io/service-name': 'other' } },
    });
    await slices().delete('kubernetes-v6');
    await allows(namespace, policy, [egress(['192.0.2.30/32'], 6443), CLUSTER_IP]);

    const after = await demo.children(namespace);
    const { [`${policy}.${RULE}`]: was, ...others } = versions(before);
    const { [`${policy}.${RULE}`]: now, ...untouched } = versions(after);
    assert.equal(now?.split('@')[0], was?.split('@')[0]);
    assert.deepEqual(untouched, others);
    await demo.reconciled(policy, 1);
    assert.deepEqual(await demo.drift(policy), {});

    // When nobody needs them any more, their watch is no watch that has fallen silent.
    const lastEvent = 'watch_last_event_timestamp_seconds{resource="endpointslices"}';
    assert.ok((await demo.operator.metric(lastEvent)) > 0);
    await demo.remove(policy);
    await eventually(async () => {
      assert.equal((await demo.operator.metrics()).has(lastEvent), false);
    });
  });

  it('of the API server while nobody lists any: no such child, a condition, and the others as ever', async () => {
    const policy = demo.name('none');
    const namespace = await demo.namespace(policy);
    await demo.policy(policy, SPEC);
    await demo.holds(namespace, policy);
    const { status } = await demo.status(policy, ({ conditions }) => {
      assert.equal(conditions?.find(({ type }) => type === 'AddressesUnknown')?.status, 'True');
    });
    assert.match(conditionOf(status, 'AddressesUnknown')?.message ?? '', /^spec\.rules\.allowKubeAPIServer: /);
    assert.equal(conditionOf(status, 'Ready')?.status, 'False');
    await demo.holds(namespace, policy);
    for (const { spec } of (await demo.children(namespace)).values()) {
      assert.doesNotMatch(JSON.stringify(spec), /0\.0\.0\.0\/0|::\/0/);
    }

    // An endpoint that is not ready gives no address either; a ready one does.
    const unready = slice('kubernetes', 'IPv4', ['192.0.2.40'], [6443]);
    for (const endpoint of unready.endpoints) endpoint.conditions.ready = false;
    await slices().create(unready);
    await demo.holds(await demo.namespace(policy), policy);
    await slices().apply(slice('kubernetes', 'IPv4', ['192.0.2.40'], [6443]));
    await allows(namespace, policy, [egress(['192.0.2.40/32'], 6443), CLUSTER_IP]);
    await demo.compliant(policy, 2);
    const { status: known } = await demo.kube.baselinePolicies.get(policy);
    assert.equal(conditionOf(known, 'AddressesUnknown'), undefined);

    // When the addresses are lost, what is allowed stays as it is.
    await slices().delete('kubernetes');
    await demo.status(policy, ({ conditions }) => {
      assert.equal(conditions?.find(({ type }) => type === 'AddressesUnknown')?.status, 'True');
    });
    await allows(namespace, policy, [egress(['192.0.2.40/32'], 6443), CLUSTER_IP]);
    assert.deepEqual(await demo.drift(policy), {});
  });

  it('of DNS: allow-dns has the ClusterIP of kube-dns while that Service exists', async () => {
    const policy = demo.name('dns');
    const [namespace = ''] = await demo.settled(policy, 1);
    const before = versions(await demo.children(namespace));
    const services = demo.kube.resource('v1', 'services', 'kube-system');
    const addresses = async () => {
      const { spec } = await demo.child(namespace, policy, 'allow-dns');
      return spec?.egress?.[1]?.to?.flatMap(({ ipBlock }) => (ipBlock === undefined ? [] : [ipBlock.cidr]));
    };
    assert.deepEqual(await addresses(), ['169.254.20.10/32']);
    await services.create({
      metadata: { name: 'kube-dns' },
      spec: { clusterIP: '10.0.0.10', ports: [{ name: 'dns', protocol: 'UDP', port: 53 }] },
    });
    await eventually(async () => {
      assert.deepEqual(await addresses(), ['169.254.20.10/32', '10.0.0.10/32']);
    });
    await services.delete('kube-dns');
    await eventually(async () => {
      assert.deepEqual(await addresses(), ['169.254.20.10/32']);
    });
    const { [`${policy}.allow-dns`]: was, ...others } = before;
    const { [`${policy}.allow-dns`]: now, ...untouched } = versions(await demo.children(namespace));
    assert.equal(now?.split('@')[0], was?.split('@')[0]);
    assert.deepEqual(untouched, others);
    assert.deepEqual(await demo.drift(policy), {});
  });
});
