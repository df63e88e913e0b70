import assert from 'node:assert/strict';
import type { NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec } from '../../../src/api/networkpolicy.ts';
import { NO_ADDRESSES, singleAddressCIDR, type DiscoveredAddresses } from '../../../src/policy/discovery.ts';
import { allowDNS } from '../../../src/policy/rules/allow-dns.ts';
import { allowExternalEgress } from '../../../src/policy/rules/allow-external-egress.ts';
import { allowIngressController } from '../../../src/policy/rules/allow-ingress-controller.ts';
import { allowKubeAPIServer } from '../../../src/policy/rules/allow-kube-apiserver.ts';
import { allowMonitoring } from '../../../src/policy/rules/allow-monitoring.ts';
import { allowSameNamespace } from '../../../src/policy/rules/allow-same-namespace.ts';
import { defaultDeny } from '../../../src/policy/rules/default-deny.ts';
import { frozen } from '../../support/fixtures.ts';

const PEER: NetworkPolicyPeer = frozen({ namespaceSelector: { matchLabels: { team: 'sre' } } });
const PORT: NetworkPolicyPort = frozen({ protocol: 'TCP', port: 9090 });

describe('default-deny', () => {
  it('selects all pods and allows nothing, both ways by default', () => {
    assert.deepEqual(defaultDeny({}), { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
  });

  it('denies only the listed directions', () => {
    assert.deepEqual(defaultDeny({ policyTypes: ['Egress'] }), { podSelector: {}, policyTypes: ['Egress'] });
    assert.deepEqual(defaultDeny({ policyTypes: ['Ingress'] }), { podSelector: {}, policyTypes: ['Ingress'] });
  });
});

describe('allow-dns', () => {
  const DNS_PORTS: NetworkPolicyPort[] = [
    { protocol: 'UDP', port: 53 },
    { protocol: 'TCP', port: 53 },
  ];
  const kubeSystem = (app: string): NetworkPolicyPeer => ({
    namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
    podSelector: { matchLabels: { 'k8s-app': app } },
  });
  const egressOf = (
    rule: Parameters<typeof allowDNS>[0],
    addresses: Partial<DiscoveredAddresses> = {},
  ): NetworkPolicySpec['egress'] => {
    const { egress, ...rest } = allowDNS(rule, frozen({ ...NO_ADDRESSES, ...addresses }));
    assert.deepEqual(rest, { podSelector: {}, policyTypes: ['Egress'] });
    return egress;
  };
  const KUBE_DNS = { to: [kubeSystem('kube-dns')], ports: DNS_PORTS };
  const NODE_LOCAL = {
    to: [kubeSystem('node-local-dns'), { ipBlock: { cidr: '169.254.20.10/32' } }],
    ports: DNS_PORTS,
  };

  it('allows KubeDNS and NodeLocalDNS by default', () => {
    assert.deepEqual(egressOf({}), [KUBE_DNS, NODE_LOCAL]);
  });

  it('names the namespace and the pods of KubeDNS in one peer, by UDP and TCP', () => {
    assert.deepEqual(egressOf({ targets: ['KubeDNS'] }), [KUBE_DNS]);
  });

  it('allows NodeLocalDNS without the Service kube-dns', () => {
    assert.deepEqual(egressOf({ targets: ['NodeLocalDNS'] }), [NODE_LOCAL]);
  });

  it('allows the ClusterIPs of the Service kube-dns, IPv4 and IPv6, with NodeLocalDNS', () => {
    assert.deepEqual(egressOf({ targets: ['NodeLocalDNS'] }, { kubeDNSClusterIPs: ['10.96.0.10', 'fd00::a'] }), [
      {
        to: [...NODE_LOCAL.to, { ipBlock: { cidr: '10.96.0.10/32' } }, { ipBlock: { cidr: 'fd00::a/128' } }],
        ports: DNS_PORTS,
      },
    ]);
  });

  it('has no use for the ClusterIPs without NodeLocalDNS', () => {
    assert.deepEqual(egressOf({ targets: ['KubeDNS'] }, { kubeDNSClusterIPs: ['10.96.0.10'] }), [KUBE_DNS]);
  });

  it('allows OpenShiftDNS on its own port and on 53', () => {
    assert.deepEqual(egressOf({ targets: ['OpenShiftDNS'] }), [
      {
        to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'openshift-dns' } } }],
        ports: [{ protocol: 'UDP', port: 5353 }, { protocol: 'TCP', port: 5353 }, ...DNS_PORTS],
      },
    ]);
  });

  it('allows GKECloudDNS on port 53 of the metadata server only', () => {
    assert.deepEqual(egressOf({ targets: ['GKECloudDNS'] }), [
      { to: [{ ipBlock: { cidr: '169.254.169.254/32' } }], ports: DNS_PORTS },
    ]);
  });

  it('makes one rule a target in their order, and the custom ones after them', () => {
    const custom = [
      { to: [PEER], ports: [{ protocol: 'UDP' as const, port: 1053 }] },
      { to: [{ ipBlock: { cidr: '192.0.2.53/32' } }], ports: DNS_PORTS },
    ];
    assert.deepEqual(egressOf({ targets: ['NodeLocalDNS', 'KubeDNS'], custom }), [NODE_LOCAL, KUBE_DNS, ...custom]);
    assert.deepEqual(egressOf({ targets: [], custom }), custom);
  });
});

