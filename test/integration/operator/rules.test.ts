import assert from 'node:assert/strict';
import type { KubernetesObject } from '../../../src/api/metadata.ts';
import type { NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { Demo } from '../../support/demo.ts';

const DNS_PORTS = [
  { protocol: 'UDP', port: 53 },
  { protocol: 'TCP', port: 53 },
];

/** The seven rules, each with options that its default does not have. */
const ALL_RULES = {
  defaultDeny: { enabled: true, policyTypes: ['Egress' as const] },
  allowDNS: {
    targets: ['OpenShiftDNS' as const, 'GKECloudDNS' as const, 'KubeDNS' as const],
    custom: [{ to: [{ ipBlock: { cidr: '10.9.9.0/24', except: ['10.9.9.9/32'] } }], ports: [{ port: 5300 }] }],
  },
  allowMonitoring: {
    from: [{ podSelector: { matchLabels: { app: 'prometheus' } }, namespaceSelector: {} }],
    ports: [{ port: 'metrics' }, { protocol: 'UDP' as const, port: 9000, endPort: 9100 }],
  },
  allowSameNamespace: { enabled: true },
  allowKubeAPIServer: { enabled: true },
  allowIngressController: {
    enabled: true,
    from: [{ namespaceSelector: { matchExpressions: [{ key: 'ingress', operator: 'Exists' as const }] } }],
    ports: [{ protocol: 'SCTP' as const, port: 80 }],
  },
  allowExternalEgress: { enabled: true, except: ['203.0.113.0/24', '2001:db8::/32'], ports: [{ port: 443 }] },
};

/** What the API server stores for {@link ALL_RULES}, but for allow-kube-apiserver. */
const ALL_SPECS = {
  'default-deny': { podSelector: {}, policyTypes: ['Egress'] },
  'allow-dns': {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      {
        to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'openshift-dns' } } }],
        ports: [{ protocol: 'UDP', port: 5353 }, { protocol: 'TCP', port: 5353 }, ...DNS_PORTS],
      },
      { to: [{ ipBlock: { cidr: '169.254.169.254/32' } }], ports: DNS_PORTS },
      {
        to: [
          {
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
            podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
          },
        ],
        ports: DNS_PORTS,
      },
      {
        to: [{ ipBlock: { cidr: '10.9.9.0/24', except: ['10.9.9.9/32'] } }],
        ports: [{ protocol: 'TCP', port: 5300 }],
      },
    ],
  },
  'allow-monitoring': {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [
      {
        from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: 'prometheus' } } }],
        ports: [
          { protocol: 'TCP', port: 'metrics' },
          { protocol: 'UDP', port: 9000, endPort: 9100 },
        ],
      },
    ],
  },
  'allow-same-namespace': {
    podSelector: {},
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: [{ podSelector: {} }] }],
    egress: [{ to: [{ podSelector: {} }] }],
  },
  'allow-ingress-controller': {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [
      {
        from: [{ namespaceSelector: { matchExpressions: [{ key: 'ingress', operator: 'Exists' }] } }],
        ports: [{ protocol: 'SCTP', port: 80 }],
      },
    ],
  },
  'allow-external-egress': {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      {
        to: [
          {
            ipBlock: {
              cidr: '0.0.0.0/0',
              except: [
                '10.0.0.0/8',
                '100.64.0.0/10',
                '127.0.0.0/8',
                '169.254.0.0/16',
                '172.16.0.0/12',
                '192.168.0.0/16',
                '203.0.113.0/24',
              ],
            },
          },
          { ipBlock: { cidr: '::/0', except: ['::1/128', 'fc00::/7', 'fe80::/10', '2001:db8::/32'] } },
        ],
        ports: [{ protocol: 'TCP', port: 443 }],
      },
    ],
  },
};

/** What the API server stores for `spec: {}`. */
const DEFAULT_SPECS = {
  'default-deny': { podSelector: {}, policyTypes: ['Ingress', 'Egress'] },
  'allow-dns': {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      {
        to: [
          {
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
            podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
          },
        ],
        ports: DNS_PORTS,
      },
      {
        to: [
          {
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
            podSelector: { matchLabels: { 'k8s-app': 'node-local-dns' } },
          },
          { ipBlock: { cidr: '169.254.20.10/32' } },
        ],
        ports: DNS_PORTS,
      },
    ],
  },
  'allow-monitoring': {
    podSelector: {},
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }] }],
  },
};

