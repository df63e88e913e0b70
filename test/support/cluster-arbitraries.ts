import fc from 'fast-check';
import type { Cluster, NamedPort, Workload } from '../../src/analysis/cluster.ts';
import type {
  IPBlock,
  LabelSelector,
  LabelSelectorRequirement,
  NetworkPolicy,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../../src/api/networkpolicy.ts';

/*
 * Small clusters with so few names, labels, ports and addresses that selectors meet pods, names meet ports, and rules
 * meet each other.
 */

const NAMESPACES = ['one', 'two', 'three'];
const KEYS = ['app', 'tier', 'constructor'];
const VALUES = ['a', 'b', ''];
const NAMESPACE_KEYS = ['team', 'kubernetes.io/metadata.name'];
const NAMESPACE_VALUES = ['a', 'one', 'two'];
const PORT_NAMES = ['http', 'dns'];
const PORTS = [1, 79, 80, 81, 90, 443, 65_534, 65_535];
/** Nested and disjoint blocks of both families; the edges of the address space are among them. */
const CIDRS_4 = [
  '0.0.0.0/0',
  '0.0.0.0/1',
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.1.0/24',
  '10.1.1.1/32',
  '255.255.255.255/32',
];
const CIDRS_6 = ['::/0', '2001:db8::/32', '2001:db8:1::/48', '2001:db8:1::1/128'];
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;

/** Addresses inside, outside and at the edges of the blocks above. */
export const ADDRESSES: readonly string[] = [
  '0.0.0.0',
  '9.255.255.255',
  '10.0.0.0',
  '10.0.255.255',
  '10.1.0.0',
  '10.1.0.255',
  '10.1.1.0',
  '10.1.1.1',
  '10.1.1.2',
  '10.1.2.0',
  '10.2.0.0',
  '11.0.0.0',
  '127.255.255.255',
  '128.0.0.0',
  '255.255.255.254',
  '255.255.255.255',
  '::',
  '2001:db7:ffff:ffff:ffff:ffff:ffff:ffff',
  '2001:db8::',
  '2001:db8:1::',
  '2001:db8:1::1',
  '2001:db8:1::2',
  '2001:db8:2::',
  '2001:db9::',
  'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
];

/** Ports at which what these clusters allow can change. */
export const INTERESTING_PORTS: readonly number[] = [
  ...new Set(PORTS.flatMap((port) => [port - 1, port, port + 1])),
].filter((port) => port >= 1 && port <= 65_535);

const labels = fc.dictionary(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES), {
  maxKeys: 2,
  noNullPrototype: true,
});
const namespaceLabelMaps = fc.dictionary(fc.constantFrom(...NAMESPACE_KEYS), fc.constantFrom(...NAMESPACE_VALUES), {
  noNullPrototype: true,
});

/** A field that is there, or is absent in one of the spellings of wire JSON. */
function maybe<T>(field: fc.Arbitrary<T>, weight = 3): fc.Arbitrary<T | null | undefined> {
  return fc.oneof({ weight, arbitrary: field }, fc.constantFrom(null, undefined));
}

/** An object of wire JSON; its type does not know null, wire JSON does. */
function wireObject<T>(fields: { [K in keyof T]-?: fc.Arbitrary<T[K] | null | undefined> }): fc.Arbitrary<T> {
  return fc
    .record<Record<string, unknown>>(fields)
    .map((object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T);
}

function selectorOf(keys: readonly string[], values: readonly string[]): fc.Arbitrary<LabelSelector> {
  const requirement: fc.Arbitrary<LabelSelectorRequirement> = fc.oneof(
    fc.record({
      key: fc.constantFrom(...keys),
      operator: fc.constantFrom('In' as const, 'NotIn' as const),
      values: fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 }),
    }),
    fc.record({ key: fc.constantFrom(...keys), operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const) }),
  );
  return fc.oneof(
    fc.constant({}),
    wireObject<LabelSelector>({
      matchLabels: maybe(
        fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values), { maxKeys: 1, noNullPrototype: true }),
      ),
      matchExpressions: maybe(fc.array(requirement, { maxLength: 1 }), 1),
    }),
  );
}