describe('allow-monitoring', () => {
  it('lets the namespace monitoring reach all pods on all ports by default', () => {
    assert.deepEqual(allowMonitoring({}), {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }] }],
    });
  });

  it('lets the given peers in on the given ports', () => {
    assert.deepEqual(allowMonitoring({ from: [PEER], ports: [PORT] }), {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ from: [PEER], ports: [PORT] }],
    });
  });

  it('never lets everyone in because a list of peers is empty', () => {
    assert.deepEqual(allowMonitoring({ from: [] }), allowMonitoring({}));
  });
});

describe('allow-same-namespace', () => {
  it('lets the pods of the namespace reach each other both ways', () => {
    assert.deepEqual(allowSameNamespace(), {
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [{ podSelector: {} }] }],
      egress: [{ to: [{ podSelector: {} }] }],
    });
  });
});

describe('allow-ingress-controller', () => {
  it('lets the given peers in on all ports, or on the given ones', () => {
    assert.deepEqual(allowIngressController({ from: [PEER] }), {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ from: [PEER] }],
    });
    assert.deepEqual(allowIngressController({ from: [PEER], ports: [PORT] }), {
      podSelector: {},
      policyTypes: ['Ingress'],
      ingress: [{ from: [PEER], ports: [PORT] }],
    });
  });

  it('makes nothing without peers, where an empty list would let everyone in', () => {
    assert.equal(allowIngressController({}), undefined);
    assert.equal(allowIngressController({ from: [] }), undefined);
  });
});

describe('allow-external-egress', () => {
  const V4 = ['10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16'];
  const V6 = ['::1/128', 'fc00::/7', 'fe80::/10'];
  const expected = (v4: string[], v6: string[], ports?: NetworkPolicyPort[]): NetworkPolicySpec => ({
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      {
        to: [{ ipBlock: { cidr: '0.0.0.0/0', except: v4 } }, { ipBlock: { cidr: '::/0', except: v6 } }],
        ...(ports !== undefined && { ports }),
      },
    ],
  });

  it('allows all addresses but internal ones, of both families', () => {
    assert.deepEqual(allowExternalEgress({}), expected(V4, V6));
  });

  it('adds each exception to the addresses of its family', () => {
    const except = ['203.0.113.0/24', '2001:db8::/32', '198.51.100.0/24'];
    assert.deepEqual(
      allowExternalEgress({ except }),
      expected([...V4, '203.0.113.0/24', '198.51.100.0/24'], [...V6, '2001:db8::/32']),
    );
  });

  it('names an exception once that is internal already', () => {
    assert.deepEqual(allowExternalEgress({ except: ['10.0.0.0/8', 'fc00::/7'] }), expected(V4, V6));
  });

  it('allows only the given ports', () => {
    assert.deepEqual(allowExternalEgress({ ports: [PORT] }), expected(V4, V6, [PORT]));
  });
});

