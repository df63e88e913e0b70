import fc from 'fast-check';
import type { AdditionalPolicy, BaselinePolicySpec, BaselineRules } from '../../src/api/baselinepolicy.ts';
import type {
  IPBlock,
  LabelSelector,
  LabelSelectorRequirement,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../../src/api/networkpolicy.ts';
import type { DiscoveredAddresses } from '../../src/policy/discovery.ts';
import type { SelectableNamespace } from '../../src/policy/select.ts';

/** Few keys, so that selectors and labels meet; some are names that every object of JavaScript inherits. */
const LABEL_KEYS = ['app', 'team', 'example.com/tier', 'kubernetes.io/metadata.name', 'constructor', 'toString'];
const LABEL_VALUES = ['', 'web', 'db', 'blue', 'true', '1'];

/** A DNS label, as names of namespaces, BaselinePolicies and additional policies are. */
export const dnsLabel: fc.Arbitrary<string> = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?$/);

/** The key of a label. */
export const labelKey: fc.Arbitrary<string> = fc.constantFrom(...LABEL_KEYS);

/** The value of a label; it may be empty. */
export const labelValue: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...LABEL_VALUES),
  fc.stringMatching(/^[A-Za-z0-9]([-\w.]{0,8}[A-Za-z0-9])?$/),
);

/** Labels of an object. */
export const labels: fc.Arbitrary<Record<string, string>> = fc.dictionary(labelKey, labelValue, {
  maxKeys: 4,
  noNullPrototype: true,
});

/** A namespace as selection sees it. */
export const namespaces: fc.Arbitrary<SelectableNamespace> = fc.record({ name: dnsLabel, labels });

/** A field that is there, is absent, or says "absent" by null, as wire JSON may. */
function maybe<T>(field: fc.Arbitrary<T>): fc.Arbitrary<T | null | undefined> {
  return fc.oneof({ weight: 4, arbitrary: field }, fc.constantFrom(null, undefined));
}

/**
 * An object of wire JSON with every spelling of an absent field. Its type says what the fields are when they are
 * there: wire JSON knows null, the types of the API do not.
 */
function wireObject<T>(fields: { [K in keyof T]-?: fc.Arbitrary<T[K] | null | undefined> }): fc.Arbitrary<T> {
  return fc
    .record<Record<string, unknown>>(fields)
    .map((object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T);
}

/** A requirement of a selector, with the values that its operator takes. */
export const requirement: fc.Arbitrary<LabelSelectorRequirement> = fc.oneof(
  wireObject<LabelSelectorRequirement>({
    key: labelKey,
    operator: fc.constantFrom('In' as const, 'NotIn' as const),
    values: fc.array(labelValue, { minLength: 1, maxLength: 3 }),
  }),
  wireObject<LabelSelectorRequirement>({
    key: labelKey,
    operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const),
    values: maybe(fc.constant([])),
  }),
);

/** A selector of labels, with every spelling of empty. */
export const labelSelector: fc.Arbitrary<LabelSelector> = wireObject<LabelSelector>({
  matchLabels: maybe(labels),
  matchExpressions: maybe(fc.array(requirement, { maxLength: 2 })),
});

const ipBlock: fc.Arbitrary<IPBlock> = fc.oneof(
  wireObject<IPBlock>({
    cidr: fc.constantFrom('10.0.0.0/8', '0.0.0.0/0'),
    except: maybe(fc.subarray(['10.1.0.0/16', '10.2.0.0/16'])),
  }),
  wireObject<IPBlock>({
    cidr: fc.constantFrom('2001:db8::/32', '::/0'),
    except: maybe(fc.subarray(['2001:db8:1::/48'])),
  }),
);

const peer: fc.Arbitrary<NetworkPolicyPeer> = fc.oneof(
  ipBlock.map((block): NetworkPolicyPeer => ({ ipBlock: block })),
  wireObject<Pick<NetworkPolicyPeer, 'podSelector' | 'namespaceSelector'>>({
    podSelector: labelSelector,
    namespaceSelector: maybe(labelSelector),
  }),
  labelSelector.map((namespaceSelector): NetworkPolicyPeer => ({ namespaceSelector })),
);

const port: fc.Arbitrary<NetworkPolicyPort> = fc.oneof(
  wireObject<NetworkPolicyPort>({
    protocol: maybe(fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const)),
    port: maybe(fc.oneof(fc.integer({ min: 1, max: 65_535 }), fc.constantFrom('http', 'metrics'))),
    endPort: fc.constant(undefined),
  }),
  fc.record({ port: fc.integer({ min: 1, max: 1000 }), endPort: fc.integer({ min: 1000, max: 65_535 }) }),
);