describe('The rules, as the API server stores their NetworkPolicies', function () {
  this.timeout(60_000);
  let demo: Demo;

  before(async () => {
    demo = await Demo.start();
  });
  after(() => demo.stop());
  afterEach(() => demo.remove());

  /** The specs of the NetworkPolicies of a namespace, by rule. */
  async function specsIn(namespace: string, policy: string): Promise<Record<string, NetworkPolicySpec | undefined>> {
    const children = await demo.children(namespace);
    return Object.fromEntries([...children].map(([name, { spec }]) => [name.replace(`${policy}.`, ''), spec]));
  }

  it('of an empty spec: three children that carry our metadata and none of the policy', async () => {
    const name = demo.name('empty');
    const namespace = await demo.namespace(name, { 'baselinepolicy.dev/enforce': 'true' });
    const policy = await demo.kube.baselinePolicies.create({
      apiVersion: 'baselinepolicy.dev/v1alpha1',
      kind: 'BaselinePolicy',
      metadata: {
        name,
        labels: { 'app.kubernetes.io/instance': 'gitops', team: 'platform' },
        annotations: { 'argocd.argoproj.io/tracking-id': 'x', note: 'y' },
      },
      spec: {},
    });
    await demo.holds(namespace, name);
    assert.deepEqual(await specsIn(namespace, name), DEFAULT_SPECS);
    for (const [childName, { metadata }] of await demo.children(namespace)) {
      assert.deepEqual(metadata.labels, {
        'app.kubernetes.io/managed-by': 'baseline-policy-operator',
        'baselinepolicy.dev/policy': name,
        'baselinepolicy.dev/rule': childName.replace(`${name}.`, ''),
      });
      assert.equal(metadata.annotations, undefined);
      assert.deepEqual(metadata.ownerReferences, [
        {
          apiVersion: 'baselinepolicy.dev/v1alpha1',
          kind: 'BaselinePolicy',
          name,
          uid: policy.metadata.uid,
          controller: true,
          blockOwnerDeletion: true,
        },
      ]);
      assert.equal(metadata.finalizers, undefined);
    }
  });

  it('of a description: an annotation of each child, and no other', async () => {
    const policy = demo.name('described');
    const namespace = await demo.namespace(policy);
    await demo.policy(policy, { description: 'Baseline of “all” product namespaces' });
    await demo.holds(namespace, policy);
    for (const { metadata } of (await demo.children(namespace)).values()) {
      assert.deepEqual(metadata.annotations, {
        'baselinepolicy.dev/description': 'Baseline of “all” product namespaces',
      });
    }
  });

  it('of all seven rules with options', async () => {
    const policy = demo.name('seven');
    const namespace = await demo.namespace(policy);
    await demo.policy(policy, { rules: ALL_RULES });
    await demo.holds(namespace, policy, [...Object.keys(ALL_SPECS), 'allow-kube-apiserver']);
    const { 'allow-kube-apiserver': apiServer, ...specs } = await specsIn(namespace, policy);
    assert.deepEqual(specs, ALL_SPECS);

    interface EndpointSlice extends KubernetesObject {
      endpoints: { addresses: string[] }[];
      ports: { port: number }[];
    }
    const slices = demo.kube.resource<EndpointSlice>('discovery.k8s.io/v1', 'endpointslices', 'default');
    const { endpoints, ports } = await slices.get('kubernetes');
    assert.deepEqual(apiServer, {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [
        {
          to: [{ ipBlock: { cidr: `${endpoints[0]?.addresses[0] ?? ''}/32` } }],
          ports: [{ protocol: 'TCP', port: ports[0]?.port }],
        },
        { to: [{ ipBlock: { cidr: '10.0.0.1/32' } }], ports: [{ protocol: 'TCP', port: 443 }] },
      ],
    });
  });

  it('of additional policies beside no rule at all', async () => {
    const policy = demo.name('additional');
    const namespace = await demo.namespace(policy);
    const off = { enabled: false };
    await demo.policy(policy, {
      rules: { defaultDeny: off, allowDNS: off, allowMonitoring: off },
      additionalPolicies: [
        {
          name: 'frontend-to-backend',
          spec: {
            podSelector: {
              matchLabels: { app: 'backend' },
              matchExpressions: [{ key: 'old', operator: 'DoesNotExist' }],
            },
            ingress: [{ from: [{ podSelector: { matchLabels: { app: 'frontend' } } }], ports: [{ port: 8080 }] }],
          },
        },
        { name: 'open', spec: { policyTypes: ['Egress'], egress: [{}] } },
        {
          name: 'implied-egress',
          spec: { podSelector: {}, egress: [{ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }] }] },
        },
      ],
    });
    await demo.holds(namespace, policy, ['frontend-to-backend', 'open', 'implied-egress']);
    assert.deepEqual(await specsIn(namespace, policy), {
      'frontend-to-backend': {
        podSelector: { matchLabels: { app: 'backend' }, matchExpressions: [{ key: 'old', operator: 'DoesNotExist' }] },
        policyTypes: ['Ingress'],
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { app: 'frontend' } } }],
            ports: [{ protocol: 'TCP', port: 8080 }],
          },
        ],
      },
      open: { podSelector: {}, policyTypes: ['Egress'], egress: [{}] },
      'implied-egress': {
        podSelector: {},
        policyTypes: ['Ingress', 'Egress'],
        egress: [{ to: [{ ipBlock: { cidr: '192.0.2.0/24' } }] }],
      },
    });
    // What the API server stored is what the operator compares with: nothing has been written since.
    await demo.reconciled(policy, 1);
    for (const { metadata } of (await demo.children(namespace)).values()) assert.equal(metadata.generation, 1);
  });
});