describe('allow-kube-apiserver', () => {
  type Endpoints = DiscoveredAddresses['apiServerEndpoints'];
  const HTTPS = { protocol: 'TCP' as const, port: 6443 };
  const made = (apiServerEndpoints: Endpoints, apiServerClusterIPs: string[] = []): NetworkPolicySpec | undefined =>
    allowKubeAPIServer(frozen({ ...NO_ADDRESSES, apiServerEndpoints, apiServerClusterIPs }));
  /** Every address and port that a spec allows, in its order: what it means, however it is put into rules. */
  const reaches = (spec: NetworkPolicySpec | undefined): string[] =>
    (spec?.egress ?? []).flatMap(({ to = [], ports = [] }) =>
      to.flatMap(({ ipBlock }) =>
        ports.map(({ protocol, port }) => `${ipBlock?.cidr ?? 'not an address'} ${protocol ?? '?'} ${port ?? '?'}`),
      ),
    );

  it('allows the addresses and ports of the endpoints, and the ClusterIP on port 443', () => {
    assert.deepEqual(made([{ addresses: ['192.0.2.1'], ports: [HTTPS] }], ['10.96.0.1']), {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [
        { to: [{ ipBlock: { cidr: '192.0.2.1/32' } }], ports: [{ protocol: 'TCP', port: 6443 }] },
        { to: [{ ipBlock: { cidr: '10.96.0.1/32' } }], ports: [{ protocol: 'TCP', port: 443 }] },
      ],
    });
  });

  it('allows the endpoints alone while no ClusterIP is known', () => {
    assert.deepEqual(reaches(made([{ addresses: ['192.0.2.1'], ports: [HTTPS] }])), ['192.0.2.1/32 TCP 6443']);
  });

  const UNKNOWN: readonly (readonly [what: string, Endpoints])[] = [
    ['no EndpointSlice', []],
    ['a slice without addresses', [{ addresses: [], ports: [HTTPS] }]],
    ['a slice without ports, which would mean all ports', [{ addresses: ['192.0.2.1'], ports: [] }]],
  ];
  for (const [what, endpoints] of UNKNOWN) {
    it(`makes nothing from ${what}, even with a ClusterIP`, () => {
      assert.equal(made(endpoints), undefined);
      assert.equal(made(endpoints, ['10.96.0.1']), undefined);
    });
  }

  it('leaves out a slice without addresses beside one that has some', () => {
    const known = { addresses: ['192.0.2.1'], ports: [HTTPS] };
    assert.deepEqual(made([{ addresses: [], ports: [HTTPS] }, known]), made([known]));
  });

  it('is a single address each, IPv4 and IPv6', () => {
    const spec = made(
      [
        { addresses: ['192.0.2.1'], ports: [HTTPS] },
        { addresses: ['2001:db8::1'], ports: [HTTPS] },
      ],
      ['10.96.0.1', 'fd00::1'],
    );
    assert.deepEqual(reaches(spec).sort(), [
      '10.96.0.1/32 TCP 443',
      '192.0.2.1/32 TCP 6443',
      '2001:db8::1/128 TCP 6443',
      'fd00::1/128 TCP 443',
    ]);
  });

  it('keeps the ports of slices apart', () => {
    const spec = made([
      { addresses: ['192.0.2.1'], ports: [HTTPS] },
      { addresses: ['192.0.2.2'], ports: [{ protocol: 'TCP', port: 8443 }] },
    ]);
    assert.deepEqual(reaches(spec), ['192.0.2.1/32 TCP 6443', '192.0.2.2/32 TCP 8443']);
  });

  it('sorts addresses and ports, and names each once', () => {
    const spec = made([
      { addresses: ['192.0.2.2', '192.0.2.1', '192.0.2.2'], ports: [{ protocol: 'TCP', port: 8443 }, HTTPS] },
    ]);
    assert.deepEqual(reaches(spec), [
      '192.0.2.1/32 TCP 6443',
      '192.0.2.1/32 TCP 8443',
      '192.0.2.2/32 TCP 6443',
      '192.0.2.2/32 TCP 8443',
    ]);
  });

  it('names an address once that two slices list (kubernetes.io: EndpointSlices, duplicate endpoints)', () => {
    const slice = { addresses: ['192.0.2.1'], ports: [HTTPS] };
    assert.deepEqual(reaches(made([slice, slice])), ['192.0.2.1/32 TCP 6443']);
  });

  it('does not depend on the order of ports that differ only in protocol', () => {
    const tcp = { protocol: 'TCP' as const, port: 443 };
    const udp = { protocol: 'UDP' as const, port: 443 };
    assert.deepEqual(
      made([{ addresses: ['192.0.2.1'], ports: [tcp, udp] }]),
      made([{ addresses: ['192.0.2.1'], ports: [udp, tcp] }]),
    );
  });
});

describe('singleAddressCIDR', () => {
  it('is /32 for IPv4 and /128 for IPv6', () => {
    assert.equal(singleAddressCIDR('192.0.2.1'), '192.0.2.1/32');
    assert.equal(singleAddressCIDR('2001:db8::1'), '2001:db8::1/128');
    assert.equal(singleAddressCIDR('::ffff:192.0.2.1'), '::ffff:192.0.2.1/128');
  });
});