const peers = fc.array(peer, { maxLength: 3 });
const ports = fc.array(port, { maxLength: 3 });

/** A NetworkPolicySpec that the API server takes, with every spelling of absent and empty. */
export const networkPolicySpec: fc.Arbitrary<NetworkPolicySpec> = wireObject<NetworkPolicySpec>({
  podSelector: maybe(labelSelector),
  policyTypes: maybe(fc.shuffledSubarray(['Ingress', 'Egress'] as ('Ingress' | 'Egress')[])),
  ingress: maybe(fc.array(wireObject({ from: maybe(peers), ports: maybe(ports) }), { maxLength: 3 })),
  egress: maybe(fc.array(wireObject({ to: maybe(peers), ports: maybe(ports) }), { maxLength: 3 })),
});

/** A spec with variables that every namespace can fill, or only those with a label. */
const variableSpec: fc.Arbitrary<NetworkPolicySpec> = labelKey.chain((key) =>
  fc
    .constantFrom('$(namespace.name)', `$(namespace.labels['${key}'])`, `x-$(namespace.labels['${key}'])-y`)
    .map((text): NetworkPolicySpec => ({ podSelector: { matchLabels: { app: text } }, policyTypes: ['Ingress'] })),
);

const additionalPolicies: fc.Arbitrary<AdditionalPolicy[]> = fc.uniqueArray(
  // The CRD refuses the names of the rules; these cannot be one.
  fc.record({
    name: dnsLabel.map((name) => `x${name}`),
    spec: fc.oneof({ weight: 3, arbitrary: networkPolicySpec }, variableSpec),
  }),
  { maxLength: 3, selector: ({ name }) => name },
);

const enabled = fc.boolean();
const somePeers = fc.array(peer, { minLength: 1, maxLength: 3 });

/** Rules as the CRD lets them through. */
export const baselineRules: fc.Arbitrary<BaselineRules> = fc.record<BaselineRules, never>(
  {
    defaultDeny: fc.record(
      { enabled, policyTypes: fc.shuffledSubarray<'Ingress' | 'Egress'>(['Ingress', 'Egress'], { minLength: 1 }) },
      { requiredKeys: [] },
    ),
    allowDNS: fc.record(
      {
        enabled,
        targets: fc.shuffledSubarray<'KubeDNS' | 'NodeLocalDNS' | 'OpenShiftDNS' | 'GKECloudDNS'>([
          'KubeDNS',
          'NodeLocalDNS',
          'OpenShiftDNS',
          'GKECloudDNS',
        ]),
        custom: fc.array(fc.record({ to: somePeers, ports: fc.array(port, { minLength: 1, maxLength: 2 }) }), {
          maxLength: 2,
        }),
      },
      { requiredKeys: [] },
    ),
    allowMonitoring: fc.record({ enabled, from: somePeers, ports }, { requiredKeys: [] }),
    allowSameNamespace: fc.record({ enabled }, { requiredKeys: [] }),
    allowKubeAPIServer: fc.record({ enabled }, { requiredKeys: [] }),
    allowIngressController: fc.record({ enabled, from: somePeers, ports }, { requiredKeys: ['from'] }),
    allowExternalEgress: fc.record(
      { enabled, except: fc.subarray(['203.0.113.0/24', '2001:db8::/32']), ports },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);

/** A BaselinePolicySpec as the CRD lets it through. */
export const baselinePolicySpec: fc.Arbitrary<BaselinePolicySpec> = fc.record(
  {
    description: fc.constantFrom('', 'Baseline', 'with "quotes" and "namespace":""'),
    mode: fc.constantFrom('Enforce' as const, 'Audit' as const),
    namespaceSelector: labelSelector,
    excludedNamespaces: fc.uniqueArray(dnsLabel, { maxLength: 2 }),
    rules: baselineRules,
    additionalPolicies,
    deletionPolicy: fc.constantFrom('Delete' as const, 'Orphan' as const),
  },
  { requiredKeys: [] },
);

const address = fc.constantFrom('192.0.2.1', '192.0.2.2', '10.96.0.1', '2001:db8::1', 'fd00::a');

/** What was discovered in the cluster, often nothing. */
export const discoveredAddresses: fc.Arbitrary<DiscoveredAddresses> = fc.record({
  kubeDNSClusterIPs: fc.uniqueArray(address, { maxLength: 2 }),
  apiServerEndpoints: fc.array(
    fc.record({
      addresses: fc.array(address, { maxLength: 3 }),
      ports: fc.array(
        fc.record({
          protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
          port: fc.constantFrom(443, 6443, 8443),
        }),
        { maxLength: 2 },
      ),
    }),
    { maxLength: 2 },
  ),
  apiServerClusterIPs: fc.uniqueArray(address, { maxLength: 2 }),
});