const podSelector = selectorOf(KEYS, VALUES);
const namespaceSelector = selectorOf(NAMESPACE_KEYS, NAMESPACE_VALUES);

/** An ipBlock; its exceptions need not be inside it, and then except nothing. */
export const ipBlock: fc.Arbitrary<IPBlock> = fc.constantFrom(CIDRS_4, CIDRS_4, CIDRS_6).chain((cidrs) =>
  wireObject<IPBlock>({
    cidr: fc.constantFrom(...cidrs),
    except: maybe(fc.subarray(cidrs.slice(1), { maxLength: 2 })),
  }),
);

const peer: fc.Arbitrary<NetworkPolicyPeer> = fc.oneof(
  ipBlock.map((block): NetworkPolicyPeer => ({ ipBlock: block })),
  wireObject<Pick<NetworkPolicyPeer, 'podSelector' | 'namespaceSelector'>>({
    podSelector,
    namespaceSelector: maybe(namespaceSelector, 1),
  }),
  namespaceSelector.map((selector): NetworkPolicyPeer => ({ namespaceSelector: selector })),
);

const port: fc.Arbitrary<NetworkPolicyPort> = fc.oneof(
  wireObject<NetworkPolicyPort>({
    protocol: maybe(fc.constantFrom(...PROTOCOLS)),
    port: maybe(fc.oneof(fc.constantFrom(...PORTS), fc.constantFrom(...PORT_NAMES))),
    endPort: fc.constant(undefined),
  }),
  fc
    .tuple(fc.constantFrom(...PORTS), fc.constantFrom(...PORTS), fc.constantFrom(...PROTOCOLS))
    .map(([a, b, protocol]) => ({ protocol, port: Math.min(a, b), endPort: Math.max(a, b) })),
);

const peers = maybe(fc.array(peer, { maxLength: 2 }));
const ports = maybe(fc.array(port, { maxLength: 2 }), 2);

/** The spec of a policy, with every spelling of absent and empty. */
const spec: fc.Arbitrary<NetworkPolicySpec> = wireObject<NetworkPolicySpec>({
  podSelector: maybe(podSelector),
  policyTypes: maybe(fc.subarray<'Ingress' | 'Egress'>(['Ingress', 'Egress']), 1),
  ingress: maybe(fc.array(wireObject({ from: peers, ports }), { maxLength: 2 })),
  egress: maybe(fc.array(wireObject({ to: peers, ports }), { maxLength: 2 })),
});

/** NetworkPolicies of different names. */
export const policies: fc.Arbitrary<NetworkPolicy[]> = fc
  .array(fc.record({ namespace: fc.constantFrom(...NAMESPACES), spec }), { maxLength: 4 })
  .map((list) =>
    list.map(({ namespace, spec: of }, index) => ({ metadata: { namespace, name: `p${index}` }, spec: of })),
  );

const namedPort: fc.Arbitrary<NamedPort> = fc.record({
  name: fc.constantFrom(...PORT_NAMES),
  protocol: fc.constantFrom(...PROTOCOLS),
  port: fc.constantFrom(...PORTS),
});

const workloads: fc.Arbitrary<Workload[]> = fc
  .array(
    fc.record(
      {
        namespace: fc.constantFrom(...NAMESPACES),
        kind: fc.constantFrom('Pod', 'Deployment'),
        labels,
        ports: fc.array(namedPort, { maxLength: 2 }),
        hostNetwork: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
        ips: fc.subarray([...ADDRESSES], { maxLength: 2 }),
      },
      { requiredKeys: ['namespace', 'kind', 'labels', 'ports', 'hostNetwork'] },
    ),
    { maxLength: 4 },
  )
  .map((list) => list.map((workload, index) => ({ ...workload, name: `w${index}` })));

/** A small cluster; some of its namespaces are known by no object. */
export const clusters: fc.Arbitrary<Cluster> = fc.record({
  namespaces: fc
    .dictionary(fc.constantFrom(...NAMESPACES), namespaceLabelMaps, { noNullPrototype: true })
    .map((of) => new Map(Object.entries(of))),
  workloads,
  policies,
});
